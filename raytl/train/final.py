"""The one reading of the test set by a final model."""

from __future__ import annotations

import time

import numpy as np
from torch import Tensor

from raytl.results.final_figures import FinalFigures
from raytl.train.loop import Run
from raytl.train.losses import evaluation_sums, log_probabilities
from raytl.train.metrics import Counts, auc, predicted_classes, predictions_from_logits


def read_test_set(run: Run) -> FinalFigures:
    """Shows the test pictures once to the model of the run's best epoch. Every worker must take part."""
    pictures, class_count = run.data.test, len(run.data.classes)
    begin = time.perf_counter()
    logits = run.evaluator.logits(run.load_best(), pictures)
    seconds = time.perf_counter() - begin
    predicted = predicted_classes(logits)
    sums = evaluation_sums(logits, pictures.labels, run.recipe.loss)
    counts = Counts.of(logits, pictures.labels, class_count, sums)
    probabilities = predictions_from_logits(logits, run.recipe.loss).numpy().astype(np.float32)
    labels = pictures.labels.numpy()
    return FinalFigures(
        accuracy=counts.accuracy,
        macro_f1=counts.macro_f1,
        loss=counts.mean_loss,
        auc=auc(labels, _margins(logits, run.recipe.loss)) if class_count == 2 else None,
        correct=int((predicted == pictures.labels).sum()),
        images_per_second=len(pictures) / seconds,
        paths=tuple(pictures.paths),
        labels=tuple(labels.tolist()),
        predicted=tuple(predicted.tolist()),
        probabilities=probabilities,
    )


def _margins(logits: Tensor, loss: str) -> np.ndarray:
    """Log odds (N,) of class 1 of two: probabilities near 1 round to ties, which would cost area."""
    log_odds = log_probabilities(logits.double(), loss)
    return (log_odds[:, 1] - log_odds[:, 0]).numpy()
