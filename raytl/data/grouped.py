"""Splits that keep groups of pictures on one side: all pictures of one patient, plant or camera, say.

A model that has seen one picture of a patient is tested on nothing new by another, and its figure flatters it.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Container, Mapping, Sequence

import numpy as np

from raytl.results.schemas import PictureRow

MOST_FOLDS = 20  # chosen: a share below a twentieth of the pictures tells little


def draw_groups(
    rows: Sequence[PictureRow], places: Sequence[int], held: Container[str], shares: Mapping[str, float], seed: int
) -> dict[int, str | None]:
    """The split of each of the rows at `places` that is taken off for one of `shares`; no group lies in two.

    Classes keep their shares as well as groups allow: one fold of scikit-learn's StratifiedGroupKFold for each split,
    of as many folds as the split's share of what is left goes into the whole. Pictures without a group stand alone,
    and pictures of the same bytes count as one group. A group with a picture whose hash is among those `held` stays.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # a second to import, and few data sets have groups

    names = _names(rows, places)
    kept = {names[place] for place in places if rows[place].sha256 in held}
    left = np.array([place for place in places if names[place] not in kept])
    taken, rest = dict[int, str | None](), 1.0
    for split, share in shares.items():
        groups, labels = [names[place] for place in left], [rows[place].label for place in left]
        largest = max(Counter(labels).values(), default=0)  # with more folds than that scikit-learn gives up
        folds = min(MOST_FOLDS, round(rest / share), len(set(groups)), largest)
        if folds < 2:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of classes rarer than folds; who lacks one is told later
            _, chosen = next(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(left, labels, groups))
        taken |= dict.fromkeys(left[chosen].tolist(), split)
        left, rest = np.delete(left, chosen), rest - share
    return taken


def _names(rows: Sequence[PictureRow], places: Sequence[int]) -> dict[int, str]:
    """By place, the name of its group; groups that share the bytes of a picture are one."""
    parents: dict[str, str] = {}

    def find(name: str) -> str:
        while parents.setdefault(name, name) != name:
            name = parents[name]
        return name

    for place in places:
        content = f"content {rows[place].sha256 or rows[place].path}"
        parents[find(f"group {rows[place].group}" if rows[place].group else content)] = find(content)
    return {place: find(f"content {rows[place].sha256 or rows[place].path}") for place in places}
