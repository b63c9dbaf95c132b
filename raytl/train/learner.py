"""One model being trained: a batch goes in, a step is taken. `HeadLearner` does the same for a head alone.

Under several workers a batch is a worker's share of a global batch. Losses are sums over the share divided by
the global sum of weights, so that the step is that of one worker with the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from raytl.data.store import FitData
from raytl.models.classifier import Classifier
from raytl.models.stages import parameter_groups
from raytl.recipe import Recipe
from raytl.train.device import Precision
from raytl.train.distillation import TaughtLoss, Teaching
from raytl.train.ema import Ema
from raytl.train.guards import check_finite, check_gradients, check_groups
from raytl.train.inputs import Inputs, ahead
from raytl.train.losses import LossSums, make_loss, soft_labels
from raytl.train.metrics import Counts
from raytl.train.mixing import mix
from raytl.train.optim import make_optimizer, set_rates
from raytl.train.schedule import Schedule
from raytl.train.world import World

LEAST = 2  # batch-norm cannot train on one value per channel: shorter shares are filled up with copies of no weight


class Learning(Protocol):
    """What a run needs of whoever takes its steps; `lr` is the rate of the last one."""

    lr: float

    def train_epoch(self, epoch: int, shares: Iterable[np.ndarray], schedule: Schedule) -> Counts:
        """Takes one step per share of rows and returns the sums over all workers."""

    def averaged(self) -> AbstractContextManager[None]:
        """Within the block the model holds what is to be evaluated: its averaged weights, where they are averaged."""

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs, by name."""

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `tensors()` gave, into a learner of the same recipe and phase."""


class _Suffix(nn.Module):
    """Gives every head's logits from `forward`, the only method that gradient averaging sees."""

    def __init__(self, model: Classifier, depth: int) -> None:
        super().__init__()
        self.model, self.depth = model, depth

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.model.suffix_with_auxiliary(x, self.depth)


