"""Cross-validation of heads inside the training set, for data whose validation set is too small to rank them."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from sklearn.model_selection import RepeatedStratifiedKFold

from raytl.data.store import FitData
from raytl.metric import Figures, Metric
from raytl.recipe import Recipe
from raytl.train.cache import PrefixCache
from raytl.train.fronts import make_view, open_view
from raytl.train.frozen import Frozen, Split, freeze
from raytl.train.head_epochs import HeadEpochs
from raytl.train.inputs import FixedView, Inputs
from raytl.train.probing import bucketed
from raytl.train.world import World

FOLDS = 5  # chosen: each head learns from four fifths of the pictures
REPEATS = 3  # chosen: which pictures happen to be held out together matters less

# Measured on one core, a step of 15 folds side by side against one after the other: of 12 heads of 2,560 numbers (0.5
# million in all) 0.5 of the time, of 64 of 12,800 (12 million, more than a cache holds) 2.1 times.
NUMBERS = 1_500_000

Fold = tuple[np.ndarray, np.ndarray]


def cross_validate(
    recipes: Mapping[str, Recipe], data: FitData, world: World, metric: Metric, cache: PrefixCache | None
) -> dict[str, Figures]:
    """Figures of head-only recipes, by name, on training pictures that they were not trained on: means over folds.

    Each fold counts at a head's best epoch, as in a run. Heads that diverge in a fold are left out.
    """
    found: dict[str, Figures] = {}
    folds = _folds(data)
    for group in bucketed(recipes) if folds else ():
        frozen = freeze(list(group.values()), data, world, cache)
        evaluated, labels = _evaluated(frozen, data, cache), data.train.labels
        best: defaultdict[str, list[Figures]] = defaultdict(list)
        for train, held in _side_by_side(folds, len(group) * _numbers(frozen)):
            split = Split(frozen.fronts.train, labels, evaluated, labels, train, held)
            for place, figures in _best_figures(HeadEpochs(list(group.values()), frozen, split, metric)):
                best[list(group)[place]].append(figures)
        found |= {name: _mean(each) for name, each in best.items() if len(each) == len(folds)}
    return found


def _folds(data: FitData) -> list[Fold]:
    """Rows to train on and rows held out; fewer folds where a class has fewer pictures."""
    labels = data.train.labels.numpy()
    count = min(FOLDS, int(np.bincount(labels, minlength=len(data.classes)).min()))
    if count < 2:  # a class of one picture cannot be both learned and measured
        return []
    return list(RepeatedStratifiedKFold(n_splits=count, n_repeats=REPEATS, random_state=0).split(labels, labels))


def _side_by_side(folds: Sequence[Fold], numbers: int) -> Iterator[Fold]:
    """Folds of one size joined, rows (G, n) and (G, m), as far as `numbers` in the heads of each allow it."""
    sizes: defaultdict[int, list[Fold]] = defaultdict(list)
    for fold in folds:
        sizes[len(fold[0])].append(fold)
    count = max(1, NUMBERS // numbers)
    for alike in sizes.values():
        for start in range(0, len(alike), count):
            train, held = zip(*alike[start : start + count], strict=True)
            yield np.stack(train), np.stack(held)


def _numbers(frozen: Frozen) -> int:
    return sum(value.numel() for value in frozen.model.head.parameters())


def _evaluated(frozen: Frozen, data: FitData, cache: PrefixCache | None) -> Inputs:
    """The training pictures as they are evaluated."""
    stored = open_view(frozen.model, frozen.recipe, data.train, frozen.precision, cache)
    return stored or FixedView(data.train, make_view(frozen.recipe, frozen.model.input, augmented=False))


def _best_figures(heads: HeadEpochs) -> Iterator[tuple[int, Figures]]:
    """Place of the recipe and figures at the best epoch, of each head of recipes that come to their end in all folds.

    A head that is done in its fold goes on with the others of its recipe, and nobody looks.
    """
    places = list(range(heads.recipe_count))
    for epoch in itertools.count(1):
        over = {head for head, course in enumerate(heads.courses) if course.finished}
        lost = (heads.train(epoch)[1] | _note(heads, epoch)) - over
        kept = []
        for column, place in enumerate(places):
            own = [heads.courses[head] for head in heads.heads_of(column)]
            if not lost.isdisjoint(heads.heads_of(column)):
                continue
            if not all(course.finished for course in own):
                kept.append(column)
            else:
                yield from ((place, course.best.figures) for course in own if course.best.figures)
        if not kept:
            return
        heads.keep(kept)
        places = [places[column] for column in kept]


def _note(heads: HeadEpochs, epoch: int) -> set[int]:
    """Takes note of an epoch's figures; the heads whose loss is not a number any more."""
    lost = set()
    for head, figures in enumerate(heads.validate().figures()):
        if not math.isfinite(figures.val_loss):
            lost.add(head)
        elif not heads.courses[head].finished:
            heads.courses[head].note(epoch, figures, dict)
    return lost


def _mean(figures: list[Figures]) -> Figures:
    columns = ("val_accuracy", "val_macro_f1", "val_loss")
    return Figures(*(float(np.mean([getattr(each, name) for each in figures])) for name in columns))
