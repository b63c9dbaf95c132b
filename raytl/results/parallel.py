"""Trials as lines across their recipes' fields (parallel coordinates), the best drawn last and strongest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raytl.results.charts import suits_log
from raytl.results.marks import cut, drawing, label, polyline, stroke
from raytl.results.page import Html

WIDTH, HEIGHT = 1120, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 90, 46, 18
LINES = 300  # chosen: more make a chart black and a page slow; the best and an even choice of the others are drawn
NAME_LENGTH = 20  # chosen: characters that fit between two axes
CHOICES = 12  # chosen: more names do not fit an axis


@dataclass(frozen=True)
class Column:
    """One axis: a field's name and its value in each trial."""

    name: str
    values: Sequence[Any]


@dataclass(frozen=True)
class _Scale:
    """`place` gives 0 (bottom) to 1 (top); `ticks` are (place, text)."""

    place: Callable[[Any], float]
    ticks: Sequence[tuple[float, str]]


def parallel(columns: Sequence[Column], ranks: Sequence[float], titles: Sequence[str]) -> Html:
    """A chart of N trials: `ranks` from 0 (worst) to 1 (best), `titles` are told on hovering."""
    across = [LEFT + (WIDTH - LEFT - RIGHT) * index / max(1, len(columns) - 1) for index in range(len(columns))]
    scales = [_scale(column.values) for column in columns]
    marks = []
    for trial in drawn(ranks):
        places = [scale.place(column.values[trial]) for scale, column in zip(scales, columns, strict=True)]
        points = zip(across, map(_down, places), strict=True)
        marks.append(polyline("trial", points, titles[trial], {"style": f"--share: {ranks[trial]:.2f}"}))
    marks += [
        mark
        for index, (x, column, scale) in enumerate(zip(across, columns, scales, strict=True))
        for mark in _axis(x, column.name, scale, raised=index % 2 == 1)
    ]
    shows = f"{len(ranks)} trials across {', '.join(column.name for column in columns)}"
    return drawing(WIDTH, HEIGHT, shows, marks, "parallel")


def drawn(ranks: Sequence[float]) -> list[int]:
    """Which trials are drawn, the best last: all of them, or the best half of `LINES` and as many of the others."""
    order = sorted(range(len(ranks)), key=lambda trial: ranks[trial])
    if len(order) <= LINES:
        return order
    others, best = order[: -LINES // 2], order[-LINES // 2 :]
    step = len(others) / (LINES // 2)
    return [others[math.floor(step * index)] for index in range(LINES // 2)] + best


def _scale(values: Sequence[Any]) -> _Scale:
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return _choices(values)
    numbers = [float(value) for value in values]
    low, high = min(numbers), max(numbers)
    room = high - low or 1.0
    if suits_log(low, high):
        span = math.log(high / low)
        middle = math.sqrt(low * high)
        ticks = [(0.0, f"{low:.3g}"), (0.5, f"{middle:.2g}"), (1.0, f"{high:.3g}")]
        return _Scale(lambda value: math.log(value / low) / span, ticks)
    ticks = [(place, f"{low + place * room:.3g}") for place in (0.0, 0.5, 1.0)]
    return _Scale(lambda value: (value - low) / room, ticks)


def _choices(values: Sequence[Any]) -> _Scale:
    names = sorted({str(value) for value in values})
    places = {name: (index + 0.5) / len(names) for index, name in enumerate(names)}
    step = math.ceil(len(names) / CHOICES)
    return _Scale(lambda value: places[str(value)], [(places[name], name) for name in names[::step]])


def _axis(x: float, name: str, scale: _Scale, raised: bool) -> list[Html]:
    """`raised` puts the name above its neighbours', which are longer than axes are apart."""
    marks = [
        stroke("grid", x, TOP, x, HEIGHT - BOTTOM),
        label(x, TOP - (28 if raised else 13), cut(name, NAME_LENGTH), "middle", "title"),
    ]
    shown = [(place, cut(words, NAME_LENGTH)) for place, words in scale.ticks]
    return [*marks, *(label(x + 5, _down(place) + 4, words, "start") for place, words in shown)]


def _down(place: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * place
