"""A head alone, trained as an array of one: the same steps as when many heads are trained together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from raytl.data.store import FitData
from raytl.models.classifier import Classifier
from raytl.models.heads import feature_count
from raytl.recipe import Recipe
from raytl.train.device import Precision
from raytl.train.guards import check_finite
from raytl.train.head_array import HeadArray
from raytl.train.head_counts import ArrayCounts
from raytl.train.inputs import Inputs, ahead
from raytl.train.metrics import Counts
from raytl.train.schedule import Schedule
from raytl.train.world import World

NOISE_STREAM = 2  # chosen: keeps dropout's draws apart from others made of the same seed and epoch


def trains_head_alone(recipe: Recipe, model: Classifier) -> bool:
    """Whether all that this phase of a run trains is a head over pooled features of whole pictures."""
    frozen = model.freeze_depth == len(model.stages) and recipe.attention == "none"
    return frozen and not (recipe.mixup or recipe.cutmix) and not model.auxiliary


class HeadLearner:
    """Learner of a head over frozen features; same arguments as `Learner`."""

    def __init__(
        self,
        recipe: Recipe,
        model: Classifier,
        data: FitData,
        world: World,
        precision: Precision,
        inputs: Inputs,
        lr_scale: float = 1.0,
    ) -> None:
        assert lr_scale == 1.0, "after unfreezing there is more to train than a head"
        self.recipe, self.model, self.labels, self.world = recipe, model, data.train.labels, world
        self.precision, self.inputs = precision, inputs
        counts = torch.bincount(data.train.labels, minlength=len(data.classes))
        first = next(model.head.parameters())
        self.array = HeadArray([recipe], feature_count(model.head), [counts.tolist()], world.device, first.dtype)
        self.array.load_heads([model.head])
        self.lr = recipe.lr

    def train_epoch(self, epoch: int, shares: Iterable[np.ndarray], schedule: Schedule) -> Counts:
        """Takes one step per share and returns the sums over all workers."""
        self.model.eval()
        noise = noise_of(self.recipe, epoch, self.world)
        total = ArrayCounts.zeros(1, self.array.class_count, self.world.device)
        with ahead(self.inputs, shares, epoch) as coming:
            for step, share in enumerate(coming):
                factor = schedule.factor(epoch, step)
                self.lr = self.recipe.lr * factor
                labels = self.labels[torch.from_numpy(share)].to(self.world.device)
                taken = self.array.step(self._features(share, epoch), labels, [factor], noise, self.world)
                if not bool(taken.finite.all()):
                    own = float(taken.totals[0] / taken.weights[0])
                    check_finite(own, epoch, step)
                    check_finite(float("nan"), epoch, step)  # it was finite here, and not on another worker
                total = total + taken.counts(labels, self.array.class_count)
        packed = self.world.sum(total.one(0).pack())
        self._show(self.array.head_state(0))
        return Counts.unpack(packed.cpu(), self.array.class_count)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the model's head holds its average, if the recipe keeps one."""
        self._show(self.array.averaged_state(0))
        try:
            yield
        finally:
            self._show(self.array.head_state(0))

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs: the head, its moments and its average, by name."""
        return self.array.tensors(0)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `tensors()` gave, into a learner of the same recipe."""
        self.array.load(0, tensors)
        self._show(self.array.head_state(0))

    def _features(self, share: np.ndarray, epoch: int) -> Tensor:
        if len(share) == 0:  # the last batch was too small for all workers; this one still takes part in the step
            return torch.zeros(0, feature_count(self.model.head), device=self.world.device)
        return features_of(self.model, self.inputs, share, epoch, self.precision, self.world.device)

    def _show(self, state: Mapping[str, Tensor]) -> None:
        self.model.head.load_state_dict(state)


def features_of(
    model: Classifier, inputs: Inputs, rows: np.ndarray, epoch: int, precision: Precision, device: torch.device
) -> Tensor:
    """Pooled features (B, F) of the pictures at `rows`, whatever part of the way they have come already."""
    batch = inputs.batch(rows, epoch).to(device, non_blocking=True)
    depth = len(model.stages)
    if inputs.depth == depth:
        return batch
    with torch.no_grad(), precision.autocast():
        return model.prefix(batch, depth)


def noise_of(recipe: Recipe, epoch: int, world: World) -> torch.Generator:
    """What dropout draws from in one epoch: heads of the same seed see the same noise, alone or among others."""
    state = np.random.SeedSequence((NOISE_STREAM, recipe.seed, epoch, world.rank)).generate_state(1)[0]
    return torch.Generator(world.device).manual_seed(int(state))
