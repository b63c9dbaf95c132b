"""Confusions against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from raytl.results.confusion import confusion
from raytl.results.schemas import to_table
from tests.rows import prediction_row

CLASSES = ("a", "b", "c", "d")


def answers(count: int, seed: int) -> tuple[list[str], list[str]]:
    generator = np.random.default_rng(seed)
    labels = generator.choice(CLASSES, count)
    return labels.tolist(), np.where(generator.random(count) < 0.7, labels, generator.choice(CLASSES, count)).tolist()


def test_counts_and_figures_are_scikit_learns() -> None:
    labels, predicted = answers(200, 0)
    rows = [
        prediction_row(trial_id=f"t{index % 2}", path=str(index), label=label, predicted=guess)
        for index, (label, guess) in enumerate(zip(labels, predicted, strict=True))
    ]
    rows.append(prediction_row(trial_id="other", label="z"))
    found = confusion(to_table("predictions", rows, 1), ["t0", "t1"])
    assert found
    assert found.classes == CLASSES
    assert found.counts.tolist() == confusion_matrix(labels, predicted).tolist()
    figures = np.array([(row.precision, row.recall, row.f1, row.count) for row in found.figures()], float)
    assert figures == pytest.approx(np.array(precision_recall_fscore_support(labels, predicted)).T)
    assert found.largest_share() == pytest.approx(max(labels.count(name) for name in CLASSES) / 200)


def test_the_most_frequent_mistakes_come_first() -> None:
    pairs = [("a", "b"), ("c", "a"), ("c", "a"), ("a", "a")]
    rows = [prediction_row(path=str(index), label=a, predicted=b) for index, (a, b) in enumerate(pairs)]
    found = confusion(to_table("predictions", rows, 1), ["t0"])
    assert found
    assert found.mistakes() == [("c", "a", 2), ("a", "b", 1)]
    by_name = {row.name: row for row in found.figures()}
    assert by_name["b"].recall is None  # never true, so there is nothing to divide by
    assert by_name["c"].precision is None


def test_no_prediction_is_no_confusion() -> None:
    assert confusion(to_table("predictions", [prediction_row()], 1), ["other"]) is None
