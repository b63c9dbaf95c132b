"""What makes an expression in a cartoon face: eyes, brows, mouth, tears, blush and sweat, by kind.

Each sign is only likely, never certain: a sad face may be without tears, a happy one may blush. All numbers are chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from raytl.data.strokes import Brush, Color, Points, Rng, ellipse_outline, jittered, shaded


@dataclass(frozen=True)
class Features:
    """What does not depend on the expression: colours, proportions, and where the head is turned to."""

    skin: Color
    hair: Color
    iris: Color
    eye_apart: float  # from the middle of the face to an eye, in radii of the face
    eye_size: float
    turn: Points  # by which eyes, nose and mouth are shifted: (2,)


@dataclass(frozen=True)
class Expression:
    """What an expression looks like: forms of eyes and mouth, of which one is taken, and how likely other signs are.

    `brow_slope`: rise of the brows' inner ends (in radii of the face), `brow_height`: of their middle above the usual;
    `tears`, `blush`, `sweat`: probabilities.
    """

    eyes: tuple[str, ...]
    mouths: tuple[str, ...]
    brow_slope: float
    brow_height: float = 0.0
    tears: float = 0.03
    blush: float = 0.15
    sweat: float = 0.05


_EXPRESSIONS = {
    "angry": Expression(("narrow", "narrow", "open"), ("frown", "teeth", "shout"), brow_slope=-0.17, brow_height=-0.07),
    "crying": Expression(
        ("squeezed", "lowered", "open"), ("wail", "wave", "frown"), brow_slope=0.1, tears=0.85, blush=0.4
    ),
    "embarrassed": Expression(
        ("aside", "aside", "squeezed", "open"),
        ("wave", "small", "frown"),
        brow_slope=0.06,
        blush=0.9,
        sweat=0.5,
    ),
    "happy": Expression(
        ("open", "open", "arched"), ("laugh", "laugh", "smile"), brow_slope=0.0, brow_height=0.04, blush=0.25
    ),
    "pleased": Expression(
        ("arched", "arched", "lowered"), ("smile", "smile", "small"), brow_slope=0.02, brow_height=0.02, blush=0.4
    ),
    "sad": Expression(("lowered", "lowered", "open"), ("frown", "frown", "small"), brow_slope=0.12, tears=0.2),
    "shock": Expression(("wide", "wide", "open"), ("round", "round", "wail"), 0.02, brow_height=0.12, sweat=0.3),
}

_INK, _TEAR, _TEETH, _TONGUE, _MOUTH = (45, 30, 35), (150, 205, 245), (250, 248, 245), (215, 105, 110), (110, 35, 45)
_SIDES = (-1, 1)


def draw_expression(brush: Brush, kind: str, features: Features, rng: Rng) -> None:
    """Eyes, brows, nose, mouth and other signs, on a face of radius 1."""
    expression = _EXPRESSIONS[kind]
    if rng.random() < expression.blush:
        _blush(brush, features, rng)
    look = rng.normal(0, 0.15)
    eyes = _EYES[expression.eyes[rng.integers(len(expression.eyes))]]
    for side in _SIDES:
        eyes(brush, features, side, look)
    slope = expression.brow_slope + rng.normal(0, 0.04)
    height = 0.48 + expression.brow_height + rng.normal(0, 0.025)
    width = int(rng.integers(4, 7))
    for side in _SIDES:
        x = side * features.eye_apart
        ends = [(x + side * 0.24, height - slope), (x, height + 0.04), (x - side * 0.24, height + slope)]
        brush.line(np.array(ends), shaded(features.hair, 0.6), width)
    brush.line(np.array([(0.0, -0.08), (rng.choice([-0.06, 0.06]), -0.18), (0.0, -0.2)]), shaded(features.skin, 0.7), 2)
    size = rng.uniform(1.1, 1.5)
    _MOUTHS[expression.mouths[rng.integers(len(expression.mouths))]](brush, size, rng)
    if rng.random() < expression.tears:
        _tears(brush, features, rng)
    if rng.random() < expression.sweat:
        brush.polygon(_drop(rng.choice([-0.72, 0.72]), 0.5, 0.11), _TEAR, shaded(_TEAR, 0.7))


def _blush(brush: Brush, features: Features, rng: Rng) -> None:
    """Red cheeks, often with strokes."""
    red = np.array(features.skin) * 0.55 + np.array((240, 70, 80)) * 0.45
    color, strokes = jittered(red, rng, 6.0), rng.random() < 0.5
    for side in _SIDES:
        brush.polygon(ellipse_outline((side * 0.52, -0.24), (0.22, 0.12)), color)
        for x in (-0.1, 0.0, 0.1) if strokes else ():
            line = np.array([(side * 0.52 + x - 0.03, -0.31), (side * 0.52 + x + 0.03, -0.17)])
            brush.line(line, shaded(color, 0.7), 1)


def _drop(x: float, y: float, size: float) -> Points:
    """A drop whose tip points up."""
    drop = ellipse_outline((0.0, 0.0), (0.7 * size, size))
    drop[5] = (0.0, 2.0 * size)  # the uppermost of its twenty points
    return drop + np.array([x, y])


def _tears(brush: Brush, features: Features, rng: Rng) -> None:
    """Streams down both cheeks, or a few drops."""
    streams = rng.random() < 0.5
    for side in _SIDES:
        x = side * (features.eye_apart + 0.06)
        if streams:
            wide = rng.uniform(0.05, 0.1)
            edge = [(x - wide, -0.05), (x + wide, -0.05), (x + 1.4 * wide, -0.7), (x - 1.2 * wide, -0.7)]
            brush.polygon(np.array(edge), _TEAR, shaded(_TEAR, 0.8))
        elif side > 0 or rng.random() < 0.7:
            brush.polygon(_drop(x, rng.uniform(-0.45, -0.2), rng.uniform(0.08, 0.12)), _TEAR, shaded(_TEAR, 0.7))


def _ball(brush: Brush, features: Features, center: tuple[float, float], high: float, iris: float, look: float) -> None:
    """An open eye: white, iris, pupil and a light. `high`: of the opening, `iris`: its size, in eye sizes."""
    (x, y), size = center, features.eye_size
    brush.polygon(ellipse_outline(center, (size, size * high)), _TEETH, _INK)
    inside = min(iris, 0.95 * high)
    place = (x + look * size, y)
    brush.polygon(ellipse_outline(place, (iris * size, inside * size)), features.iris)
    brush.polygon(ellipse_outline(place, (0.5 * iris * size, 0.55 * inside * size)), _INK)
    light = (place[0] - 0.3 * iris * size, y + 0.4 * inside * size)
    brush.polygon(ellipse_outline(light, (0.22 * size, 0.2 * inside * size)), (255, 255, 255))


def _open(brush: Brush, features: Features, side: int, look: float) -> None:
    _ball(brush, features, (side * features.eye_apart, 0.08), 1.1, 0.68, look)


def _wide(brush: Brush, features: Features, side: int, look: float) -> None:
    _ball(brush, features, (side * features.eye_apart, 0.1), 1.45, 0.38, look)


def _aside(brush: Brush, features: Features, side: int, look: float) -> None:
    _ball(brush, features, (side * features.eye_apart, 0.06), 0.85, 0.55, np.copysign(0.5, look))


def _lids(brush: Brush, features: Features, side: int, inner: float, outer: float) -> None:
    """Skin over the upper part of an eye, down to `inner` (towards the nose) and `outer`, in eye sizes."""
    x, size = side * features.eye_apart, features.eye_size
    ends = [(x - side * 1.1 * size, 0.08 + inner * size), (x + side * 1.1 * size, 0.08 + outer * size)]
    over = [(x + side * 1.1 * size, 0.08 + 1.25 * size), (x - side * 1.1 * size, 0.08 + 1.25 * size)]
    brush.polygon(np.array([*ends, *over]), features.skin)
    brush.line(np.array(ends), _INK, 4)


def _narrow(brush: Brush, features: Features, side: int, look: float) -> None:
    _ball(brush, features, (side * features.eye_apart, 0.08), 1.0, 0.55, look)
    _lids(brush, features, side, 0.05, 0.65)


def _lowered(brush: Brush, features: Features, side: int, look: float) -> None:
    _ball(brush, features, (side * features.eye_apart, 0.06), 1.0, 0.65, look)
    _lids(brush, features, side, 0.45, 0.1)


def _arched(brush: Brush, features: Features, side: int, look: float) -> None:
    """Closed, with the joy that lifts the cheeks."""
    across = np.linspace(-1, 1, 7)
    arch = np.stack([side * features.eye_apart + across * features.eye_size, 0.17 - 0.17 * across**2], 1)
    brush.line(arch, _INK, 5)


def _squeezed(brush: Brush, features: Features, side: int, look: float) -> None:
    """Pressed shut: > and <."""
    x, size = side * features.eye_apart, features.eye_size
    brush.line(np.array([(x + side * size, 0.2), (x - side * size, 0.07), (x + side * size, -0.05)]), _INK, 4)


_EYES: dict[str, Callable[[Brush, Features, int, float], None]] = {
    "open": _open,
    "wide": _wide,
    "aside": _aside,
    "narrow": _narrow,
    "lowered": _lowered,
    "arched": _arched,
    "squeezed": _squeezed,
}


def _bent(wide: float, bend: float, y: float) -> Points:
    """A line (9, 2) whose ends lie `bend` above its middle."""
    across = np.linspace(-1, 1, 9)
    return np.stack([across * wide, y + bend * across**2], 1)


def _smile(brush: Brush, size: float, rng: Rng) -> None:
    brush.line(_bent(0.26 * size, rng.uniform(0.07, 0.16), -0.58), _INK, 4)


def _frown(brush: Brush, size: float, rng: Rng) -> None:
    brush.line(_bent(0.22 * size, -rng.uniform(0.07, 0.15), -0.48), _INK, 4)


def _small(brush: Brush, size: float, rng: Rng) -> None:
    brush.line(_bent(0.1 * size, rng.uniform(-0.03, 0.03), -0.52), _INK, 4)


def _wave(brush: Brush, size: float, rng: Rng) -> None:
    across = np.linspace(-1, 1, 13)
    wave = -0.53 + 0.05 * np.sin(rng.choice([-1, 1]) * across * 2.5 * np.pi)
    brush.line(np.stack([across * 0.26 * size, wave], 1), _INK, 4)


def _laugh(brush: Brush, size: float, rng: Rng) -> None:
    """Open, straight above and round below, with teeth or a tongue."""
    lower = _bent(0.32 * size, rng.uniform(0.3, 0.42), -0.75)
    brush.polygon(lower, _MOUTH, _INK)
    if rng.random() < 0.6:
        level = lower[0, 1]
        brush.polygon(np.array([lower[0], lower[-1], (0.26 * size, level - 0.1), (-0.26 * size, level - 0.1)]), _TEETH)
    else:
        brush.polygon(ellipse_outline((0.0, -0.67), (0.14 * size, 0.06)), _TONGUE)


def _teeth(brush: Brush, size: float, rng: Rng) -> None:
    """Clenched."""
    wide, high = 0.3 * size, rng.uniform(0.08, 0.12)
    box = np.array(
        [(-wide, -0.55 - high), (-0.85 * wide, -0.55 + high), (0.85 * wide, -0.55 + high), (wide, -0.55 - high)]
    )
    brush.polygon(box, _TEETH, _INK)
    brush.line(np.array([(-wide, -0.55), (wide, -0.55)]), _INK, 1)
    for x in np.linspace(-0.6, 0.6, 4) * wide:
        brush.line(np.array([(x, -0.55 - high), (x, -0.55 + high)]), _INK, 1)


def _shout(brush: Brush, size: float, rng: Rng) -> None:
    """Open, with corners that point down."""
    upper = _bent(0.28 * size, -rng.uniform(0.18, 0.28), -0.42)
    brush.polygon(upper, _MOUTH, _INK)
    brush.polygon(np.array([upper[3], upper[5], (0.1 * size, -0.5), (-0.1 * size, -0.5)]), _TEETH)


def _wail(brush: Brush, size: float, rng: Rng) -> None:
    """Wide open and trembling."""
    outline = ellipse_outline((0.0, -0.58), (0.28 * size, rng.uniform(0.14, 0.22)))
    brush.polygon(outline + rng.normal(0, 0.015, outline.shape), _MOUTH, _INK)
    brush.polygon(ellipse_outline((0.0, -0.67), (0.15 * size, 0.06)), _TONGUE)


def _round(brush: Brush, size: float, rng: Rng) -> None:
    brush.polygon(ellipse_outline((0.0, -0.58), (0.15 * size, rng.uniform(0.16, 0.26))), _MOUTH, _INK)


_MOUTHS: dict[str, Callable[[Brush, float, Rng], None]] = {
    "smile": _smile,
    "frown": _frown,
    "small": _small,
    "wave": _wave,
    "laugh": _laugh,
    "teeth": _teeth,
    "shout": _shout,
    "wail": _wail,
    "round": _round,
}
