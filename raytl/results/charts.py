"""Charts as inline SVG, colored by the page's style sheet so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from raytl.results.marks import cut, drawing, label, polyline, stroke
from raytl.results.page import Html, classed, tag
from raytl.results.stats import Interval
from raytl.results.stylesheet import SERIES

WIDTH, HEIGHT = 340, 220
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 26, 38
STRIP_WIDTH, STRIP_HEIGHT = 150, 16
SHAPES = 4
LEAST_LOG_RATIO = 4  # chosen: below it a logarithmic axis may have a single round tick
TICKS = 5  # chosen: as many as fit the smallest chart


@dataclass(frozen=True)
class Axis:
    """A range of values and its name; `text` writes a tick. A logarithmic one needs `low` above 0."""

    low: float
    high: float
    name: str
    text: Callable[[float], str]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies between 0 and 1; values outside go to the nearer end."""
        low, high, value = (math.log10(x) if self.log else x for x in (self.low, self.high, max(value, self.low)))
        return min(1.0, (value - low) / (high - low))

    def ticks(self) -> list[float]:
        """Round values within the range."""
        if self.log:
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1,) if self.high / self.low > 100 else (1, 2, 5)
            return [step * 10.0**power for power in exponents for step in steps if self._holds(step * 10.0**power)]
        step = _round_step((self.high - self.low) / TICKS)
        first = math.ceil(self.low / step - 1e-9)
        return [step * index for index in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _holds(self, value: float) -> bool:
        return self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)


@dataclass(frozen=True)
class Curve:
    """Points joined in order; a value that is not a number breaks the line. `kind` is a class of the style sheet."""

    points: Sequence[tuple[float, float]]
    kind: str


@dataclass(frozen=True)
class Dot:
    """One point of a series; `title` is told on hovering."""

    x: float
    y: float
    series: int
    title: str


def suits_log(low: float, high: float) -> bool:
    """Whether values from `low` to `high` are shown on a logarithmic axis where one is wanted."""
    return low > 0 and high > LEAST_LOG_RATIO * low


def axis(values: Iterable[float], name: str, text: Callable[[float], str], log: bool = False) -> Axis:
    """An axis around some values, with a little room; logarithmic where asked and the values allow it."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if log and suits_log(low, high):
        return Axis(low / 1.2, high * 1.2, name, text, log=True)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return Axis(low - room, high + room, name, text)


def panel(title: str, x: Axis, y: Axis, curves: Iterable[Curve] = (), dots: Iterable[Dot] = ()) -> Html:
    """One chart with axes."""
    marks = [*_grid(x, y), *(_curve(curve, x, y) for curve in curves), *(_dot(dot, x, y) for dot in dots)]
    head = label(LEFT, 14, cut(title, 36), "start", "title")
    return tag("figure", [drawing(WIDTH, HEIGHT, title, [head, *marks])])


def strip(interval: Interval, low: float, high: float) -> Html:
    """An interval as a bar between `low` and `high`, for a cell of a table."""

    def place(value: float) -> float:
        return 5 + (STRIP_WIDTH - 10) * (value - low) / ((high - low) or 1.0)

    middle = STRIP_HEIGHT / 2
    marks = [stroke("grid", 5, middle, STRIP_WIDTH - 5, middle)]
    if not math.isnan(interval.low):
        marks.append(stroke("whisker", place(interval.low), middle, place(interval.high), middle))
    marks.append(_shape(0, place(interval.value), middle, 4, "mean", ""))
    return drawing(STRIP_WIDTH, STRIP_HEIGHT, f"{interval.value:.1%}", marks)


def legend(names: Sequence[str]) -> Html:
    """The series of a chart by name, each with its mark."""
    marks = [drawing(12, 12, "", [_shape(index, 6, 6, 5, _series(index), "")]) for index in range(len(names))]
    return classed("div", "legend", [tag("span", [mark, name]) for mark, name in zip(marks, names, strict=True)])


def curve_legend(kinds: Sequence[tuple[str, str]]) -> Html:
    """(kind of curve, what it stands for) with a piece of the line."""
    marks = [(drawing(22, 12, "", [_path([(1, 6), (21, 6)], kind)]), name) for kind, name in kinds]
    return classed("div", "legend", [tag("span", [mark, name]) for mark, name in marks])


def _grid(x: Axis, y: Axis) -> list[Html]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    marks = [label(_across(x, value), bottom + 14, x.text(value), "middle") for value in x.ticks()]
    for value in y.ticks():
        height = _down(y, value)
        marks += [stroke("grid", LEFT, height, right, height), label(LEFT - 5, height + 4, y.text(value), "end")]
    marks.append(stroke("grid", LEFT, bottom, right, bottom))
    named = {"transform": f"translate(11 {(TOP + bottom) / 2:.1f}) rotate(-90)", "text-anchor": "middle"}
    return [*marks, label((LEFT + right) / 2, HEIGHT - 6, x.name, "middle"), tag("text", y.name, named)]


def _across(x: Axis, value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * x.place(value)


def _down(y: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * y.place(value)


def _curve(curve: Curve, x: Axis, y: Axis) -> Html:
    pieces: list[list[tuple[float, float]]] = [[]]
    for at, value in curve.points:
        if math.isfinite(value):
            pieces[-1].append((_across(x, at), _down(y, value)))
        elif pieces[-1]:
            pieces.append([])
    return Html("".join(_path(piece, curve.kind) for piece in pieces if piece))


def _path(points: Sequence[tuple[float, float]], kind: str) -> Html:
    if len(points) == 1:  # one epoch is a point: a short stroke shows it
        points = [(points[0][0] - 4, points[0][1]), (points[0][0] + 4, points[0][1])]
    return polyline(f"curve {kind}", points)


def _dot(dot: Dot, x: Axis, y: Axis) -> Html:
    return _shape(dot.series, _across(x, dot.x), _down(y, dot.y), 4.5, f"dot {_series(dot.series)}", dot.title)


def _series(index: int) -> str:
    return f"s{index % SERIES}"


def _shape(series: int, x: float, y: float, size: float, css_class: str, title: str) -> Html:
    """Circle, square, triangle and diamond in turn, so that color is not all that tells series apart."""
    told = tag("title", title) if title else Html("")
    corners = (
        None,
        ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
        ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    )[(series + series // SERIES) % SHAPES]
    if corners is None:
        return tag("circle", told, {"class": css_class, "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{size:g}"})
    points = " ".join(f"{x + 0.9 * size * a:.1f},{y + 0.9 * size * b:.1f}" for a, b in corners)
    return tag("polygon", told, {"class": css_class, "points": points})


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if step <= power * factor * (1 + 1e-9))
