"""Precision and recall at thresholds, against scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import precision_score, recall_score

from raytl.results.pr_curve import CLASSES, THRESHOLDS, pr_curve, pr_curves
from raytl.results.schemas import PredictionRow
from tests.rows import prediction_row


def rows(count: int, classes: list[str], seed: int = 0) -> list[PredictionRow]:
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.ones(len(classes)), count)
    labels = generator.choice(classes, count)
    return [
        prediction_row(path=f"{index}.jpg", label=str(label), probabilities=row.tolist())
        for index, (label, row) in enumerate(zip(labels, scores, strict=True))
    ]


def test_every_threshold_gives_scikit_learns_figures() -> None:
    predictions = rows(80, ["a", "b", "c"])
    labels = np.array([row.label for row in predictions])
    for index, curve in enumerate(pr_curves(predictions, ["a", "b", "c"])):
        scores, true = np.array([row.probabilities[index] for row in predictions]), labels == curve.name
        for threshold in (0, 17, 50, 99, THRESHOLDS - 1):
            said = scores >= threshold / 100
            assert curve.precision[threshold] == precision_score(true, said, zero_division=1.0)
            assert curve.recall[threshold] == recall_score(true, said)
            told = (curve.true_positives, curve.false_positives, curve.true_negatives, curve.false_negatives)
            assert sum(each[threshold] for each in told) == 80


def test_a_class_that_is_never_there_has_no_recall() -> None:
    curve = pr_curve("a", np.array([0.2, 0.6]), np.array([False, False]))
    assert curve.recall.tolist() == [0.0] * THRESHOLDS and curve.precision[70] == 1.0


def test_of_very_many_classes_the_worst_are_kept_in_their_order() -> None:
    classes = [f"c{index:03d}" for index in range(CLASSES + 10)]
    predictions = rows(300, classes)
    perfect = [
        prediction_row(path=f"p{index}.jpg", label=name, probabilities=[float(name == each) for each in classes])
        for index, name in enumerate(classes[:10])
        for _ in range(30)
    ]
    kept = [curve.name for curve in pr_curves([*predictions, *perfect], classes)]
    assert kept == classes[10:]
