"""Precision and recall of one class at every threshold of its probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raytl.results.schemas import PredictionRow

THRESHOLDS = 101  # chosen: every hundredth from 0 to 1
CLASSES = 50  # chosen: more curves nobody looks through; those of the classes that are found worst are kept


@dataclass(frozen=True)
class PrCurve:
    """One class against all others: what is called it at a probability of at least 0, 0.01, ... 1; each (T,)."""

    name: str
    true_positives: np.ndarray
    false_positives: np.ndarray
    true_negatives: np.ndarray
    false_negatives: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """1 where nothing is called it: nothing is called so wrongly."""
        called = self.true_positives + self.false_positives
        share: np.ndarray = np.where(called > 0, self.true_positives / np.maximum(called, 1), 1.0)
        return share

    @property
    def recall(self) -> np.ndarray:
        """The share of the class that is found; 0 where the test set has none of it."""
        share: np.ndarray = self.true_positives / np.maximum(self.true_positives + self.false_negatives, 1)
        return share


def pr_curves(predictions: Sequence[PredictionRow], classes: Sequence[str]) -> list[PrCurve]:
    """A curve for each class, in their order; of very many classes those whose F1 is nowhere high."""
    scores = np.array([row.probabilities for row in predictions], dtype=np.float64).reshape(-1, len(classes))
    labels = np.array([row.label for row in predictions])
    curves = [pr_curve(name, scores[:, index], labels == name) for index, name in enumerate(classes)]
    worst = sorted(range(len(curves)), key=lambda index: _best_f1(curves[index]))[:CLASSES]
    return [curves[index] for index in sorted(worst)]


def pr_curve(name: str, scores: np.ndarray, positive: np.ndarray) -> PrCurve:
    """The curve of (N,) probabilities and (N,) bool: whether the class is true."""
    thresholds = np.linspace(0.0, 1.0, THRESHOLDS)
    said = scores[None, :] >= thresholds[:, None]
    found, wrongly = (said & positive).sum(axis=1), (said & ~positive).sum(axis=1)
    return PrCurve(name, found, wrongly, (~positive).sum() - wrongly, positive.sum() - found)


def _best_f1(curve: PrCurve) -> float:
    both = curve.precision + curve.recall
    return float((2 * curve.precision * curve.recall / np.where(both > 0, both, 1)).max())
