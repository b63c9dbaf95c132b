"""Flowers of five kinds, drawn by formula with NumPy and Pillow: a picture task that needs no download.

Kinds differ in structure only (petal count and shape, disc, layers, side or top view). Colour, pose, scale, tilt,
light, background and clutter are drawn from distributions that overlap between the kinds, so neither colour nor
position decides. All ranges are chosen; they were set so that features of random networks do badly (see the tests).
"""

from collections.abc import Callable

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

FLOWER_KINDS = ("daisy", "dandelion", "rose", "sunflower", "tulip")

# Petal colors (RGB): one pool for all kinds.
_PETALS = np.array(
    [
        (245, 242, 235),
        (250, 215, 60),
        (240, 140, 40),
        (215, 45, 50),
        (235, 120, 165),
        (150, 80, 180),
        (250, 205, 190),
        (120, 25, 45),
    ]
)
_TYPICAL = {
    "daisy": (0, 4),
    "dandelion": (1, 0),
    "rose": (3, 4, 6, 7),
    "sunflower": (1, 2),
    "tulip": (3, 1, 5, 2),
}
_TYPICAL_SHARE = 0.4  # of the flowers; the others take any petal color
_DISCS = np.array([(225, 180, 40), (90, 55, 25), (60, 70, 30), (190, 140, 60), (120, 40, 40)])


def draw_flower(kind: str, rng: Rng) -> Image.Image:
    """One RGB picture of `IMAGE_SIZE` pixels that shows one to three flowers of `kind`."""
    canvas = Image.fromarray(draw_background(rng))
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(2, 7)):
        _draw_clutter(pen, rng)
    count = rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15])
    for _ in range(count):
        radius = CANVAS * rng.uniform(0.24, 0.46) / count**0.4
        center = rng.uniform(0.28, 0.72, 2) * CANVAS
        _draw_stem(pen, center, radius, rng)
        _KINDS[kind](Brush(pen, center, random_pose(radius, rng)), _petal_color(kind, rng), rng)
    for _ in range(rng.integers(0, 4)):
        _draw_clutter(pen, rng)
    return photograph(canvas, rng)


def _petal_color(kind: str, rng: Rng) -> Color:
    typical = rng.random() < _TYPICAL_SHARE
    index = rng.choice(_TYPICAL[kind]) if typical else rng.integers(len(_PETALS))
    return jittered(_PETALS[index], rng, 20.0)


def _ring(brush: Brush, color: Color, rng: Rng, count: int, width: float, pointed: float, reach: float) -> None:
    """A ring of petals; a few may be missing, each has its own length and shade."""
    first = rng.uniform(0, 2 * np.pi)
    for index in range(count):
        if rng.random() < 0.07:
            continue
        angle = first + 2 * np.pi * index / count + rng.normal(0, 0.06)
        shape = petal_outline(angle, 0.1, (reach - 0.1) * rng.uniform(0.82, 1.08), width, pointed)
        shade = shaded(color, rng.uniform(0.75, 1.1))
        brush.polygon(shape, shade, shaded(shade, 0.7))


def _daisy(brush: Brush, color: Color, rng: Rng) -> None:
    """Round, narrow petals around a small plain disc."""
    count = int(rng.integers(9, 18))
    _ring(brush, color, rng, count, 1.5 / count, rng.uniform(0.0, 0.5), 1.0)
    disc = jittered(rng.choice(_DISCS), rng)
    radius = rng.uniform(0.2, 0.32)
    brush.polygon(ellipse_outline((0, 0), (radius, radius)), disc)
    brush.polygon(ellipse_outline((-0.05, 0.05), (radius * 0.5, radius * 0.5)), shaded(disc, 1.2))


def _sunflower(brush: Brush, color: Color, rng: Rng) -> None:
    """Two rings of pointed petals around a wide, dotted disc."""
    count = int(rng.integers(11, 20))
    for reach in (1.0, 0.9):
        _ring(brush, color, rng, count, 1.6 / count, rng.uniform(0.4, 1.0), reach)
    disc = jittered(rng.choice(_DISCS), rng)
    radius = rng.uniform(0.38, 0.55)
    brush.polygon(ellipse_outline((0, 0), (radius, radius)), disc)
    golden = np.arange(40) * 2.39996  # the golden angle, as the seeds of a real disc lie
    outwards = radius * np.sqrt(np.arange(40) / 40)
    for x, y in np.stack([outwards * np.cos(golden), outwards * np.sin(golden)], 1):
        brush.polygon(ellipse_outline((x, y), (0.035, 0.035)), shaded(disc, rng.choice([0.6, 1.4])))


