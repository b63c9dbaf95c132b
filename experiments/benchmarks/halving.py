"""Asynchronous successive halving by hand (Li et al. 2020), to hold a scheduler's decisions against.

One bracket, first rung at epoch 1: a trial that comes to a rung goes on if its score is at least the (1 - 1 / factor)
quantile of the scores that others left there before it. The first of a rung always goes on, and a trial's last epoch
decides nothing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from math import floor


def stops(rows: Iterable[tuple[str, int, float]], epochs: int, factor: int) -> dict[str, int]:
    """After which epoch each trial that does not go on is to stop, from (trial, epoch, score) as they came."""
    rungs: dict[int, list[float]] = {factor**power: [] for power in range(epochs) if factor**power < epochs}
    stopped: dict[str, int] = {}
    for trial, epoch, score in rows:
        others = rungs.get(epoch)
        if others is None or trial in stopped:
            continue
        if others and score < quantile(others, 1 - 1 / factor):
            stopped[trial] = epoch
        insort(others, score)
    return stopped


def quantile(ordered: list[float], share: float) -> float:
    """Between the two nearest of the ordered values, in proportion."""
    place = share * (len(ordered) - 1)
    low = floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
