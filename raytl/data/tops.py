"""What grows at the stem's end of a fruit or vegetable: stems, caps, leaves, crowns; and a leaf by itself.

Drawn in the frame of the body (`raytl.data.body`): y = 1 is the stem's end.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from raytl.data.crops import Crop
from raytl.data.strokes import Brush, Color, Rng, ellipse_outline, leaf_green, petal_outline, shaded

Place = tuple[float, float]


def draw_top(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """One of the tops that a kind may have, on the body's end at `place`."""
    _TOPS[crop.top[rng.integers(len(crop.top))]](brush, place, crop, rng)


def draw_leaf(brush: Brush, base: Place, angle: float, length: float, width: float, color: Color) -> None:
    """A leaf with a lighter rib, from `base` on along `angle`."""
    outline = petal_outline(angle, 0.0, length, width, 0.6) + np.array(base)
    brush.polygon(outline, color, shaded(color, 0.65))
    tip = np.array(base) + 0.9 * length * np.array([np.cos(angle), np.sin(angle)])
    brush.line(np.array([base, tip]), shaded(color, 1.3), 1)


def _bare(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """No top."""


def _stem(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """A short woody stem in a dimple."""
    brush.polygon(ellipse_outline((place[0], place[1] - 0.08), (0.22, 0.07)), (70, 60, 35))
    end = (place[0] + rng.uniform(-0.15, 0.15), place[1] + rng.uniform(0.15, 0.3))
    brush.line(np.array([(place[0], place[1] - 0.08), end]), (95, 70, 40), 4)


def _leaf(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """A stem with a leaf."""
    _stem(brush, place, crop, rng)
    angle = rng.choice([0.4, np.pi - 0.4]) + rng.normal(0, 0.2)
    draw_leaf(brush, place, angle, rng.uniform(0.5, 0.8), 0.17, leaf_green(rng))


def _cap(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """A green cap and a thick stem, as on peppers."""
    color, wide = leaf_green(rng), 0.55 * crop.profile[-1] + 0.06
    for angle in np.linspace(-2.9, -0.25, 5):
        end = (place[0] + wide * np.cos(angle), place[1] - 0.02 + 0.35 * wide * np.sin(angle))
        brush.polygon(np.array([(place[0], place[1] + 0.06), end, (place[0] + 0.1, place[1])]), color)
    brush.polygon(ellipse_outline((place[0], place[1] - 0.02), (wide, 0.25 * wide)), color)
    bent = (place[0] + rng.uniform(-0.2, 0.2), place[1] + rng.uniform(0.25, 0.4))
    brush.line(np.array([place, bent]), shaded(color, 0.8), 6)


def _star(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """Thin green leaves around the stem, seen a little from above."""
    color, low = leaf_green(rng), place[1] - 0.2
    for angle in rng.uniform(0, 1) + np.linspace(0, 2 * np.pi, 6, endpoint=False):
        tip = (place[0] + 0.5 * np.cos(angle), low + 0.28 * np.sin(angle))
        brush.line(np.array([(place[0], low), tip]), color, 4)
    brush.line(np.array([(place[0], low), (place[0] + 0.05, low + 0.35)]), shaded(color, 0.8), 4)


def _greens(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """Broad leaves on stalks, as on roots."""
    for angle in np.pi / 2 + rng.normal(0, 0.4, rng.integers(3, 6)):
        reach = rng.uniform(0.2, 0.4)
        end = (place[0] + reach * np.cos(angle), place[1] + reach * np.sin(angle))
        brush.line(np.array([place, end]), crop.second or leaf_green(rng), 4)
        draw_leaf(brush, end, angle, rng.uniform(0.5, 0.8), rng.uniform(0.15, 0.25), leaf_green(rng))


def _feathers(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """Fine leaves, as on carrots."""
    color = leaf_green(rng)
    for angle in np.pi / 2 + rng.normal(0, 0.45, rng.integers(6, 12)):
        ray = np.array([np.cos(angle), np.sin(angle)])
        end = np.array(place) + rng.uniform(0.5, 0.9) * ray
        brush.line(np.array([place, end]), color, 2)
        for share in (0.5, 0.75, 1.0):
            middle = np.array(place) + share * (end - np.array(place))
            aside = 0.15 * np.array([-ray[1], ray[0]])
            brush.line(np.array([middle + aside, middle, middle - aside]), shaded(color, 1.2), 1)


def _stalks(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """The stumps of leaves that were cut off."""
    for angle in np.pi / 2 + rng.normal(0, 0.35, 4):
        end = (place[0] + 0.3 * np.cos(angle), place[1] + 0.3 * np.sin(angle))
        brush.line(np.array([place, end]), crop.second or leaf_green(rng), 4)


def _crown(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """A tuft of stiff pointed leaves."""
    for angle in np.pi / 2 + np.linspace(-1, 1, 7)[[0, 6, 1, 5, 2, 4, 3]] + rng.normal(0, 0.1, 7):
        draw_leaf(brush, (place[0], place[1] - 0.05), angle, rng.uniform(0.6, 0.9), 0.11, leaf_green(rng))


def _points(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """A small crown in the skin's colour."""
    color = shaded(crop.colors[0], 0.85)
    teeth = [(x, (0.28 if index % 2 else 0.08) - 0.06) for index, x in enumerate(np.linspace(-0.24, 0.24, 7))]
    brush.polygon(np.array([(-0.15, -0.1), *teeth, (0.15, -0.1)]) + np.array(place), color, shaded(color, 0.6))


def _neck(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """A dry, thin end."""
    color = shaded(crop.colors[0], rng.uniform(0.7, 0.95))
    end = np.array(place) + np.array([rng.uniform(-0.12, 0.12), rng.uniform(0.2, 0.35)])
    brush.line(np.array([(place[0], place[1] - 0.15), end]), color, 8)


def _husk(brush: Brush, place: Place, crop: Crop, rng: Rng) -> None:
    """Long leaves that hold the lower half."""
    for angle, x in ((-np.pi / 2 - 0.15, -0.3), (-np.pi / 2 + 0.15, 0.3)):
        draw_leaf(brush, (place[0] + x * 0.6, place[1] + 0.1), angle, rng.uniform(1.0, 1.6), 0.22, leaf_green(rng))
    _stalks(brush, place, crop, rng)


_TOPS: dict[str, Callable[[Brush, Place, Crop, Rng], None]] = {
    "bare": _bare,
    "stem": _stem,
    "leaf": _leaf,
    "cap": _cap,
    "star": _star,
    "greens": _greens,
    "feathers": _feathers,
    "stalks": _stalks,
    "crown": _crown,
    "points": _points,
    "neck": _neck,
    "husk": _husk,
}
