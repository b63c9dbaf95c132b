"""Which classes a final model takes for which, pooled over its runs, as plain facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class ClassFigures:
    """One class: `count` test pictures of it (each run counts), and null where nothing can be divided."""

    name: str
    count: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Confusion:
    """`counts`: (K, K), the true class by row and the predicted one by column, in the order of `classes`."""

    classes: tuple[str, ...]
    counts: np.ndarray

    def figures(self) -> tuple[ClassFigures, ...]:
        """Precision, recall and F1 of each class."""
        right, true, said = np.diag(self.counts), self.counts.sum(axis=1), self.counts.sum(axis=0)
        return tuple(
            ClassFigures(
                name=name,
                count=int(true[index]),
                precision=_ratio(right[index], said[index]),
                recall=_ratio(right[index], true[index]),
                f1=_ratio(2 * right[index], true[index] + said[index]),
            )
            for index, name in enumerate(self.classes)
        )

    def largest_share(self) -> float:
        """The accuracy of always answering the most frequent class."""
        return float(self.counts.sum(axis=1).max() / self.counts.sum())

    def mistakes(self) -> list[tuple[str, str, int]]:
        """(true, predicted, times), the most frequent first."""
        wrong = self.counts * (1 - np.eye(len(self.classes), dtype=np.int64))
        order = np.argsort(-wrong, axis=None, kind="stable")
        pairs = (np.unravel_index(index, wrong.shape) for index in order[: np.count_nonzero(wrong)])
        return [(self.classes[row], self.classes[column], int(wrong[row, column])) for row, column in pairs]


def confusion(predictions: pa.Table, trial_ids: Sequence[str]) -> Confusion | None:
    """The answers of some runs taken together; None where none is recorded."""
    rows = predictions.filter(pc.field("trial_id").isin(list(trial_ids)))
    if not len(rows):
        return None
    names = np.concatenate([rows[column].to_numpy().astype(str) for column in ("label", "predicted")])
    classes, codes = np.unique(names, return_inverse=True)
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (codes[: len(rows)], codes[len(rows) :]), 1)
    return Confusion(tuple(classes.tolist()), counts)


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