def _dandelion(brush: Brush, color: Color, rng: Rng) -> None:
    """A dense ball of thin rays with no disc: in bloom, or as a head of seeds."""
    seeds = rng.random() < 0.4
    for _ in range(rng.integers(55, 95)):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0.15, 1.0))
        tip = reach * np.array([np.cos(angle), np.sin(angle)])
        shade = shaded(color, rng.uniform(0.65, 1.15))
        brush.line(np.stack([tip * (0.1 if seeds else 0.45), tip]), shade, 1 if seeds else 2)
        if seeds:
            brush.polygon(ellipse_outline((tip[0], tip[1]), (0.05, 0.05)), shade)


def _rose(brush: Brush, color: Color, rng: Rng) -> None:
    """Broad petals that overlap in shrinking rings, each turned against the last: a spiral of edges."""
    angle = rng.uniform(0, 2 * np.pi)
    rings = int(rng.integers(4, 7))
    for ring in range(rings):
        size = 1.0 - ring / rings
        for _ in range(5 if ring < 2 else 3):
            angle += 2.4 + rng.normal(0, 0.2)
            center = (0.45 * size * np.cos(angle), 0.45 * size * np.sin(angle))
            shade = shaded(color, rng.uniform(0.6, 1.15))
            blob = ellipse_outline(center, (0.4 * size + 0.08, 0.55 * size + 0.05), angle)
            brush.polygon(blob, shade, shaded(shade, 0.6))


def _tulip(brush: Brush, color: Color, rng: Rng) -> None:
    """A cup seen from the side: upright petals, the outer ones first."""
    lean = rng.uniform(0.15, 0.5)
    width = rng.uniform(0.28, 0.42)
    angles = [np.pi / 2 + lean, np.pi / 2 - lean, np.pi / 2 + lean / 2, np.pi / 2 - lean / 2, np.pi / 2]
    for angle in angles[int(rng.integers(0, 2)) :]:
        shape = petal_outline(angle + rng.normal(0, 0.06), 0.0, rng.uniform(1.5, 1.8), width, rng.uniform(0.3, 1.0))
        shade = shaded(color, rng.uniform(0.65, 1.1))
        brush.polygon(shape + np.array([0.0, -0.8]), shade, shaded(shade, 0.65))


_KINDS: dict[str, Callable[[Brush, Color, Rng], None]] = {
    "daisy": _daisy,
    "dandelion": _dandelion,
    "rose": _rose,
    "sunflower": _sunflower,
    "tulip": _tulip,
}


def _draw_stem(pen: ImageDraw.ImageDraw, center: Points, radius: float, rng: Rng) -> None:
    """A bent stem, often with a leaf, below a flower of any kind."""
    if rng.random() < 0.25:
        return
    along = np.linspace(0, 1, 8)
    bend = rng.normal(0, 18)
    x = center[0] + bend * along**2
    y = center[1] + along * (CANVAS - center[1] + 6)
    color = leaf_green(rng)
    pen.line(list(zip(x, y, strict=True)), fill=color, width=int(max(2, radius * 0.12)))
    if rng.random() < 0.6:
        angle = rng.uniform(-1.2, 1.2) + np.pi * rng.integers(2)
        leaf = petal_outline(angle, 0, radius * rng.uniform(0.6, 1.3), radius * 0.2, 0.8)
        pen.polygon([(px + x[4], py + y[4]) for px, py in leaf], fill=shaded(color, rng.uniform(0.8, 1.3)))


def _draw_clutter(pen: ImageDraw.ImageDraw, rng: Rng) -> None:
    """One distractor of any kind of picture: grass, a leaf, a loose petal or a blob in a petal's color."""
    what = rng.integers(4)
    x, y = rng.uniform(0, CANVAS, 2)
    if what == 0:
        tip = (x + rng.normal(0, 25), y - rng.uniform(20, 90))
        pen.line([(x, y + 30), tip], fill=leaf_green(rng), width=int(rng.integers(1, 5)))
        return
    length = rng.uniform(8, 40)
    color = leaf_green(rng) if what == 1 else jittered(rng.choice(_PETALS), rng, 25.0)
    if what == 3:
        outline = ellipse_outline((x, y), (length * 0.4, length * rng.uniform(0.15, 0.4)), rng.uniform(0, np.pi))
    else:
        outline = petal_outline(rng.uniform(0, 2 * np.pi), 0, length, length * rng.uniform(0.1, 0.35), 0.7) + np.array(
            [x, y]
        )
    pen.polygon([(px, py) for px, py in outline], fill=color)
