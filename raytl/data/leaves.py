"""Leaves of three kinds, drawn by formula: a stand-in for potato leaves, with as few healthy ones as there.

Early blight makes spots of concentric rings inside the leaf, late blight blotches that begin at its edge and fade out,
healthy leaves have neither. Colour, pose, light, dirt and holes are drawn from the same distributions for all three, so
that what tells them apart is the structure of the marks. All ranges are chosen.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from raytl.data.strokes import (
    CANVAS,
    Brush,
    Color,
    Points,
    Rng,
    draw_background,
    ellipse_outline,
    jittered,
    leaf_green,
    petal_outline,
    photograph,
    random_pose,
    shaded,
)

# The counts of the potato leaves of PlantVillage (Hughes and Salathé 2015, arXiv:1511.08060).
LEAF_KINDS = {"early-blight": 1000, "healthy": 152, "late-blight": 1000}
_MARKS = np.array([(95, 65, 35), (70, 55, 45), (120, 95, 50), (60, 50, 30)])


def draw_leaf(kind: str, rng: Rng) -> Image.Image:
    """One RGB picture of 64 pixels that shows a leaf of `kind`."""
    canvas = Image.fromarray(draw_background(rng))
    pen = ImageDraw.Draw(canvas)
    radius = CANVAS * rng.uniform(0.36, 0.5)
    brush = Brush(pen, rng.uniform(0.42, 0.58, 2) * CANVAS, random_pose(radius, rng))
    width = rng.uniform(0.5, 0.75)
    color = leaf_green(rng)
    outline = petal_outline(np.pi / 2, -1.0, 2.0, width, rng.uniform(0.4, 1.0))
    brush.polygon(outline, color, shaded(color, 0.7))
    _veins(brush, color, width, rng)
    if kind == "early-blight":
        for _ in range(rng.integers(2, 7)):
            _ringed_spot(brush, _inside(width, rng), rng)
    elif kind == "late-blight":
        for _ in range(rng.integers(1, 4)):
            _blotch(brush, outline[rng.integers(len(outline))] * 0.9, rng)
    for _ in range(rng.integers(0, 6)):
        _dirt(brush, _inside(width, rng), rng)
    return photograph(canvas, rng)


def _veins(brush: Brush, color: Color, width: float, rng: Rng) -> None:
    light = shaded(color, rng.uniform(1.15, 1.4))
    brush.line(np.array([(0.0, -1.1), (0.0, 0.95)]), light, 2)
    for height in np.linspace(-0.6, 0.6, int(rng.integers(3, 6))):
        for side in (-1, 1):
            brush.line(np.array([(0.0, height), (side * width * 0.8, height + 0.25)]), light, 1)


def _inside(width: float, rng: Rng) -> tuple[float, float]:
    """A place on the leaf."""
    height = rng.uniform(-0.65, 0.65)
    return rng.uniform(-0.7, 0.7) * width * (1 - abs(height)), height


def _ringed_spot(brush: Brush, center: tuple[float, float], rng: Rng) -> None:
    """A small spot whose rings take turns in light and dark."""
    color, size = jittered(rng.choice(_MARKS), rng), rng.uniform(0.09, 0.2)
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.7, 1.0)
    for ring, share in enumerate((1.0, 0.75, 0.5, 0.25)):
        radii = (size * share, size * share * stretch)
        brush.polygon(ellipse_outline(center, radii, angle), shaded(color, 0.75 if ring % 2 else 1.35))


def _blotch(brush: Brush, edge: Points, rng: Rng) -> None:
    """A wide, ragged mark that begins at the edge, with a pale border."""
    color, size = jittered(rng.choice(_MARKS), rng), rng.uniform(0.2, 0.42)
    ragged = rng.uniform(0.7, 1.25, (20, 1))
    for share, shade in ((1.25, 1.9), (1.0, 1.0), (0.6, 0.8)):
        shape = ellipse_outline((0.0, 0.0), (size * share, size * share * 0.8)) * ragged + edge
        brush.polygon(shape, shaded(color, shade))


def _dirt(brush: Brush, center: tuple[float, float], rng: Rng) -> None:
    """A crumb or a hole in a colour that marks have, too: plain, without rings or border."""
    size = rng.uniform(0.03, 0.12)
    shape = ellipse_outline(center, (size, size * rng.uniform(0.4, 1.0)), rng.uniform(0, np.pi))
    brush.polygon(shape, jittered(rng.choice(_MARKS), rng, 30.0))
