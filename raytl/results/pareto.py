"""Which of some models no other beats, in cost and in value."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, value) of which none costs as little or less and reaches more; cheapest first, each once."""
    best: list[tuple[float, float]] = []
    for cost, value in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not best or value > best[-1][1]:
            best.append((cost, value))
    return best
