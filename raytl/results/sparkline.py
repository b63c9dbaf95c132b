"""A curve in a line of text: one block per value, or plain characters where an encoding has no blocks."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-=+*%#"  # chosen: each takes more ink than the one before


def sparkline(values: Sequence[float], width: int, levels: str = BLOCKS) -> str:
    """`values` from left to right, from the lowest to the highest of `levels`; at most `width` characters.

    More values than that are thinned out evenly, the first and the last kept. Values that are all alike lie in the
    middle.
    """
    shown = thinned(values, width)
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    if high == low:
        return levels[len(levels) // 2] * len(shown)
    top = len(levels) - 1
    return "".join(levels[round((value - low) / (high - low) * top)] for value in shown)


def thinned(values: Sequence[float], count: int) -> list[float]:
    """At most `count` of the values, evenly spread over them, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    if count == 1:
        return [values[-1]]
    last = len(values) - 1
    return [values[round(place * last / (count - 1))] for place in range(count)]
