"""Cartoon faces with seven expressions, drawn by formula.

Expressions differ in eyes, brows, mouth, tears and blush only (`raytl.data.expressions`). Skin, hair, pose, light and
glasses are drawn from the same distributions for all of them, so that neither colour nor position decides. All counts
and ranges are chosen.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from raytl.data.expressions import Features, draw_expression
from raytl.data.strokes import (
    CANVAS,
    Brush,
    Points,
    Rng,
    draw_backdrop,
    ellipse_outline,
    jittered,
    photograph,
    rotation,
    shaded,
)

# Pictures of each expression: unequal, as collections of faces are.
FACE_KINDS = {"angry": 210, "crying": 140, "embarrassed": 90, "happy": 280, "pleased": 170, "sad": 220, "shock": 90}
_SKINS = np.array([(250, 220, 195), (235, 190, 155), (205, 150, 110), (150, 100, 70), (105, 70, 50)])
_HAIRS = np.array(
    [
        (40, 30, 30),
        (95, 60, 35),
        (200, 160, 80),
        (170, 70, 40),
        (120, 120, 130),
        (90, 70, 150),
        (70, 130, 170),
        (215, 130, 160),
    ]
)
_IRISES = np.array([(70, 45, 30), (60, 110, 70), (60, 100, 170), (110, 70, 140), (60, 60, 60)])
_SIDES = (-1, 1)


def draw_face(kind: str, rng: Rng) -> Image.Image:
    """One RGB picture of 64 pixels that shows a face with the expression `kind`."""
    canvas = Image.fromarray(draw_backdrop(rng))
    brush = Brush(ImageDraw.Draw(canvas), rng.uniform(0.44, 0.56, 2) * CANVAS, _pose(rng))
    features = _features(rng)
    style, fringe = int(rng.integers(4)), int(rng.integers(4))
    _back_hair(brush, features, style)
    _head(brush, features, rng)
    inner = Brush(brush.pen, features.turn @ brush.pose.T + brush.center, brush.pose)
    _front_hair(brush, features, fringe, rng)
    draw_expression(inner, kind, features, rng)
    if rng.random() < 0.2:
        _glasses(inner, features, rng)
    return photograph(canvas, rng, most_noise=7.0)


def _pose(rng: Rng) -> Points:
    """Size and lean of the head, y up."""
    radius = CANVAS * rng.uniform(0.38, 0.48)
    return np.asarray(radius * rotation(rng.normal(0, 0.12)) @ np.diag([rng.uniform(0.85, 1.05), -1.0]))


def _features(rng: Rng) -> Features:
    return Features(
        skin=jittered(rng.choice(_SKINS), rng, 8.0),
        hair=jittered(rng.choice(_HAIRS), rng, 12.0),
        iris=jittered(rng.choice(_IRISES), rng, 12.0),
        eye_apart=rng.uniform(0.37, 0.44),
        eye_size=rng.uniform(0.22, 0.29),
        turn=rng.normal(0, (0.07, 0.03)),
    )


def _back_hair(brush: Brush, features: Features, style: int) -> None:
    """Hair behind the head: short, long, in two tails, or a bun."""
    hair = shaded(features.hair, 0.8)
    brush.polygon(ellipse_outline((0.0, 0.15), (1.08, 1.05)), hair)
    if style == 1:
        brush.polygon(np.array([(-1.08, 0.2), (1.08, 0.2), (1.15, -1.3), (-1.15, -1.3)]), hair)
    if style == 2:
        for side in _SIDES:
            brush.polygon(ellipse_outline((side * 1.15, -0.3), (0.28, 0.75), side * 0.3), hair)
    if style == 3:
        brush.polygon(ellipse_outline((0.0, 1.2), (0.4, 0.35)), hair)


def _head(brush: Brush, features: Features, rng: Rng) -> None:
    skin, edge = features.skin, shaded(features.skin, 0.7)
    for side in _SIDES:
        brush.polygon(ellipse_outline((side * 0.93, -0.05), (0.15, 0.22)), shaded(skin, 0.92), edge)
    chin = rng.uniform(0.75, 1.0)
    outline = ellipse_outline((0.0, 0.0), (0.95, 1.0))
    brush.polygon(outline * np.where(outline[:, 1:] < -0.4, [chin, 1.0], 1.0), skin, edge)


def _front_hair(brush: Brush, features: Features, fringe: int, rng: Rng) -> None:
    """Hair over the forehead: straight, parted, in spikes, or none but a cap of hair."""
    turn = np.linspace(0.12, np.pi - 0.12, 13)
    top = np.stack([1.02 * np.cos(turn), 0.05 + 1.06 * np.sin(turn)], 1)
    across = np.linspace(-0.95, 0.95, 13)
    lower = {
        0: np.full(13, rng.uniform(0.48, 0.6)),
        1: 0.45 + 0.4 * np.exp(-((across - rng.uniform(-0.4, 0.4)) ** 2) / 0.1),
        2: 0.62 + 0.14 * (-1.0) ** np.arange(13),
        3: 0.85 - 0.5 * across**2,
    }[fringe]
    brush.polygon(np.concatenate([top, np.stack([across, lower], 1)]), features.hair, shaded(features.hair, 0.7))


def _glasses(brush: Brush, features: Features, rng: Rng) -> None:
    frame = jittered(np.array((60, 55, 60)), rng)
    for side in _SIDES:
        ring = ellipse_outline((side * features.eye_apart, 0.08), (0.33, 0.31))
        brush.line(np.concatenate([ring, ring[:1]]), frame, 2)
    brush.line(np.array([(-0.1, 0.1), (0.1, 0.1)]), frame, 2)
