"""The body of a fruit or vegetable as a bent spine with half widths, the marks on its skin, and what it looks like cut.

Everything is drawn in the body's own frame: the tip at y = -1, the stem at y = 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from raytl.data.crops import Crop, Flesh
from raytl.data.strokes import Brush, Color, Points, Rng, ellipse_outline, jittered, shaded

_ALONG: Points = (1 - np.cos(np.linspace(0, np.pi, 17))) / 2  # denser at the ends, where an ellipse bends most


class Body:
    """A spine from tip to stem that is bent aside by `bend` in its middle, and half widths along it."""

    def __init__(self, profile: tuple[float, ...], bend: float) -> None:
        self._profile, self._bend = np.array(profile), bend

    def at(self, along: Points | float, side: Points | float) -> Points:
        """Points (N, 2): `along` from 0 (tip) to 1 (stem), `side` from -1 to 1 (the edges)."""
        up = 2 * np.clip(along, 0.0, 1.0) - 1
        across = self._spine(up) + side * self._half_width(up)
        return np.stack(np.broadcast_arrays(across, up), -1)

    def outline(self, size: float = 1.0) -> Points:
        """The edge (34, 2); with a smaller `size` that of a smaller body on the same spine."""
        up = 2 * _ALONG - 1
        half, across = size * self._half_width(up), self._spine(size * up)
        sides = [np.stack([across + half, size * up], 1), np.stack([across - half, size * up], 1)[::-1]]
        return np.concatenate(sides)

    def _spine(self, up: Points) -> Points:
        return self._bend * (0.5 - up**2)

    def _half_width(self, up: Points) -> Points:
        knots = np.linspace(-1, 1, len(self._profile))
        return np.asarray(np.interp(up, knots, self._profile) * np.sqrt(np.clip(1 - up**2, 0.0, 1.0)))


def draw_body(brush: Brush, body: Body, crop: Crop, color: Color, rng: Rng) -> None:
    """The skin with light from one side, and its marks."""
    brush.polygon(body.outline(), shaded(color, 0.72))
    brush.polygon(body.outline(0.88) + rng.uniform(-0.05, 0.05, 2), color)
    brush.polygon(body.outline(0.6) * 0.9 + np.array([-0.08, 0.08]), shaded(color, 1.1))
    _MARKS[crop.marks[rng.integers(len(crop.marks))]](brush, body, color, crop.second, rng)


def draw_cut(brush: Brush, body: Body, flesh: Flesh, skin: Color, rng: Rng) -> None:
    """The same body cut through."""
    color = jittered(np.array(flesh.color), rng, 10.0)
    brush.polygon(body.outline(), skin)
    brush.polygon(body.outline(0.86), shaded(color, 1.08))
    brush.polygon(body.outline(0.8), color)
    for ring in range(flesh.rings):
        outline = body.outline(0.8 * (1 - (ring + 0.5) / flesh.rings))
        brush.line(np.concatenate([outline, outline[:1]]), shaded(color, 0.8), 2)
    angles = rng.uniform(0, np.pi) + np.linspace(0, 2 * np.pi, flesh.segments, endpoint=False)
    for angle in angles:
        brush.line(np.array([(0.0, 0.0), (np.cos(angle) * 0.7, np.sin(angle) * 0.7)]), shaded(color, 1.25), 2)
    if flesh.heart is not None:
        brush.polygon(body.outline(0.3), flesh.heart)
    for index in range(flesh.seeds):
        angle = 2 * np.pi * (index + rng.uniform(-0.3, 0.3)) / flesh.seeds
        far = flesh.seed_ring * rng.uniform(0.75, 1.25)
        spot = body.at((1 + far * np.sin(angle)) / 2, far * np.cos(angle))
        seed = ellipse_outline((spot[0], spot[1]), (1.4 * flesh.seed_size, flesh.seed_size), angle)
        brush.polygon(seed, shaded(flesh.seed_color, rng.uniform(0.8, 1.2)))


def _plain(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    """Nothing."""


def _shine(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    """The light of a lamp on a smooth skin."""
    first, side = rng.uniform(0.4, 0.6), rng.choice([-0.45, 0.45])
    brush.line(body.at(np.linspace(first, first + 0.3, 5), side), shaded(color, 1.8), 3)


def _specks(brush: Brush, body: Body, color: Color, count: int, width: int, rng: Rng) -> None:
    for place in body.at(rng.uniform(0.08, 0.92, count), rng.uniform(-0.85, 0.85, count)):
        brush.line(np.array([place, place + np.array([0.03, 0.0])]), color, width)


def _freckles(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    _specks(brush, body, shaded(color, rng.choice([0.8, 1.25])), 25, 1, rng)


def _fuzz(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    for shade in (0.7, 1.3):
        _specks(brush, body, shaded(color, shade), 35, 1, rng)


def _spots(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    _specks(brush, body, shaded(color, 0.6), int(rng.integers(4, 11)), 3, rng)


def _blush(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    """One side in another colour."""
    side = rng.choice([-1.0, 1.0])
    tone = jittered(np.array(second or (205, 60, 45)), rng)
    for most in (0.9, 0.75):
        inner = body.at(np.linspace(0.9, 0.1, 9), side * rng.uniform(0.05, 0.25))
        mixed = (np.array(tone) * (1.4 - most) + np.array(color) * (most - 0.4)).astype(int)
        brush.polygon(np.concatenate([body.at(np.linspace(0.1, 0.9, 9), side * most), inner]), jittered(mixed, rng, 3))


def _collar(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    """The upper part in another colour, as where a root has seen the sun."""
    along = np.linspace(rng.uniform(0.5, 0.68), 1.0, 9)
    edge = np.concatenate([body.at(along, 0.97), body.at(along[::-1], -0.97)])
    brush.polygon(edge, jittered(np.array(second or shaded(color, 0.6)), rng))


def _lengthwise(brush: Brush, body: Body, color: Color, count: int, width: int) -> None:
    for side in np.linspace(-0.8, 0.8, count):
        brush.line(body.at(np.linspace(0.04, 0.96, 11), side), color, width)


def _edges(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    brush.line(body.at(np.linspace(0.05, 0.95, 9), rng.uniform(-0.2, 0.2)), shaded(color, 0.75), 2)


def _stripes(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    _lengthwise(brush, body, shaded(color, rng.choice([0.75, 1.25])), int(rng.integers(5, 9)), 1)


def _waves(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    """Ragged bands from end to end."""
    along = np.linspace(0.02, 0.98, 12)
    for side in np.linspace(-0.85, 0.85, int(rng.integers(5, 8))):
        brush.line(
            body.at(along, side + rng.normal(0, 0.05, 12)), second or shaded(color, 0.5), int(rng.integers(3, 6))
        )


def _lobes(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    """Furrows with light beside them."""
    for side in np.linspace(-0.5, 0.5, int(rng.integers(2, 4))) + rng.normal(0, 0.06):
        brush.line(body.at(np.linspace(0.05, 0.95, 11), side + 0.15), shaded(color, 1.25), 3)
        brush.line(body.at(np.linspace(0.02, 0.97, 11), side), second or shaded(color, 0.6), 2)


def _rings(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    """Short lines across."""
    for _ in range(rng.integers(5, 10)):
        first = rng.uniform(-0.9, 0.4)
        sides = np.linspace(first, first + rng.uniform(0.3, 0.7), 4).clip(-0.95, 0.95)
        brush.line(body.at(rng.uniform(0.1, 0.9), sides), shaded(color, rng.choice([0.72, 1.2])), 1)


def _kernels(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    """Rows and columns of small grains."""
    _lengthwise(brush, body, shaded(color, 0.72), int(rng.integers(5, 8)), 1)
    for along in np.linspace(0.05, 0.95, int(rng.integers(11, 17))):
        brush.line(body.at(along, np.linspace(-0.9, 0.9, 5)), shaded(color, 0.65), 1)


def _diamonds(brush: Brush, body: Body, color: Color, second: Color | None, rng: Rng) -> None:
    """Slanting lines both ways, an eye where they meet."""
    sides = np.linspace(-0.95, 0.95, 7)
    for start in np.linspace(-0.3, 0.95, 8):
        for slope in (0.16, -0.16):
            along = (start + 0.17 + slope * sides).clip(0.02, 0.98)
            brush.line(body.at(along, sides), shaded(color, 0.55), 2)
    _specks(brush, body, shaded(color, 1.3), 18, 2, rng)


_Marks = Callable[[Brush, Body, Color, Color | None, Rng], None]
_MARKS: dict[str, _Marks] = {
    "plain": _plain,
    "shine": _shine,
    "freckles": _freckles,
    "fuzz": _fuzz,
    "spots": _spots,
    "blush": _blush,
    "collar": _collar,
    "edges": _edges,
    "stripes": _stripes,
    "waves": _waves,
    "lobes": _lobes,
    "rings": _rings,
    "kernels": _kernels,
    "diamonds": _diamonds,
}
