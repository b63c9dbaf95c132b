"""Cross-validation of heads inside the training set, for data whose validation set is too small to rank them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import RepeatedStratifiedKFold
from torch import Tensor

from raytl.data.store import FitData
from raytl.metric import Figures, Metric
from raytl.recipe import Recipe
from raytl.results.schemas import EpochRow
from raytl.train.cache import PrefixCache
from raytl.train.fronts import make_view, open_view
from raytl.train.inputs import FixedView, Inputs
from raytl.train.probing import Frozen, HeadRuns, Split, bucketed, freeze
from raytl.train.world import World

FOLDS = 5  # chosen: each head learns from four fifths of the pictures
REPEATS = 3  # chosen: which pictures happen to be held out together matters less


@dataclass(frozen=True, eq=False)
class Picked:
    """Some pictures of other inputs: row i is their row `rows[i]`."""

    inputs: Inputs
    rows: np.ndarray

    @property
    def depth(self) -> int:
        """Stages that lie behind a batch."""
        return self.inputs.depth

    def batch(self, rows: np.ndarray, epoch: int) -> Tensor:
        """The picked pictures at `rows` (B,)."""
        return self.inputs.batch(self.rows[rows], epoch)

    def expect(self, rows: np.ndarray, epoch: int) -> None:
        """Has the picked pictures made ready."""
        self.inputs.expect(self.rows[rows], epoch)

    def forget(self) -> None:
        """Drops what was not asked for."""
        self.inputs.forget()


def cross_validate(
    recipes: Mapping[str, Recipe], data: FitData, world: World, metric: Metric, cache: PrefixCache | None
) -> dict[str, Figures]:
    """Figures of head-only recipes, by name, on training pictures that they were not trained on: means over folds.

    Each fold counts at a head's best epoch, as in a run. Heads that diverge in a fold are left out.
    """
    folds = _folds(data)
    best: defaultdict[str, list[EpochRow]] = defaultdict(list)
    for group in bucketed(recipes):
        frozen = freeze(list(group.values()), data, world, cache)
        evaluated = _evaluated(frozen, data, cache)
        for train, held in folds:
            labels = data.train.labels
            split = Split(Picked(frozen.fronts.train, train), labels[train], Picked(evaluated, held), labels[held])
            for name, row in _best_rows(HeadRuns(group, frozen, split, metric)).items():
                best[name].append(row)
    return {name: _mean(rows) for name, rows in best.items() if len(rows) == len(folds)}


def _folds(data: FitData) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to train on and rows held out; fewer folds where a class has fewer pictures."""
    labels = data.train.labels.numpy()
    count = min(FOLDS, int(np.bincount(labels, minlength=len(data.classes)).min()))
    if count < 2:  # a class of one picture cannot be both learned and measured
        return []
    return list(RepeatedStratifiedKFold(n_splits=count, n_repeats=REPEATS, random_state=0).split(labels, labels))


def _evaluated(frozen: Frozen, data: FitData, cache: PrefixCache | None) -> Inputs:
    """The training pictures as they are evaluated."""
    stored = open_view(frozen.model, frozen.recipe, data.train, frozen.precision, cache)
    return stored or FixedView(data.train, make_view(frozen.recipe, frozen.model.input, augmented=False))


def _best_rows(runs: HeadRuns) -> dict[str, EpochRow]:
    """The best epoch of each head that did not diverge."""
    best: dict[str, EpochRow] = {}
    for events in runs.epochs():
        for event in events:
            if event.row is None:
                best.pop(event.trial_id, None)
            elif event.row.is_best:
                best[event.trial_id] = event.row
    return best


def _mean(rows: list[EpochRow]) -> Figures:
    columns = ("val_accuracy", "val_macro_f1", "val_loss")
    return Figures(*(float(np.mean([getattr(row, name) for row in rows])) for name in columns))
