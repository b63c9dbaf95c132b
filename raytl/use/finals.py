"""The final models of a study: the chosen one of each backbone saved, and its results drawn for TensorBoard."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from raytl.data.store import PictureSet
from raytl.errors import StorageError
from raytl.metric import Metric
from raytl.models.chance import seed_torch
from raytl.models.classifier import Classifier, build_classifier
from raytl.recipe import Recipe
from raytl.results.figures import confusion_png, mistakes_png
from raytl.results.schemas import ConfirmedRow, PredictionRow
from raytl.train.checkpoint import load_snapshot
from raytl.train.learner import trained_state
from raytl.use.card import ModelCard
from raytl.use.export import save_model

WORST = 12  # chosen: three rows of four mistakes


@dataclass(frozen=True)
class Final:
    """One final model: its figures, its recipe, and the folder of its checkpoint."""

    row: ConfirmedRow
    recipe: Recipe
    checkpoint: Path


def choose_final(finals: Sequence[Final], metric: Metric) -> Final:
    """The model that `models/` holds for a backbone: of the recipe that is better on average, the best seed.

    Both choices are made on validation figures of the first split that has any; the test set has no say.
    """
    split = min(final.row.split for final in finals)
    first = [final for final in finals if final.row.split == split]
    role = chosen_role([final.row for final in first], metric)
    return min((final for final in first if final.row.role == role), key=lambda final: metric.key(final.row))


def chosen_role(rows: Sequence[ConfirmedRow], metric: Metric) -> str:
    """Which of a backbone's confirmed recipes is better, by the mean validation figures over its seeds."""
    return min(sorted({row.role for row in rows}), key=lambda role: _mean_key(rows, role, metric))


def rebuild(final: Final, class_count: int) -> Classifier:
    """The model as it was at its best epoch, in eval mode.

    A checkpoint leaves out what stayed frozen, so that is made again: weights are read from their file, random ones
    are drawn under the run's seed.

    Raises:
        StorageError: where the checkpoint is gone, damaged, or another model's.
    """
    snapshot = load_snapshot(final.checkpoint)
    if snapshot is None:
        raise StorageError(f"{final.checkpoint}: the final model's checkpoint is gone; put it back, or confirm again")
    with torch.random.fork_rng(devices=[]):
        seed_torch(final.recipe.seed)
        model = build_classifier(final.recipe, class_count)
    wanted, held = trained_state(model, final.recipe).keys(), snapshot.best.keys()
    if wanted != held:
        differing = ", ".join(sorted(wanted ^ held)[:4])
        raise StorageError(f"{final.checkpoint}: not this recipe's checkpoint ({differing}); confirm again")
    model.load_state_dict(dict(snapshot.best), strict=False)
    return model.eval()


def save_final(final: Final, classes: tuple[str, ...], folder: Path, card: ModelCard) -> None:
    """Writes a final model to `folder`, as timm opens it where timm can."""
    save_model(folder, rebuild(final, len(classes)), final.recipe, classes, card)


def prune(final: Final) -> None:
    """Removes a checkpoint that nothing refers to any more."""
    shutil.rmtree(final.checkpoint, ignore_errors=True)


def confusion_picture(predictions: Sequence[PredictionRow], classes: tuple[str, ...]) -> bytes:
    """The confusion matrix of one final model as PNG."""
    labels, predicted = [row.label for row in predictions], [row.predicted for row in predictions]
    return confusion_png(labels, predicted, classes)


def mistakes_picture(predictions: Sequence[PredictionRow], pictures: PictureSet, classes: tuple[str, ...]) -> bytes:
    """The test pictures that one final model was most wrongly sure of, as PNG."""
    order = {path: index for index, path in enumerate(pictures.paths)}
    wrong = [row for row in predictions if row.label != row.predicted]
    wrong.sort(key=lambda row: max(row.probabilities), reverse=True)
    return mistakes_png([(np.array(pictures.picture(order[row.path])), _caption(row)) for row in wrong[:WORST]])


def _caption(row: PredictionRow) -> str:
    return f"{row.label}, taken for {row.predicted} ({max(row.probabilities):.0%})"


def _mean_key(rows: Sequence[ConfirmedRow], role: str, metric: Metric) -> tuple[float, float]:
    keys = np.array([metric.key(row) for row in rows if row.role == role])
    return float(keys[:, 0].mean()), float(keys[:, 1].mean())
