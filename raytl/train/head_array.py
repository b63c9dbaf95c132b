"""Many heads trained together on the same pooled features: one product in place of a loop over heads.

Searching over heads costs little for each head and much in sum, because a step of a small layer is mostly the price of
starting its operations. Heads that see the same batches can share them. A head alone is an array of one, and takes the
same steps alone and among others but for rounding. In cross-validation each recipe has a head for each fold, and each
fold its own batches, of one size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor, nn

from raytl.errors import ConfigError, StorageError
from raytl.models.classifier import output_count
from raytl.models.heads import make_head
from raytl.recipe import FIELD_NAMES, Recipe
from raytl.train.head_counts import ArrayCounts
from raytl.train.head_ema import HeadAverages
from raytl.train.head_layers import Dropout, by_head, stacked_logits
from raytl.train.head_optim import HeadOptimizer
from raytl.train.losses import make_loss, soft_labels, stack_losses
from raytl.train.world import World

FREE = (
    *("lr", "head_lr_scale", "weight_decay", "momentum", "clip_norm", "ema_decay", "dropout"),
    *("label_smoothing", "focal_gamma", "class_weights", "schedule", "warmup_epochs", "epochs", "early_stop"),
)
"""Fields in which the heads of an array may differ; of dropout, whether there is any is common."""
IDLE = ("layer_decay", "unfreeze_lr_scale")
"""Fields that mean nothing where the head alone is trained."""
SHARED = tuple(name for name in FIELD_NAMES if name not in FREE + IDLE)
CLIP_EPSILON = 1e-6  # torch's, in clip_grad_norm_

Bucket = tuple[tuple[str, object], ...]


def bucket_of(recipe: Recipe) -> Bucket:
    """What recipes must have in common to share an array: names and values."""
    return *((name, getattr(recipe, name)) for name in SHARED), ("dropout > 0", recipe.dropout > 0)


@dataclass(frozen=True, eq=False)
class StepResult:
    """One step of T heads. `totals` and `weights` (T,) and `logits` (T, B, K) are of this worker's share.

    `finite` (T,) bool: whether a head's loss over all workers is a number; a head for which it is not is lost, and
    `HeadArray.keep` removes it.
    """

    totals: Tensor
    weights: Tensor
    logits: Tensor
    finite: Tensor

    def counts(self, labels: Tensor, class_count: int) -> ArrayCounts:
        """What was counted in this step; labels: (B,) of the same share, or (T, B) by head."""
        return ArrayCounts.of(self.logits, labels, class_count, self.totals, self.weights)


class HeadArray:
    """T heads over features (B, F), with optimizer and moving averages; all parameters are 0 until they are loaded.

    Neighbors with the same dropout are computed together, so sort recipes by it where the order is free.
    fold_counts: training pictures of each class, for each of G folds (one where nothing is cross-validated). There is a
    head for each recipe and fold: those of all recipes in the first fold, then those in the second.

    Raises:
        ConfigError: where recipes have no common bucket, naming the fields.
        DataError: where classes are to be weighted and one has no training picture.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        feature_count: int,
        fold_counts: Sequence[Sequence[int]],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        _check_bucket(recipes)
        self.recipes, self._fold_counts = tuple(recipes), tuple(fold_counts)
        self._parameters = _zeros(recipes[0], len(self), feature_count, self.class_count, device, dtype)
        self._start()

    def __len__(self) -> int:
        """Heads T in all folds."""
        return len(self.recipes) * len(self._fold_counts)

    @property
    def class_count(self) -> int:
        """Classes C; there is one logit for each, or one for two."""
        return len(self._fold_counts[0])

    def load_heads(self, heads: Sequence[nn.Sequential]) -> None:
        """Takes copies of first values, one head of `make_head` for each recipe and for all of its folds alike.

        Nothing has been learned yet.

        Raises:
            ValueError: where heads are not of the array's shapes.
        """
        states = [head.state_dict() for head in heads]
        expected = {name: tuple(value.shape[1:]) for name, value in self._parameters.items()}
        if len(states) != len(self.recipes) or any(_shapes(state) != expected for state in states):
            raise ValueError(
                f"{len(states)} heads of shapes {[_shapes(state) for state in states]} for an array of "
                f"{len(self.recipes)} with {expected}; make one head for each recipe by make_head"
            )
        folds = len(self._fold_counts)
        self._parameters = {
            name: _leaf(torch.stack([state[name] for state in states] * folds).to(value))
            for name, value in self._parameters.items()
        }
        self._start()

    def head_state(self, index: int) -> dict[str, Tensor]:
        """Copies of one head's present parameters, for its `load_state_dict`."""
        return {name: value[index].detach().clone() for name, value in self._parameters.items()}

    def averaged_state(self, index: int) -> dict[str, Tensor]:
        """Copies of what an evaluation uses: moving averages where `ema_decay` is not 0, else present parameters."""
        return {name: value[index].detach().clone() for name, value in self._evaluated.items()}

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """(B, F) or (G, B, F) -> (T, B, K) without dropout, by averaged parameters where `ema_decay` is not 0."""
        return stacked_logits(self._evaluated, _by_fold(features.to(self._like)), None)

    def step(
        self,
        features: Tensor,
        labels: Tensor,
        factors: Sequence[float],
        noise: torch.Generator | None,
        world: World | None,
    ) -> StepResult:
        """One step of every head on a batch, or on this worker's share of it, which may be empty.

        features: (B, F), of several folds (G, B, F); labels: (B,) int64, by head (T, B); factors: each head's share
        of `lr * head_lr_scale` in this step, as schedules give it; noise: what dropout draws from, on the features'
        device (None: torch's own generator).
        """
        world = world or World(device=features.device)
        if len(factors) != len(self):  # one factor would be broadcast over all heads in silence
            raise ValueError(f"{len(factors)} factors for {len(self)} heads: give one for each")
        rates = self._rates * torch.tensor(factors, dtype=torch.float64)
        dropout = Dropout(self._dropouts, noise) if any(self._dropouts) else None
        logits = stacked_logits(self._parameters, _by_fold(features.to(self._like)), dropout)
        sums = self._loss.sums(logits, soft_labels(labels, self.class_count))
        total, weight = world.sum(torch.stack(sums.detach())).unbind()
        objective = (sums.total / weight).sum()
        gradients = _summed(torch.autograd.grad(objective, list(self._parameters.values())), world)
        _clip(gradients, [recipe.clip_norm for recipe in self._each])
        self._optimizer.step(dict(zip(self._parameters, gradients, strict=True)), rates)
        self._averages.update(self._parameters, self._optimizer.steps)
        return StepResult(*sums.detach(), logits.detach(), (total / weight).isfinite())

    def keep(self, places: Sequence[int]) -> None:
        """Goes on with the recipes at `places` alone, in that order and in all folds."""
        heads = [first + place for first in range(0, len(self), len(self.recipes)) for place in places]
        self.recipes = tuple(self.recipes[place] for place in places)
        self._parameters = {name: _leaf(value[heads]) for name, value in self._parameters.items()}
        self._averages.keep(heads)
        self._optimizer.keep(heads, self._each, self._parameters)
        self._read_recipes()

    def tensors(self, index: int) -> dict[str, Tensor]:
        """Copies of all that one head needs to go on, for a checkpoint: parameters, moments, average, steps taken."""
        moments = {f"optimizer/{name}": value for name, value in self._optimizer.tensors(index).items()}
        averages = self.averaged_state(index) if self._each[index].ema_decay else {}
        return {
            **{f"head/{name}": value for name, value in self.head_state(index).items()},
            **moments,
            **{f"ema/{name}": value for name, value in averages.items()},
            "steps": self._optimizer.steps[index].long(),
        }

    @torch.no_grad()
    def load(self, index: int, tensors: Mapping[str, Tensor]) -> None:
        """Puts back what `tensors()` gave for a head of the same recipe, in an array of any size.

        Raises:
            StorageError: where it is of another head, optimizer or idea of averaging.
        """
        _check_state(tensors, self.tensors(index))
        for name, value in self._parameters.items():
            value[index] = tensors[f"head/{name}"]
        for name, value in self._averages.values.items():
            value[index] = tensors.get(f"ema/{name}", tensors[f"head/{name}"])
        self._optimizer.load(index, _under("optimizer/", tensors), int(tensors["steps"]))

    @property
    def _like(self) -> Tensor:
        """A tensor of the array's type and device."""
        return next(iter(self._parameters.values()))

    @property
    def _each(self) -> tuple[Recipe, ...]:
        """The recipe of every head."""
        return self.recipes * len(self._fold_counts)

    @property
    def _evaluated(self) -> dict[str, Tensor]:
        return self._averages.values or self._parameters

    def _start(self) -> None:
        """Nothing learned: moments of 0, averages at the present values."""
        self._optimizer = HeadOptimizer(self._each, self._parameters)
        self._averages = HeadAverages([recipe.ema_decay for recipe in self._each], self._parameters)
        self._read_recipes()

    def _read_recipes(self) -> None:
        """Takes from the recipes what is the same in every step."""
        rates = [recipe.lr * recipe.head_lr_scale for recipe in self._each]
        self._rates = torch.tensor(rates, dtype=torch.float64)
        self._dropouts = [recipe.dropout for recipe in self._each]
        losses = [make_loss(recipe, counts) for counts in self._fold_counts for recipe in self.recipes]
        if losses:  # when all heads have been dropped, no further step is taken
            self._loss = stack_losses(losses, self._like.detach())


