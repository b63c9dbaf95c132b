"""Things drawn by formula for `pretrain_carried.py`: each is a list of parts in a unit frame (x right, y up, radius 1).

No flower and no digit is among them: the carried backbones must not have seen what they are later tried on.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Points = NDArray[np.float64]


class Part(NamedTuple):
    """A filled outline, or a line where `width` (in radii) is above 0; `color` indexes a palette of four."""

    points: Points
    color: int = 0
    width: float = 0.0


Shape = Callable[[Rng], list[Part]]


def rotation(angle: float) -> Points:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _points(*pairs: tuple[float, float]) -> Points:
    return np.array(pairs, float)


def _polar(radius: Points | float, count: int, first: float = 0.0) -> Points:
    angle = first + np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.asarray(np.stack([np.cos(angle), np.sin(angle)], 1) * np.reshape(radius, (-1, 1)))


def _oval(x: float, y: float, wide: float, high: float) -> Points:
    return _polar(1.0, 18) * [wide, high] + [x, y]


def _box(x0: float, y0: float, x1: float, y1: float) -> Points:
    return _points((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def polygon(sides: int, rng: Rng) -> list[Part]:
    return [Part(_polar(1.0, sides)), Part(_polar(rng.uniform(0.2, 0.7), sides), 1)]


def star(tips: int, rng: Rng) -> list[Part]:
    radius = np.tile([1.0, rng.uniform(0.3, 0.55)], tips)
    return [Part(_polar(radius, 2 * tips))]


def gear(teeth: int, rng: Rng) -> list[Part]:
    radius = np.tile([1.0, 1.0, 0.8, 0.8], teeth)
    return [Part(_polar(radius, 4 * teeth)), Part(_polar(rng.uniform(0.15, 0.45), 16), 1)]


def wheel(spokes: int, rng: Rng) -> list[Part]:
    thick = rng.uniform(0.05, 0.12)
    rim = Part(np.concatenate([_polar(1.0, 28), _polar(1.0, 1)]), 0, rng.uniform(0.08, 0.2))
    ends = _polar(1.0, spokes)
    return [rim, *(Part(np.stack([np.zeros(2), end]), 1, thick) for end in ends), Part(_polar(0.15, 12), 2)]


def burst(rng: Rng) -> list[Part]:
    ends = _polar(1.0, int(rng.integers(8, 30)))
    return [Part(np.stack([end * 0.3, end]), 0, rng.uniform(0.03, 0.08)) for end in ends]


def urchin(rng: Rng) -> list[Part]:
    ends = _polar(rng.uniform(0.7, 1.0, 40), 40)
    return [Part(np.stack([np.zeros(2), end]), 0, 0.03) for end in ends] + [Part(_polar(0.5, 18), 1)]


def spiral(turns: int, rng: Rng) -> list[Part]:
    along = np.linspace(0, 1, 24 * turns)
    angle = 2 * np.pi * turns * along
    return [Part(np.stack([along * np.cos(angle), along * np.sin(angle)], 1), 0, rng.uniform(0.06, 0.2))]


def rings(rng: Rng) -> list[Part]:
    count = int(rng.integers(3, 6))
    return [Part(_oval(0, 0, 1 - i / count, 1 - i / count), i % 2) for i in range(count)]


def moon(rng: Rng) -> list[Part]:
    outer = _polar(1.0, 24)[:13]
    inner = outer[::-1] * [1, rng.uniform(0.2, 0.7)]
    return [Part(np.concatenate([outer, inner]))]


def heart(_: Rng) -> list[Part]:
    t = np.linspace(0, 2 * np.pi, 28)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [Part(np.stack([np.sin(t) ** 3, y / 16], 1))]


def arrow(rng: Rng) -> list[Part]:
    neck, half = rng.uniform(-0.1, 0.4), rng.uniform(0.1, 0.3)
    x, y = [-1, neck, neck, 1, neck, neck, -1], [-half, -half, -0.7, 0, 0.7, half, half]
    return [Part(np.stack([x, y], 1).astype(float))]


def cross(rng: Rng) -> list[Part]:
    half = rng.uniform(0.15, 0.4)
    return [Part(_box(-1, -half, 1, half)), Part(_box(-half, -1, half, 1))]


def house(rng: Rng) -> list[Part]:
    door = rng.uniform(-0.4, 0.4)
    parts = [Part(_box(-0.8, -0.9, 0.8, 0.2)), Part(_points((-1, 0.2), (0, 1), (1, 0.2)), 1)]
    return [*parts, Part(_box(door - 0.15, -0.9, door + 0.15, -0.3), 2), Part(_box(-0.6, -0.3, -0.2, 0.0), 3)]


def conifer(rng: Rng) -> list[Part]:
    tiers = int(rng.integers(2, 5))
    low = np.linspace(-0.6, 0.4, tiers)
    trees = [Part(_points((-0.7 + 0.12 * i, y), (0, y + 0.75), (0.7 - 0.12 * i, y)), i % 2) for i, y in enumerate(low)]
    return [Part(_box(-0.12, -1, 0.12, -0.5), 2), *trees]


def tree(rng: Rng) -> list[Part]:
    crowns = rng.uniform([-0.45, -0.1], [0.45, 0.8], (7, 2))
    return [
        Part(_box(-0.12, -1, 0.12, 0), 2),
        *(Part(_oval(x, y, 0.4, 0.35), i % 2) for i, (x, y) in enumerate(crowns)),
    ]


def bare_tree(rng: Rng) -> list[Part]:
    parts: list[Part] = []

    def grow(base: Points, angle: float, length: float, depth: int) -> None:
        tip = base + length * np.array([np.cos(angle), np.sin(angle)])
        parts.append(Part(np.stack([base, tip]), 0, 0.03 * depth))
        for side in (-1, 1) if depth > 1 else ():
            grow(tip, angle + side * rng.uniform(0.2, 0.8), length * rng.uniform(0.6, 0.8), depth - 1)

    grow(np.array([0.0, -1.0]), np.pi / 2, 0.7, 4)
    return parts


def mushroom(rng: Rng) -> list[Part]:
    cap = _polar(1.0, 24)[:13] * [1, rng.uniform(0.6, 1.0)]
    dots = [Part(_oval(x, rng.uniform(0.15, 0.4), 0.1, 0.1), 2) for x in (-0.4, 0.0, 0.4)]
    return [Part(_box(-0.25, -0.9, 0.25, 0.05), 1), Part(cap), *dots]


def fish(rng: Rng) -> list[Part]:
    tail = Part(_points((0.5, 0), (1, 0.5), (1, -0.5)), 1)
    return [tail, Part(_oval(-0.1, 0, 0.8, rng.uniform(0.3, 0.5))), Part(_oval(-0.6, 0.1, 0.08, 0.08), 2)]


def leaf(rng: Rng) -> list[Part]:
    x = np.linspace(-1, 1, 14)
    half = rng.uniform(0.25, 0.5) * np.cos(x * np.pi / 2)
    veins = [Part(_points((v, 0), (v + 0.25, s * 0.25)), 1, 0.03) for v in (-0.5, -0.1, 0.3) for s in (-1, 1)]
    outline = np.concatenate([np.stack([x, half], 1), np.stack([x, -half], 1)[::-1]])
    return [Part(outline), Part(_points((-1, 0), (1, 0)), 1, 0.05), *veins]


def fern(rng: Rng) -> list[Part]:
    along, bend = np.linspace(-1, 0.9, 12), rng.uniform(-0.4, 0.4)
    stem = np.stack([bend * along**2, along], 1)
    sides = [(base, side, 0.55 * (1 - base[1]) / 2 + 0.05) for base in stem for side in (-1, 1)]
    return [
        Part(stem, 1, 0.05),
        *(Part(np.stack([b, b + np.array([s * n, n * 0.6])]), 0, 0.07) for b, s, n in sides),
    ]


def grass(rng: Rng) -> list[Part]:
    tips = np.stack([rng.uniform(-1, 1, 9), rng.uniform(0, 1, 9)], 1)
    return [Part(np.stack([[t[0] * 0.3, -1], [t[0] * 0.5, 0], t]), i % 2, 0.06) for i, t in enumerate(tips)]


def bug(rng: Rng) -> list[Part]:
    legs = [
        Part(_points((x, 0), (x * 1.6, s * 0.7), (x * 1.9, s)), 1, 0.05) for x in (-0.3, 0.05, 0.4) for s in (-1, 1)
    ]
    radii = rng.uniform(0.18, 0.42, 3)
    return [*legs, *(Part(_oval(x, 0, 0.35, r), 0) for x, r in zip((-0.6, 0, 0.6), radii, strict=True))]


def butterfly(rng: Rng) -> list[Part]:
    high = rng.uniform(0.4, 0.6)
    wings = [
        Part(_oval(s * 0.5, y, 0.5, high * k), i)
        for i, (y, k) in enumerate(((0.35, 1.0), (-0.45, 0.8)))
        for s in (-1, 1)
    ]
    return [*wings, Part(_oval(0, 0, 0.1, 0.7), 2)]


def bird(_: Rng) -> list[Part]:
    wing = Part(_points((-0.2, 0.1), (0.5, 0.8), (0.3, 0.0)), 1)
    head = [Part(_oval(-0.6, 0.3, 0.25, 0.25)), Part(_points((-0.8, 0.35), (-1.1, 0.25), (-0.8, 0.2)), 2)]
    return [Part(_oval(0, 0, 0.65, 0.35)), Part(_points((0.5, 0), (1.1, 0.2), (1.1, -0.2)), 1), *head, wing]


def boat(_: Rng) -> list[Part]:
    hull = Part(_points((-1, -0.3), (1, -0.3), (0.6, -0.8), (-0.6, -0.8)))
    sail = Part(_points((0, -0.2), (0, 1), (0.8, -0.2)), 1)
    return [hull, sail, Part(_points((-0.1, -0.2), (-0.1, 0.8), (-0.6, -0.2)), 2)]


def car(_: Rng) -> list[Part]:
    top = Part(_points((-0.5, 0.1), (-0.3, 0.5), (0.35, 0.5), (0.6, 0.1)), 1)
    wheels = [Part(_oval(x, -0.4, 0.25, 0.25), 2) for x in (-0.55, 0.55)]
    return [Part(_box(-1, -0.4, 1, 0.1)), top, *wheels]


def cup(rng: Rng) -> list[Part]:
    foot = rng.uniform(0.3, 0.65)
    handle = Part(_oval(0.7, 0, 0.3, 0.4), 1, 0.1)
    return [
        handle,
        Part(_points((-0.7, 0.7), (0.7, 0.7), (foot, -0.8), (-foot, -0.8))),
        Part(_oval(0, 0.7, 0.7, 0.15), 2),
    ]


def key(_: Rng) -> list[Part]:
    teeth = [Part(_box(x, -0.35, x + 0.12, 0), 0) for x in (0.5, 0.75)]
    return [Part(_oval(-0.6, 0, 0.35, 0.35), 0, 0.15), Part(_box(-0.3, -0.08, 0.95, 0.08)), *teeth]


def umbrella(_: Rng) -> list[Part]:
    top = _polar(1.0, 24)[:13]
    panels = [Part(np.concatenate([top[i : i + 4], np.zeros((1, 2))]), i // 3 % 2) for i in (0, 3, 6, 9)]
    return [*panels, Part(_points((0, 0), (0, -0.9), (0.2, -1)), 2, 0.07)]


def ladder(_: Rng) -> list[Part]:
    rails = [Part(_points((x, -1), (x, 1)), 0, 0.1) for x in (-0.35, 0.35)]
    return [*rails, *(Part(_points((-0.35, y), (0.35, y)), 1, 0.08) for y in np.linspace(-0.8, 0.8, 6))]


def cloud(rng: Rng) -> list[Part]:
    return [Part(_oval(x, rng.uniform(-0.1, 0.3), 0.4, rng.uniform(0.25, 0.45))) for x in (-0.6, -0.2, 0.2, 0.6)]


def face(rng: Rng) -> list[Part]:
    mouth = np.stack([np.linspace(-0.5, 0.5, 7), -0.4 + rng.choice([-1, 1]) * 0.2 * np.linspace(-1, 1, 7) ** 2], 1)
    return [
        Part(_polar(1.0, 22)),
        Part(_oval(-0.35, 0.3, 0.14, 0.2), 1),
        Part(_oval(0.35, 0.3, 0.14, 0.2), 1),
        Part(mouth, 1, 0.1),
    ]


def snowflake(_: Rng) -> list[Part]:
    arm = [_points((0, 0), (1, 0)), _points((0.5, 0), (0.8, 0.3)), _points((0.5, 0), (0.8, -0.3))]
    return [Part(line @ rotation(k * np.pi / 3).T, 0, 0.06) for k in range(6) for line in arm]


def bolt(_: Rng) -> list[Part]:
    return [Part(_points((0.1, 1), (-0.5, -0.1), (-0.05, -0.1), (-0.2, -1), (0.5, 0.2), (0.05, 0.2), (0.4, 1)))]


def blob(rng: Rng) -> list[Part]:
    wave = sum(
        rng.normal(0, 0.3 / k) * np.sin(k * np.linspace(0, 2 * np.pi, 30) + rng.uniform(0, 6)) for k in range(2, 6)
    )
    return [Part(_polar(np.clip(0.7 + wave, 0.2, 1.1), 30))]


SHAPES: tuple[Shape, ...] = (
    *(partial(polygon, sides) for sides in (3, 4, 5, 6, 20)),
    *(partial(star, tips) for tips in (4, 5, 6, 9)),
    *(partial(gear, teeth) for teeth in (8, 14)),
    *(partial(wheel, spokes) for spokes in (3, 6, 12)),
    *(partial(spiral, turns) for turns in (2, 4)),
    *(
        burst,
        urchin,
        rings,
        moon,
        heart,
        arrow,
        cross,
        house,
        conifer,
        tree,
        bare_tree,
        mushroom,
        fish,
        leaf,
        fern,
    ),
    *(grass, bug, butterfly, bird, boat, car, cup, key, umbrella, ladder, cloud, face, snowflake, bolt, blob),
)
