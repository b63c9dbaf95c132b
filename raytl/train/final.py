"""The one reading of the test set by a final model."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor

from raytl.results.final_figures import FinalFigures
from raytl.train.evaluate import BATCH
from raytl.train.fronts import open_view
from raytl.train.inputs import FixedView
from raytl.train.loop import Run
from raytl.train.losses import evaluation_sums, log_probabilities
from raytl.train.metrics import Counts, auc, predicted_classes, predictions_from_logits


def read_test_set(run: Run) -> FinalFigures:
    """Shows the test pictures once to the model of the run's best epoch. Every worker must take part."""
    pictures, class_count = run.data.test, len(run.data.classes)
    model = run.load_best()
    stored = open_view(model, run.recipe, pictures, run.precision, run.cache)
    begin = time.perf_counter()
    logits = run.evaluator.logits(model, pictures, stored)
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
        images_per_second=_speed(run) if stored else len(pictures) / seconds,
        paths=tuple(pictures.paths),
        labels=tuple(labels.tolist()),
        predicted=tuple(predicted.tolist()),
        probabilities=probabilities,
    )


def _speed(run: Run) -> float:
    """Pictures per second through the whole model, on validation pictures: what is stored would flatter it.

    The first pass is not timed: a process in which the frozen stages have not run yet makes itself ready in it.
    """
    rows = np.arange(min(len(run.data.val), BATCH))
    inputs = FixedView(run.data.val, run.evaluator.view)
    seconds = 0.0
    for _ in range(2):
        begin = time.perf_counter()
        with torch.inference_mode(), run.precision.autocast():
            run.model(inputs.batch(rows, 1).to(run.world.device)).float().cpu()  # waits for a GPU to finish
        seconds = time.perf_counter() - begin
    return len(rows) * run.world.size / seconds


def _margins(logits: Tensor, loss: str) -> np.ndarray:
    """Log odds (N,) of class 1 of two: probabilities near 1 round to ties, which would cost area."""
    log_odds = log_probabilities(logits.double(), loss)
    return (log_odds[:, 1] - log_odds[:, 0]).numpy()
