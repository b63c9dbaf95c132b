"""Fruit and vegetables of 36 kinds, drawn by formula: a stand-in for a public set with the same folders.

A kind is a row of numbers (`raytl.data.crops`). Count, pose, light, background and clutter are drawn from the same
distributions for all kinds; skins, shapes and tops overlap. All ranges are chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from raytl.data.body import Body, draw_body, draw_cut
from raytl.data.crops import CROPS, Crop
from raytl.data.strokes import (
    CANVAS,
    Brush,
    Color,
    Points,
    Rng,
    draw_backdrop,
    ellipse_outline,
    jittered,
    leaf_green,
    photograph,
    random_pose,
    rotation,
    shaded,
)
from raytl.data.tops import draw_leaf, draw_top


def draw_fruit(kind: str, rng: Rng) -> Image.Image:
    """One RGB picture of 64 pixels that shows one or more of `kind`."""
    crop = CROPS[kind]
    canvas = Image.fromarray(draw_backdrop(rng))
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(0, 3)):
        _draw_clutter(pen, rng)
    count = int(rng.integers(1, 1 + rng.integers(1, crop.most + 1)))
    tone = np.array(crop.colors[rng.integers(len(crop.colors))])
    turn = rng.normal(0, 0.4)
    for _ in range(count):
        radius = CANVAS * rng.uniform(0.36, 0.48) / count**0.3
        pose = random_pose(radius, rng, flattest=0.8) @ rotation(turn + rng.normal(0, 0.25))
        spread = 0.08 if count == 1 else 0.22
        brush = Brush(pen, (0.5 + rng.uniform(-spread, spread, 2)) * CANVAS, pose)
        _FORMS[crop.form](brush, crop, jittered(tone, rng, 14.0), rng)
    return photograph(canvas, rng, most_noise=7.0)


def _draw_clutter(pen: ImageDraw.ImageDraw, rng: Rng) -> None:
    """A blob in the colour of some kind's skin, or in a green of leaves."""
    crop = list(CROPS.values())[rng.integers(len(CROPS))]
    color = leaf_green(rng) if rng.random() < 0.5 else jittered(np.array(crop.colors[0]), rng)
    length = rng.uniform(4, 16)
    center = (rng.uniform(0, CANVAS), rng.uniform(0, CANVAS))
    outline = ellipse_outline(center, (length, length * rng.uniform(0.2, 1.0)), rng.uniform(0, np.pi))
    pen.polygon([(x, y) for x, y in outline], fill=color)


def _whole(brush: Brush, crop: Crop, color: Color, rng: Rng) -> None:
    """A body with its top, or cut through."""
    stretch = rng.uniform(0.85, 1.15)
    body = Body(
        tuple(width * stretch * rng.uniform(0.93, 1.07) for width in crop.profile),
        rng.uniform(0.3, 1.0) * crop.bend * rng.choice([-1, 1]),
    )
    if crop.flesh is not None and rng.random() < crop.flesh.share:
        draw_cut(brush, body, crop.flesh, color, rng)
        return
    draw_body(brush, body, crop, color, rng)
    x, y = body.at(0.985, 0.0).tolist()
    draw_top(brush, (x, y), crop, rng)


def _ball(brush: Brush, center: Points, size: float, color: Color) -> None:
    brush.polygon(ellipse_outline((center[0], center[1]), (size, size)), color, shaded(color, 0.65))
    brush.polygon(
        ellipse_outline((center[0] - 0.3 * size, center[1] + 0.3 * size), (0.3 * size, 0.3 * size)), shaded(color, 1.4)
    )


def _bunch(brush: Brush, crop: Crop, color: Color, rng: Rng) -> None:
    """Balls that hang in a triangle from a stem."""
    size = rng.uniform(0.17, 0.24)
    brush.line(np.array([(0.0, 0.5), (rng.uniform(-0.2, 0.2), 1.1)]), (110, 90, 50), 4)
    for height in np.arange(0.75, -1.0, -1.3 * size):
        wide = 0.15 + 0.5 * (height + 1) / 1.75
        for x in np.arange(-wide, wide + 0.01, 1.6 * size) + rng.normal(0, 0.04):
            _ball(brush, np.array([x, height + rng.normal(0, 0.05)]), size, shaded(color, rng.uniform(0.7, 1.2)))


def _pod(brush: Brush, crop: Crop, color: Color, rng: Rng) -> None:
    """An open pod with a row of balls."""
    body = Body((0.1, 0.3, 0.34, 0.3, 0.1), rng.uniform(-1, 1) * crop.bend)
    brush.polygon(body.outline(), color, shaded(color, 0.6))
    brush.polygon(body.outline(0.8), shaded(color, 0.75))
    for along in np.linspace(0.16, 0.84, int(rng.integers(5, 8))):
        _ball(brush, body.at(along, 0.0), rng.uniform(0.14, 0.18), shaded(color, rng.uniform(1.1, 1.35)))
    x, y = body.at(1.0, 0.0).tolist()
    draw_top(brush, (x, y), crop, rng)


