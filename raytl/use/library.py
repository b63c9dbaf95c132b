"""The final models that an ensemble can be made of: those whose weights are still there and still give their figures.

A study keeps the weights of the chosen model of each backbone, and all of them where it was told to (`keep_finals`).
Nothing is trained: each model looks at the validation pictures once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raytl.data.store import PictureSet
from raytl.errors import RaytlError, StorageError
from raytl.identity import recipe_hash
from raytl.results.selection import figures_of
from raytl.use.export import LoadedModel, load_model
from raytl.use.finals import Final, rebuild
from raytl.use.predict import probabilities_over

# Chosen: by how much a validation accuracy may differ from the recorded one, and a picture more; another device and
# another number format move the answer of single pictures, other weights far more.
MOST_DRIFT = 0.02
GONE = (
    "its weights were removed when the study ended, which keeps those of each backbone's chosen model; a study that is "
    "run with --keep-finals keeps all"
)

ValidationSet = Callable[[int], PictureSet]
"""The validation pictures with shorter sides of so many pixels; the same ones in the same order at any."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A final model that can be used; `probabilities`: (N, C) float64, of the validation pictures."""

    final: Final
    probabilities: np.ndarray


@dataclass(frozen=True, eq=False)
class Library:
    """The candidates in the order given, and how many final models cannot be used, by the reason."""

    candidates: tuple[Candidate, ...]
    left_out: Counter[str]

    @property
    def count(self) -> int:
        """Final models, with those that cannot be used."""
        return len(self.candidates) + self.left_out.total()

    @property
    def lines(self) -> list[str]:
        """How many of how many can be used, and a line for each reason why others cannot."""
        told = [f"  {count} cannot: {reason}" for reason, count in self.left_out.items()]
        return [f"{len(self.candidates)} of {self.count} final models can be used", *told]


@dataclass(frozen=True)
class Source:
    """Where a study's final models lie, what they were trained on, and which of them have recorded test answers."""

    root: Path
    classes: tuple[str, ...]
    fingerprint: str
    tested: Collection[str]


def open_library(finals: Sequence[Final], source: Source, validation: ValidationSet) -> Library:
    """Asks every final model that can be had what it makes of the validation pictures."""
    candidates, left_out = [], Counter[str]()
    for final in finals:
        try:
            candidates.append(Candidate(final, _probabilities(final, source, validation)))
        except RaytlError as error:
            left_out["; ".join(error.problems)] += 1
    return Library(tuple(candidates), left_out)


def open_final(final: Final, root: Path, classes: tuple[str, ...]) -> LoadedModel:
    """A final model with its weights: as it was published in the study folder `root`, or from its checkpoint.

    Raises:
        StorageError: neither is there, or it cannot be read.
    """
    if is_published(final, root):
        loaded = load_model(root / str(final.row.model_path))
        if loaded.recipe == final.recipe and loaded.classes == classes:
            return loaded
    if not final.checkpoint.is_dir():
        raise StorageError(GONE)
    model = rebuild(final, len(classes))
    return LoadedModel(model, final.recipe, classes, model.input, final.recipe.eval_resize)


def is_published(final: Final, root: Path) -> bool:
    """Whether `models/` of the study folder `root` holds this very run."""
    return bool(final.row.model_path) and (root / str(final.row.model_path)).is_dir()


def _probabilities(final: Final, source: Source, validation: ValidationSet) -> np.ndarray:
    row = final.row
    if recipe_hash(final.recipe, source.fingerprint) != row.recipe_hash:
        raise StorageError("it was trained on other pictures, or another split, than there are now")
    if row.trial_id not in source.tested:
        raise StorageError("its test predictions are not recorded")
    loaded, pictures = open_final(final, source.root, source.classes), validation(final.recipe.eval_resize)
    probabilities = probabilities_over(loaded, pictures).numpy()
    accuracy = figures_of(probabilities, pictures.labels.numpy()).val_accuracy
    if not abs(accuracy - row.val_accuracy) <= MOST_DRIFT + 1 / len(pictures):
        raise StorageError(
            f"its validation accuracy is {accuracy:.3f} now and was {row.val_accuracy:.3f}: these are not the weights "
            "that were tested"
        )
    return probabilities
