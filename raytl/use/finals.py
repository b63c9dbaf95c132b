"""The final models of a study: the chosen one of each backbone saved, and its results drawn for TensorBoard."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from raytl.data.store import PictureSet
from raytl.data.views import View, center_squares
from raytl.errors import ConfigError, StorageError
from raytl.limits import NO_LIMITS, Limits
from raytl.metric import Metric
from raytl.models.chance import seed_torch
from raytl.models.classifier import Classifier, build_classifier
from raytl.recipe import Recipe
from raytl.results.figures import confusion_png, heat_png, mistakes_png, smaller
from raytl.results.folder import HEAT_FILE, write_atomically
from raytl.results.pr_curve import PrCurve, pr_curves
from raytl.results.schemas import ConfirmedRow, PredictionRow
from raytl.results.tensorboard import BoardWriter
from raytl.train.checkpoint import load_snapshot
from raytl.train.learner import trained_state
from raytl.use.cam import heat_maps
from raytl.use.card import ModelCard
from raytl.use.export import LoadedModel, load_model, save_model

WORST = 12  # chosen: three rows of four mistakes
EXPLAINED = 16  # chosen: four rows of heat maps, half of them of mistakes where there are that many


@dataclass(frozen=True)
class Final:
    """One final model: its figures, its recipe, the folder of its checkpoint, and its parameters where known."""

    row: ConfirmedRow
    recipe: Recipe
    checkpoint: Path
    parameters: int | None = None


def choose_final(finals: Sequence[Final], metric: Metric, limits: Limits = NO_LIMITS) -> Final:
    """The model that `models/` holds for a backbone: of the recipe that is better on average, the best seed.

    Both choices are made on validation figures of the first split that has any; the test set has no say. Recipes over
    the limits are passed over while there is one within.
    """
    split = min(final.row.split for final in finals)
    recipes = _by_recipe(finals)
    within = {key: group for key, group in recipes.items() if excess_of(group, limits) is None} or recipes
    first = {key: [each for each in group if each.row.split == split] for key, group in within.items()}
    tested = {key: group for key, group in first.items() if group} or within
    best = min(tested, key=lambda key: _mean_key(tested[key], metric))
    return min(tested[best], key=lambda final: metric.key(final.row))


def choose_published(finals: Sequence[Final], metric: Metric, limits: Limits = NO_LIMITS) -> Final:
    """`choose_final`, or the nearest to it of which there still is a checkpoint.

    Publishing removes the checkpoints of what was not chosen. Where a study goes on, under other limits or with more
    seeds, such a run may be the chosen one: then another seed of the same recipe stands for it, of the same split where
    there is one, or what was published stays.
    """
    chosen = choose_final(finals, metric, limits)
    if chosen.row.model_path or chosen.checkpoint.is_dir():
        return chosen
    there = [each for each in finals if each.checkpoint.is_dir()]
    alike = [each for each in there if recipe_key(each) == recipe_key(chosen)]
    published = [each for each in there if each.row.model_path]
    near = [each for each in alike if each.row.split == chosen.row.split]
    return min(near or alike or published, key=lambda final: metric.key(final.row), default=chosen)


def excess_of(finals: Sequence[Final], limits: Limits) -> str | None:
    """By what one recipe is over the limits, by its mean speed over all its runs, as in `facts.final_models`."""
    speed = float(np.mean([final.row.predict_images_per_second for final in finals]))
    return limits.excess(speed, finals[0].parameters)


def _by_recipe(finals: Sequence[Final]) -> dict[Recipe, list[Final]]:
    """Runs of the same recipe. Roles do not tell: in an extended study another recipe may have become the best."""
    groups: defaultdict[Recipe, list[Final]] = defaultdict(list)
    for final in finals:
        groups[recipe_key(final)].append(final)
    return groups


def recipe_key(final: Final) -> Recipe:
    """What final models share that differ by seed or split alone."""
    return final.recipe.with_seed(0)


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


@dataclass(frozen=True)
class Drawn:
    """What TensorBoard shows of a final model on its test pictures: PNGs by tag, and a curve for each class."""

    pictures: Mapping[str, bytes]
    curves: Sequence[PrCurve]


def draw_final(
    predictions: Sequence[PredictionRow], pictures: PictureSet, classes: tuple[str, ...], heat: bytes
) -> Drawn:
    """Draws what one final model did with its test pictures; `heat` is the PNG of `save_heat`."""
    drawn = {
        "test/confusion": confusion_picture(predictions, classes),
        "test/worst_mistakes": mistakes_picture(predictions, pictures),
        "test/grad_cam": heat,
    }
    return Drawn(drawn, pr_curves(predictions, classes))


def show_final(board: BoardWriter, run: str, drawn: Drawn) -> None:
    """Adds a final model's pictures and curves to a run of TensorBoard's.

    Raises:
        StorageError: where the run cannot be written.
    """
    for name, png in drawn.pictures.items():
        board.picture(run, name, png, 0)
    board.pr_curves(run, drawn.curves)


def confusion_picture(predictions: Sequence[PredictionRow], classes: tuple[str, ...]) -> bytes:
    """The confusion matrix of one final model as PNG."""
    labels, predicted = [row.label for row in predictions], [row.predicted for row in predictions]
    return confusion_png(labels, predicted, classes)


def mistakes_picture(predictions: Sequence[PredictionRow], pictures: PictureSet) -> bytes:
    """The test pictures that one final model was most wrongly sure of, as PNG."""
    order = {path: index for index, path in enumerate(pictures.paths)}
    wrong = _worst(_with_picture(predictions, order))[:WORST]
    return mistakes_png([(np.array(pictures.picture(order[row.path])), _caption(row)) for row in wrong])


def save_heat(folder: Path, predictions: Sequence[PredictionRow], pictures: PictureSet) -> bytes:
    """Where the model saved in `folder` looks, as PNG; written beside the model as JPEG, for the report.

    Raises:
        StorageError: where the model cannot be read or the picture not written.
    """
    png = heat_picture(load_model(folder), predictions, pictures)
    write_atomically(folder / HEAT_FILE, smaller(png), "heat maps")
    return png


def heat_picture(loaded: LoadedModel, predictions: Sequence[PredictionRow], pictures: PictureSet) -> bytes:
    """What speaks for the predicted classes, by Grad-CAM, in the worst mistakes and in some right answers, as PNG."""
    order = {path: index for index, path in enumerate(pictures.paths)}
    rows = explained(_with_picture(predictions, order))
    if not rows:
        return heat_png([], "no predictions")
    sources = [np.array(pictures.picture(order[row.path])) for row in rows]
    try:
        maps = heat_maps(loaded, sources, [loaded.classes.index(row.predicted) for row in rows])
    except (ConfigError, RuntimeError) as error:  # a picture to look at must not cost the models: memory may be short
        return heat_png([], f"no heat maps: {str(error).splitlines()[0]}")
    squares = center_squares(sources, View(loaded.input.image_size, loaded.input.mean, loaded.input.std))
    shown = zip(squares.permute(0, 2, 3, 1).numpy(), maps, map(_verdict, rows), strict=True)
    return heat_png(list(shown), "no predictions")


def _with_picture(predictions: Sequence[PredictionRow], there: Container[str]) -> list[PredictionRow]:
    """Those whose picture can be shown: a study that goes on may have lost some, or test on others."""
    return [row for row in predictions if row.path in there]


def explained(predictions: Sequence[PredictionRow]) -> list[PredictionRow]:
    """The worst mistakes, then the surest right answers, of each class in turn, `EXPLAINED` at most together."""
    wrong, right = _worst(predictions), _surest_by_turns(predictions)
    mistakes = max(EXPLAINED // 2, EXPLAINED - len(right))
    return [*wrong[:mistakes], *right][:EXPLAINED]


def _worst(predictions: Sequence[PredictionRow]) -> list[PredictionRow]:
    """Wrong answers, the surest first."""
    wrong = [row for row in predictions if row.label != row.predicted]
    return sorted(wrong, key=_sureness, reverse=True)


def _surest_by_turns(predictions: Sequence[PredictionRow]) -> list[PredictionRow]:
    """Right answers: the surest of each class, then the second of each, and so on."""
    right = sorted((row for row in predictions if row.label == row.predicted), key=_sureness, reverse=True)
    turns: Counter[str] = Counter()
    turn_of: list[int] = []
    for row in right:
        turn_of.append(turns[row.label])
        turns[row.label] += 1
    return [row for _, row in sorted(zip(turn_of, right, strict=True), key=lambda pair: (pair[0], pair[1].label))]


def _sureness(row: PredictionRow) -> float:
    return max(row.probabilities)


def _caption(row: PredictionRow) -> str:
    return f"{row.label}, taken for {row.predicted} ({_sureness(row):.0%})"


def _verdict(row: PredictionRow) -> str:
    return f"{row.label}, rightly ({_sureness(row):.0%})" if row.label == row.predicted else _caption(row)


def _mean_key(finals: Sequence[Final], metric: Metric) -> tuple[float, float]:
    keys = np.array([metric.key(final.row) for final in finals])
    return float(keys[:, 0].mean()), float(keys[:, 1].mean())
