"""What a model looks at of a long search.

The models' cost grows with the points they are given, so that of a search of 20,000 trials would grow with the square.
Both TPEs part the points into at most 25 good ones and the others, of which they need no more than the density: so
they get the best, and of the others an even sample over the whole search.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from raytl.space import Values

BEST = 25  # HyperOpt's `DEFAULT_LF` and the cap in Optuna's `default_gamma`: more are never among the good ones
# Chosen: a shorter search is seen whole. Of 1,000 made-up trials the best was as good as with all of them looked at:
# see results/LOG.md.
LOOKED_AT = 250


@dataclass(frozen=True)
class Observation:
    """A measured point; `score` is None where the trial failed."""

    values: Values
    score: float | None


@dataclass(frozen=True)
class Lookback:
    """What is looked at of `count` points: measured ones in the order told, and some of those under way."""

    seen: Sequence[Observation]
    pending: Sequence[Values]
    count: int

    @property
    def thinning(self) -> float:
        """How many points there are for each that is looked at."""
        return self.count / max(1, len(self.seen) + len(self.pending))


def look_back(seen: Sequence[Observation], pending: Sequence[Values]) -> Lookback:
    """All points up to `LOOKED_AT`; of more the best, and every so many-th of the others, those under way last."""
    count = len(seen) + len(pending)
    if count <= LOOKED_AT:
        return Lookback(seen, pending, count)
    kept = _best(seen)
    others = [place for place in range(count) if place not in kept]
    room = LOOKED_AT - len(kept)
    kept |= {others[part * len(others) // room] for part in range(room)}
    places = sorted(kept)
    return Lookback(
        [seen[place] for place in places if place < len(seen)],
        [pending[place - len(seen)] for place in places if place >= len(seen)],
        count,
    )


def _best(seen: Sequence[Observation]) -> set[int]:
    """The places of the best points; of equal ones the first told."""
    scored = ((item.score, -place) for place, item in enumerate(seen) if item.score is not None)
    return {-place for _, place in heapq.nlargest(BEST, scored)}
