"""A frozen backbone under many heads, and the pictures that these learn from and are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from raytl.data.store import FitData
from raytl.models.chance import seed_torch
from raytl.models.classifier import Classifier, build_classifier
from raytl.recipe import Recipe
from raytl.train.cache import PrefixCache
from raytl.train.device import Precision, memory_format, resolve_precision
from raytl.train.evaluate import BATCH
from raytl.train.fronts import Fronts, make_view, open_fronts
from raytl.train.head_learner import features_of
from raytl.train.inputs import FixedView, Inputs
from raytl.train.world import World


@dataclass(frozen=True, eq=False)
class Split:
    """What heads learn from and what they are measured on: inputs of pictures with labels (N,) int64.

    `train_rows` (G, n) and `held_rows` (G, m) are the rows that each of G folds takes of them, equally many in each.
    """

    train: Inputs
    train_labels: Tensor
    held: Inputs
    held_labels: Tensor
    train_rows: np.ndarray
    held_rows: np.ndarray

    def class_counts(self, class_count: int) -> list[list[int]]:
        """Training pictures of each class, fold by fold."""
        labels = self.train_labels.numpy()
        return [np.bincount(labels[rows], minlength=class_count).tolist() for rows in self.train_rows]


@dataclass(frozen=True, eq=False)
class Frozen:
    """A frozen backbone with a head's shape, what it sees, and where."""

    model: Classifier
    recipe: Recipe
    precision: Precision
    world: World
    class_count: int
    fronts: Fronts

    def features(self, inputs: Inputs, rows: np.ndarray, epoch: int) -> Tensor:
        """Pooled features (B, F) of the pictures at `rows`, of which the backbone is shown a few at a time.

        Inputs behind the whole backbone are parted, too: what the store has no room for is computed when it is read.
        """
        parts, device = np.split(rows, range(BATCH, len(rows), BATCH)), self.world.device
        return torch.cat([features_of(self.model, inputs, part, epoch, self.precision, device) for part in parts])

    def split(self, data: FitData) -> Split:
        """The study's own: all training pictures, and all for validation."""
        held = self.fronts.val or FixedView(data.val, make_view(self.recipe, self.model.input, augmented=False))
        rows, held_rows = np.arange(len(data.train)), np.arange(len(data.val))
        return Split(self.fronts.train, data.train.labels, held, data.val.labels, rows[None], held_rows[None])


def freeze(recipes: Sequence[Recipe], data: FitData, world: World, cache: PrefixCache | None) -> Frozen:
    """The backbone that recipes of one bucket share, over inputs for the longest of them."""
    longest = max(recipes, key=lambda recipe: recipe.epochs)
    model = frozen_model(longest, data, world)
    precision = resolve_precision(longest.precision, world.device)
    shared = cache and replace(cache, sharers=cache.sharers * len(recipes))
    fronts = open_fronts(model, longest, data, world, precision, shared)
    return Frozen(model, longest, precision, world, len(data.classes), fronts)


def frozen_model(recipe: Recipe, data: FitData, world: World) -> Classifier:
    """The backbone of a head-only recipe on its device, with the head that it begins with."""
    seed_torch(recipe.seed)
    model = build_classifier(recipe, len(data.classes))
    model.to(world.device).to(memory_format=memory_format(model)).eval()
    return model
