"""What charts are drawn with: SVG elements colored by the page's style sheet. Places are pixels from the top left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from raytl.results.page import Html, tag

NO_ATTRIBUTES: Mapping[str, str] = {}


def drawing(width: int, height: int, shows: str, marks: Sequence[Html], css_class: str = "") -> Html:
    """A drawing of some marks; `shows` says what, to who cannot see it."""
    size = {"width": str(width), "height": str(height), "viewBox": f"0 0 {width} {height}"}
    kind = {"class": css_class} if css_class else {}
    return tag("svg", marks, {**size, **kind, "role": "img", "aria-label": shows})


def stroke(css_class: str, x1: float, y1: float, x2: float, y2: float) -> Html:
    """A straight line."""
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return tag("line", "", {"class": css_class, **{name: f"{value:.1f}" for name, value in ends.items()}})


def polyline(
    css_class: str,
    points: Iterable[tuple[float, float]],
    title: str = "",
    attributes: Mapping[str, str] = NO_ATTRIBUTES,
) -> Html:
    """Points joined in order; `title` is told on hovering."""
    told = tag("title", title) if title else Html("")
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return tag("polyline", told, {"class": css_class, "points": places, **attributes})


def label(x: float, y: float, words: str, anchor: str, css_class: str = "tick") -> Html:
    """Words that begin, end or have their middle at a place: `anchor` is start, end or middle."""
    return tag("text", words, {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "class": css_class})


def cut(words: str, length: int) -> str:
    """`words`, or their beginning with an ellipsis."""
    return words if len(words) <= length else f"{words[: length - 1]}…"
