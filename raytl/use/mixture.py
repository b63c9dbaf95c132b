"""What an ensemble makes of the test pictures: the weighted mean of what its members made of them.

Each final model reads the test set once and its probabilities are kept; nothing is read again for an ensemble.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raytl.errors import DataError
from raytl.identity import ensemble_id
from raytl.metric import Figures
from raytl.results.schemas import ENSEMBLE, ConfirmedRow, PredictionRow
from raytl.results.selection import figures_of
from raytl.train.metrics import auc
from raytl.use.finals import Final


@dataclass(frozen=True)
class Weighted:
    """A member of an ensemble and its weight, a fraction."""

    final: Final
    weight: float


@dataclass(frozen=True)
class Mixture:
    """An ensemble's row of final models and its rows of predictions, as the tables hold them."""

    row: ConfirmedRow
    predictions: tuple[PredictionRow, ...]


@dataclass(frozen=True, eq=False)
class _Answers:
    """Recorded answers of one run; `paths` and `labels` by path, `probabilities`: (N, C)."""

    paths: list[str]
    labels: list[str]
    probabilities: np.ndarray


def mix(members: Sequence[Weighted], validation: Figures, predictions: pa.Table, classes: tuple[str, ...]) -> Mixture:
    """The rows of the ensemble of `members`; `validation` are the figures that it was chosen on.

    Time is the sum of theirs: a picture is shown to each.

    Raises:
        DataError: members were tested on different pictures.
    """
    answers = [_answers(predictions, member.final.row.trial_id) for member in members]
    first = answers[0]
    if any((each.paths, each.labels) != (first.paths, first.labels) for each in answers):
        raise DataError("members were tested on different pictures; an ensemble can be made of one split's models only")
    weights = {member.final.row.trial_id: member.weight for member in members}
    name = ensemble_id(weights)
    means = sum((each.probabilities * weight for each, weight in zip(answers, weights.values(), strict=True)), 0.0)
    assert isinstance(means, np.ndarray), "there is a member"
    labels = np.array([classes.index(label) for label in first.labels])
    rows = tuple(
        PredictionRow(
            trial_id=name,
            seed=0,
            path=path,
            label=label,
            predicted=classes[int(mean.argmax())],
            probabilities=mean.tolist(),
        )
        for path, label, mean in zip(first.paths, first.labels, means, strict=True)
    )
    return Mixture(_row(name, members, validation, means, labels), rows)


def _row(
    name: str, members: Sequence[Weighted], validation: Figures, means: np.ndarray, labels: np.ndarray
) -> ConfirmedRow:
    test, own = figures_of(means, labels), [member.final.row for member in members]
    weights = {member.final.row.trial_id: member.weight for member in members}
    return ConfirmedRow(
        trial_id=name,
        recipe_hash=name,
        backbone=ENSEMBLE,
        role=ENSEMBLE,
        seed=0,
        split=own[0].split,
        freeze_depth=0,
        val_accuracy=validation.val_accuracy,
        val_macro_f1=validation.val_macro_f1,
        val_loss=validation.val_loss,
        test_accuracy=test.val_accuracy,
        test_macro_f1=test.val_macro_f1,
        test_loss=test.val_loss,
        test_auc=auc(labels, means[:, 1]) if means.shape[1] == 2 else None,
        test_count=len(labels),
        correct=int((means.argmax(axis=1) == labels).sum()),
        train_seconds=sum(row.train_seconds for row in own),
        predict_images_per_second=_speed([row.predict_images_per_second for row in own]),
        members=json.dumps(weights),
    )


def _speed(speeds: Sequence[float]) -> float:
    """Pictures per second where each is shown to all; 0 where one was not measured."""
    return 1 / sum(1 / speed for speed in speeds) if min(speeds) > 0 else 0.0


def _answers(predictions: pa.Table, trial_id: str) -> _Answers:
    rows = predictions.filter(pc.field("trial_id") == trial_id).sort_by("path")
    probabilities = np.array(rows["probabilities"].to_pylist(), dtype=np.float64)
    return _Answers(rows["path"].to_pylist(), rows["label"].to_pylist(), probabilities)