class Learner:
    """Model, optimizer and average of one phase of a run (gradual unfreezing begins a second phase).

    Args:
        data: the pictures of all workers; each worker draws its share of the training set.
        inputs: the same training pictures as the model is to see them.
        lr_scale: factor on every rate (1, or the recipe's `unfreeze_lr_scale` after unfreezing).
        teaching: what a teacher makes of the training pictures, where there is one.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: Classifier,
        data: FitData,
        world: World,
        precision: Precision,
        inputs: Inputs,
        lr_scale: float = 1.0,
        teaching: Teaching | None = None,
    ) -> None:
        self.recipe, self.model, self.labels, self.world = recipe, model, data.train.labels, world
        self.precision, self.inputs = precision, inputs
        counts = torch.bincount(data.train.labels, minlength=len(data.classes))
        own = make_loss(recipe, counts.tolist(), world.device)
        self.loss = TaughtLoss(own, teaching.temperature, teaching.weight) if teaching else own
        self.teaching = teaching
        groups = parameter_groups(model)
        check_groups(model, groups)
        self.optimizer = make_optimizer(recipe, groups, lr_scale)
        self.ema = Ema(model, recipe.ema_decay)
        self.module = world.wrap(_Suffix(model, inputs.depth))
        self.lr = recipe.lr * lr_scale
        self.lr_scale = lr_scale
        self._gradients_checked = False

    def train_epoch(self, epoch: int, shares: Iterable[np.ndarray], schedule: Schedule) -> Counts:
        """Takes one step per share and returns the sums over all workers."""
        self.model.train()
        mixing = np.random.default_rng((self.recipe.seed, epoch, self.world.rank))
        total = Counts.zeros(self.loss.class_count)
        with ahead(self.inputs, shares, epoch) as coming:
            for step, share in enumerate(coming):
                self._set_rates(schedule.factor(epoch, step))
                total = total + self._step(epoch, step, share, mixing)
        return Counts.unpack(self.world.sum(total.pack().to(self.world.device)).cpu(), self.loss.class_count)

    def averaged(self) -> AbstractContextManager[None]:
        """Within the block the model holds its averages, if the recipe keeps any."""
        return self.ema.applied()

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs: model, optimizer and average, by name."""
        states = self.optimizer.state_dict()["state"]
        moments = {
            f"optimizer/{index}/{name}": torch.as_tensor(value)
            for index, state in states.items()
            for name, value in state.items()
        }
        model = {f"model/{name}": value for name, value in trained_state(self.model, self.recipe).items()}
        average = {f"ema/{name}": value for name, value in self.ema.state().items()}
        return {**model, **moments, **average}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `tensors()` gave, into a learner of the same recipe and phase."""
        self.model.load_state_dict(_under("model/", tensors), strict=False)
        states: dict[int, dict[str, Tensor]] = {}
        trained = self._trained()
        for key, value in _under("optimizer/", tensors).items():
            index, name = key.split("/")
            states.setdefault(int(index), {})[name] = _laid_out(value, trained[int(index)])
        self.optimizer.load_state_dict({"state": states, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.ema.load(_under("ema/", tensors))

    def _trained(self) -> list[nn.Parameter]:
        """All parameters that take steps, in the optimizer's order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _set_rates(self, factor: float) -> None:
        self.lr = self.recipe.lr * self.lr_scale * factor
        set_rates(self.optimizer, self.recipe.lr * factor)  # each group's own scale holds lr_scale already

    def _step(self, epoch: int, step: int, share: np.ndarray, mixing: np.random.Generator) -> Counts:
        pictures, labels, targets = self._batch(share, epoch)
        pictures, targets = mix(pictures, targets, self.recipe.mixup, self.recipe.cutmix, mixing)
        self.optimizer.zero_grad(set_to_none=True)
        parts = min(self.world.micro_batches, max(1, len(share) // LEAST))
        whole = self._backward if parts == 1 else self._backward_in_parts
        logits, main = whole(epoch, step, pictures, targets, len(share))
        self._mend_gradients()
        self.optimizer.step()
        self.ema.update()
        return Counts.of(logits, labels[: len(share)], self.loss.class_count, main)

    def _backward(self, epoch: int, step: int, x: Tensor, targets: Tensor, count: int) -> tuple[Tensor, LossSums]:
        """Gradients of the mean loss over all workers; logits (count, K) and sums of this one's share."""
        logits, main, objective = self._objective(x, targets, count)
        total, weight = self.world.sum(torch.stack([main.total, main.weight.to(main.total)])).tolist()
        check_finite(total / weight, epoch, step)
        (objective * (self.world.size / weight)).backward()  # gradients are averaged over workers: undo it
        return logits, main

    def _backward_in_parts(
        self, epoch: int, step: int, x: Tensor, targets: Tensor, count: int
    ) -> tuple[Tensor, LossSums]:
        """The same for one worker whose memory does not hold the batch: gradients of parts are added up."""
        seen: list[tuple[Tensor, LossSums]] = []
        for part in torch.arange(count).tensor_split(min(self.world.micro_batches, count // LEAST)):
            logits, main, objective = self._objective(x[part], targets[part], len(part))
            objective.backward()
            seen.append((logits, main))
        sums = LossSums(*(torch.stack(each).sum() for each in zip(*(main for _, main in seen), strict=True)))
        check_finite(float(sums.mean), epoch, step)
        for parameter in self._trained():
            if parameter.grad is not None:
                parameter.grad.div_(sums.weight)
        return torch.cat([logits for logits, _ in seen]), sums

    def _objective(self, x: Tensor, targets: Tensor, count: int) -> tuple[Tensor, LossSums, Tensor]:
        """Logits and sums of the first `count` pictures, without their graphs, and what gradients are taken of."""
        with self.precision.autocast():
            logits, auxiliary = self.module(x)
        main = self.loss.sums(logits[:count].float(), targets[:count])
        others = [self.loss.sums(each[:count].float(), targets[:count]).total for each in auxiliary]
        objective = main.total
        for each in others:
            objective = objective + self.recipe.aux_loss_weight * each
        return logits[:count].detach().float(), main.detach(), objective

    def _mend_gradients(self) -> None:
        """Checks them once, and clips them where the recipe says so."""
        if not self._gradients_checked:
            check_gradients(parameter_groups(self.model))
            self._gradients_checked = True
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._trained(), self.recipe.clip_norm)

    def _batch(self, share: np.ndarray, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures, labels, and the targets of these as the loss takes them."""
        rows = np.resize(share if len(share) else np.array([0]), max(len(share), LEAST))
        batch = self.inputs.batch(rows, epoch)
        device = self.world.device
        labels = self.labels[torch.from_numpy(rows)].to(device)
        targets = soft_labels(labels, self.loss.class_count)
        taught = self.teaching.beside(targets, rows) if self.teaching else targets
        return batch.to(device, non_blocking=True), labels, taught


def trained_state(model: Classifier, recipe: Recipe) -> dict[str, Tensor]:
    """The part of a model's state that its run may change, by name: all but the stages that stay frozen."""
    frozen = () if recipe.unfreeze_epoch else model.stages[: recipe.freeze_depth]
    inside = "backbone.net."
    return {
        name: value
        for name, value in model.state_dict().items()
        if not (name.startswith(inside) and any(stage.owns(name.removeprefix(inside)) for stage in frozen))
    }


def _laid_out(moment: Tensor, parameter: Tensor) -> Tensor:
    """`moment` in its parameter's memory layout: fused optimizers walk through both in storage order, unchecked."""
    if moment.shape != parameter.shape:
        return moment
    return torch.empty_like(parameter, dtype=moment.dtype, requires_grad=False).copy_(moment)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
