"""The epochs of many heads over one frozen backbone: on the study's split, or on all folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from raytl.metric import Metric
from raytl.models.classifier import fresh_head, output_count
from raytl.models.heads import feature_count
from raytl.recipe import Recipe
from raytl.train.course import Course
from raytl.train.evaluate import BATCH
from raytl.train.frozen import Frozen, Split
from raytl.train.head_array import HeadArray
from raytl.train.head_counts import ArrayCounts
from raytl.train.head_layers import each_head
from raytl.train.head_learner import noise_of
from raytl.train.inputs import Inputs, ahead
from raytl.train.losses import evaluation_sums
from raytl.train.sampling import epoch_order, step_count


class HeadEpochs:
    """Recipes of one bucket, with a head for each fold of the split: those of the first fold, then of the second.

    `courses` say of each head how far it has come.
    """

    def __init__(self, recipes: Sequence[Recipe], frozen: Frozen, split: Split, metric: Metric) -> None:
        self._frozen, self._split, self._first = frozen, split, frozen.recipe
        self._device = frozen.world.device
        features, outputs = feature_count(frozen.model.head), output_count(frozen.recipe, frozen.class_count)
        counts = split.class_counts(frozen.class_count)
        self._array = HeadArray(recipes, features, counts, self._device)
        self._array.load_heads([fresh_head(recipe, features, outputs) for recipe in recipes])
        self.steps = step_count(split.train_rows.shape[1], self._first.batch_size)
        self.courses = [Course(recipe, self.steps, metric) for _ in counts for recipe in recipes]

    @property
    def recipe_count(self) -> int:
        """Recipes that go on."""
        return len(self._array.recipes)

    def heads_of(self, place: int) -> range:
        """The heads of one recipe, fold by fold."""
        return range(place, len(self.courses), self.recipe_count)

    def train(self, epoch: int) -> tuple[ArrayCounts, set[int]]:
        """Sums over the epoch, and the heads whose loss stopped being a number."""
        noise = noise_of(self._first, epoch, self._frozen.world)
        total = ArrayCounts.zeros(len(self._array), self._array.class_count, self._device)
        finite = torch.ones(len(self._array), dtype=torch.bool, device=self._device)
        with ahead(self._split.train, self._batches(self._orders(epoch), self._first.batch_size), epoch) as coming:
            for step, rows in enumerate(coming):
                factors = [course.schedule.factor(epoch, step) for course in self.courses]
                features, labels = self._shown(self._split.train, self._split.train_labels, rows, epoch)
                taken = self._array.step(features, labels, factors, noise, self._frozen.world)
                finite &= taken.finite
                total = total + taken.counts(labels, self._array.class_count)
        return total, set((~finite).nonzero().flatten().tolist())

    def validate(self) -> ArrayCounts:
        """Sums over what is held out."""
        total = ArrayCounts.zeros(len(self._array), self._array.class_count, self._device)
        with ahead(self._split.held, self._batches(self._split.held_rows, BATCH), 1) as coming:
            for rows in coming:
                features, labels = self._shown(self._split.held, self._split.held_labels, rows, 1)
                logits = self._array.logits(features)
                sums = evaluation_sums(logits, labels, self._first.loss)
                total = total + ArrayCounts.of(logits, labels, self._array.class_count, *sums)
        return total

    def keep(self, places: Sequence[int]) -> None:
        """Goes on with the recipes at `places` alone."""
        starts = range(0, len(self.courses), self.recipe_count)
        self.courses = [self.courses[start + place] for start in starts for place in places]
        self._array.keep(places)

    def _orders(self, epoch: int) -> np.ndarray:
        """The rows of an epoch as each fold sees them (G, n)."""
        labels, first = self._split.train_labels.numpy(), self._first
        rows = self._split.train_rows
        return np.stack([each[epoch_order(labels[each], first.sampler, first.seed, epoch)] for each in rows])

    def _batches(self, orders: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Batches of all folds, those of one fold after those of the other."""
        for start in range(0, orders.shape[1], size):
            yield orders[:, start : start + size].ravel()

    def _shown(
        self, inputs: Inputs, labels: torch.Tensor, rows: np.ndarray, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (G, B, F) of a batch of all folds, and labels: (B,) where there is one fold, else by head (T, B)."""
        folds = len(self._split.train_rows)
        features = self._frozen.features(inputs, rows, epoch).unflatten(0, (folds, -1))
        shown = labels[torch.from_numpy(rows)].to(self._device)
        return features, shown if folds == 1 else each_head(shown.view(folds, -1), len(self._array))