def _check_bucket(recipes: Sequence[Recipe]) -> None:
    if not recipes:
        raise ConfigError("0 recipes for an array of heads: it needs at least one")
    found = [dict.fromkeys(values) for values in zip(*map(bucket_of, recipes), strict=True)]
    problems = [
        f"{next(iter(values))[0]}={', '.join(repr(value) for _, value in values)}: heads trained together must have "
        "this in common; make an array for each"
        for values in found
        if len(values) > 1
    ]
    if problems:
        raise ConfigError(*problems)


def _zeros(
    recipe: Recipe, count: int, feature_count: int, class_count: int, device: torch.device, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Parameters of so many heads by the names and in the order of `make_head`."""
    with torch.device("meta"):
        head = make_head(recipe.parsed_head, feature_count, output_count(recipe, class_count), 0.0)
    return {
        name: _leaf(torch.zeros(count, *value.shape, device=device, dtype=dtype))
        for name, value in head.named_parameters()
    }


def _by_fold(features: Tensor) -> Tensor:
    """Features (G, B, F); of no folds they are one."""
    return features if features.ndim > 2 else features.unsqueeze(0)


def _leaf(value: Tensor) -> Tensor:
    return value.detach().requires_grad_()


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _summed(gradients: Sequence[Tensor], world: World) -> Sequence[Tensor]:
    """The sums over all workers, in one reduction."""
    if world.size == 1:
        return gradients
    joined = world.sum(torch.cat([gradient.flatten() for gradient in gradients]))
    parts = joined.split([gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]


def _clip(gradients: Sequence[Tensor], limits: Sequence[float | None]) -> None:
    """Scales each head's gradients down to its limit, as torch's `clip_grad_norm_` does for one model."""
    if all(limit is None for limit in limits):
        return
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    bounds = norms.new_tensor([inf if limit is None else limit for limit in limits])
    shares = (bounds / (torch.linalg.vector_norm(norms, dim=0) + CLIP_EPSILON)).clamp(max=1.0)
    shares = shares.where(bounds.isfinite(), 1.0)  # a norm beyond float32 concerns those alone that are clipped
    for gradient in gradients:
        gradient.mul_(by_head(shares, gradient))


def _check_state(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    given, needed = _shapes(found), _shapes(expected)
    wrong = [name for name in {**needed, **given} if given.get(name) != needed.get(name)]
    if wrong:
        raise StorageError(
            f"the state of a head does not fit: {', '.join(f'{name} {given.get(name)}' for name in wrong[:3])}, needed "
            f"{', '.join(f'{needed.get(name)}' for name in wrong[:3])} ({len(wrong)} in all); use the trial's own "
            "checkpoint"
        )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
