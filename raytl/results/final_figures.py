"""What a final model's one reading of the test set gave, and the rows that keep it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raytl.results.schemas import ConfirmedRow, EpochRow, PredictionRow, TrialRow


@dataclass(frozen=True)
class FinalFigures:
    """Figures of one final model on all N test pictures.

    `probabilities`: (N, C) float32 in the order of `paths`; `labels`, `predicted`: N class indices. `auc` is None but
    for two classes that both occur.
    """

    accuracy: float
    macro_f1: float
    loss: float
    auc: float | None
    correct: int
    images_per_second: float
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    predicted: tuple[int, ...]
    probabilities: np.ndarray


def tested_rows(
    trial: TrialRow, best: EpochRow, test: FinalFigures, classes: Sequence[str]
) -> tuple[ConfirmedRow, list[PredictionRow]]:
    """A final model's figures and predictions as the tables hold them; `best` is the epoch that was tested."""
    row = ConfirmedRow(
        trial_id=trial.trial_id,
        recipe_hash=trial.recipe_hash,
        backbone=trial.backbone,
        role=trial.origin,
        seed=trial.recipe.seed,
        split=trial.split,
        freeze_depth=trial.freeze_depth,
        val_accuracy=best.val_accuracy,
        val_macro_f1=best.val_macro_f1,
        val_loss=best.val_loss,
        test_accuracy=test.accuracy,
        test_macro_f1=test.macro_f1,
        test_loss=test.loss,
        test_auc=test.auc,
        test_count=len(test.paths),
        correct=test.correct,
        train_seconds=trial.seconds or 0.0,
        predict_images_per_second=test.images_per_second,
    )
    answers = zip(test.paths, test.labels, test.predicted, test.probabilities, strict=True)
    predictions = [
        PredictionRow(
            trial_id=trial.trial_id,
            seed=trial.recipe.seed,
            path=path,
            label=classes[label],
            predicted=classes[predicted],
            probabilities=probabilities.tolist(),
        )
        for path, label, predicted, probabilities in answers
    ]
    return row, predictions