def _beans(brush: Brush, crop: Crop, color: Color, rng: Rng) -> None:
    """A closed, hairy pod with two to four bulges."""
    body = Body((0.08, 0.2, 0.22, 0.2, 0.08), rng.uniform(-1, 1) * crop.bend)
    brush.polygon(body.outline(), color, shaded(color, 0.6))
    for along in np.linspace(0.22, 0.78, int(rng.integers(2, 5))):
        center = body.at(along, 0.0)
        brush.polygon(ellipse_outline((center[0], center[1]), (0.24, 0.22)), color)
        brush.polygon(ellipse_outline((center[0], center[1]), (0.16, 0.14)), shaded(color, 1.2))
    for place in body.at(rng.uniform(0.1, 0.9, 20), rng.uniform(-1, 1, 20)):
        brush.line(np.array([place, place + rng.normal(0, 0.06, 2)]), shaded(color, 0.75), 1)


def _ragged(count: int, rough: float, rng: Rng) -> Points:
    """The outline (count, 2) of a circle whose radius is rough."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.asarray(np.stack([np.cos(turn), np.sin(turn)], 1) * (1 + rough * rng.uniform(-1, 1, (count, 1))))


def _head(brush: Brush, crop: Crop, color: Color, rng: Rng) -> None:
    """Smooth leaves folded over one another, with ribs that spread from the foot."""
    for size in (1.0, 0.92, 0.78, 0.62):
        shift = rng.normal(0, 0.1 * (1.05 - size), 2) - np.array([0.0, 0.1 * (1 - size)])
        shade = shaded(color, rng.uniform(0.85, 1.15))
        brush.polygon(_ragged(20, 0.05, rng) * size + shift, shade, shaded(shade, 0.7))
    for angle in np.pi / 2 + np.linspace(-0.9, 0.9, int(rng.integers(5, 8))):
        ray = np.array([np.cos(angle), np.sin(angle)])
        foot = np.array([0.0, -0.85])
        ends = foot + rng.uniform(1.0, 1.5) * ray
        brush.line(np.stack([foot, ends]), shaded(color, 1.3), 2)
        for share in (0.45, 0.7):
            middle = foot + share * (ends - foot)
            brush.line(np.stack([middle, middle + 0.25 * ray @ rotation(0.7)]), shaded(color, 1.25), 1)


def _ruffles(brush: Brush, crop: Crop, color: Color, rng: Rng) -> None:
    """A loose rosette of leaves with curly edges, darker outside."""
    for size in np.linspace(1.0, 0.25, 6):
        shade = shaded(color, 1.35 - 0.6 * size)
        brush.polygon(_ragged(34, 0.17, rng) * size + rng.normal(0, 0.06, 2), shade, shaded(shade, 0.6))
    for angle in rng.uniform(0, 2 * np.pi, 7):
        ray = np.array([np.cos(angle), np.sin(angle)])
        brush.line(np.stack([0.2 * ray, 0.85 * ray]), shaded(color, 1.4), 1)


def _florets(brush: Brush, crop: Crop, color: Color, rng: Rng) -> None:
    """A knobbly head in a collar of leaves."""
    for angle in rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, int(rng.integers(4, 8)), endpoint=False):
        foot = 0.5 * np.array([np.cos(angle), np.sin(angle)])
        draw_leaf(brush, (foot[0], foot[1]), angle, rng.uniform(0.5, 0.75), 0.3, leaf_green(rng))
    for place in sorted(rng.normal(0, 0.36, (34, 2)), key=lambda place: -float(np.hypot(*place))):
        shade = shaded(color, rng.uniform(0.78, 1.05))
        near = place * min(1.0, 0.7 / float(np.hypot(*place)))
        size = rng.uniform(0.12, 0.2)
        brush.polygon(ellipse_outline((near[0], near[1]), (size, size)), shade, shaded(shade, 0.85))


def _leaves(brush: Brush, crop: Crop, color: Color, rng: Rng) -> None:
    """Smooth leaves on stalks from one root."""
    for angle in np.pi / 2 + rng.normal(0, 0.6, rng.integers(2, 6)):
        foot, ray = np.array([0.0, -0.9]), np.array([np.cos(angle), np.sin(angle)])
        base = foot + rng.uniform(0.5, 0.8) * ray
        brush.line(np.stack([foot, base]), shaded(color, 1.3), 3)
        shade = shaded(color, rng.uniform(0.8, 1.2))
        draw_leaf(brush, (base[0], base[1]), angle, rng.uniform(0.8, 1.1), rng.uniform(0.26, 0.38), shade)


def _knobs(brush: Brush, crop: Crop, color: Color, rng: Rng) -> None:
    """A thick root with stumpy side roots, each with rings."""
    for stump in range(int(rng.integers(4, 7))):
        angle = rng.normal(0, 0.25) if stump == 0 else rng.choice([-1, 1]) * rng.uniform(0.7, 1.5)
        length = 0.95 if stump == 0 else rng.uniform(0.3, 0.5)
        foot = np.zeros(2) if stump == 0 else np.array([0.0, rng.uniform(-0.7, 0.7)])
        side = Body((0.9, 0.95, 0.85, 0.95, 0.9), 0.0)
        wide = np.diag([rng.uniform(0.2, 0.28) * rng.uniform(1.0, 1.2), length])
        part = Brush(brush.pen, foot @ brush.pose.T + brush.center, brush.pose @ rotation(angle) @ wide)
        draw_body(part, side, crop, color, rng)


_FORMS: dict[str, Callable[[Brush, Crop, Color, Rng], None]] = {
    "whole": _whole,
    "bunch": _bunch,
    "pod": _pod,
    "beans": _beans,
    "head": _head,
    "ruffles": _ruffles,
    "florets": _florets,
    "leaves": _leaves,
    "knobs": _knobs,
}
