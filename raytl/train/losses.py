"""The losses a recipe can name, given as sums so that workers can add them before dividing.

A mean of means is wrong where workers hold batches of unequal size or weight. Every function here returns a
total and the weight to divide it by; the mean over all workers is the sum of totals over the sum of weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from raytl.errors import DataError
from raytl.recipe import Recipe

EFFECTIVE_BETA = 0.999  # cited: one of the three values Cui et al. (2019) compare; suits classes of tens to thousands


class LossSums(NamedTuple):
    """Scalar tensors, or (T,) for T heads: the weighted sum of sample losses, and the sum of sample weights."""

    total: Tensor
    weight: Tensor

    @property
    def mean(self) -> Tensor:
        """The mean loss of what was summed; not a number where nothing was."""
        return self.total / self.weight

    def detach(self) -> LossSums:
        """The same numbers without their graph."""
        return LossSums(self.total.detach(), self.weight.detach())


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss that one recipe trains on, over `class_count` classes.

    `name` is `cross_entropy`, `focal` (Lin et al. 2017) or `bce`. With `bce`, two classes may be one logit, that
    of class index 1; otherwise it is one logit per class, each class against the rest. A sample weighs the
    weight of its class; with soft labels, `targets @ class_weights`. Smoothing changes targets, not weights. For
    whole labels this is torch's weighted `cross_entropy`.

    For T heads that see the same pictures, what differs between them is a tensor with a place for each head:
    smoothing and gamma (T, 1, 1), class weights (T, 1, class_count) (`stack_losses`).
    """

    name: str
    class_count: int
    label_smoothing: float | Tensor = 0.0
    focal_gamma: float | Tensor = 0.0
    class_weights: Tensor | None = None

    def sums(self, logits: Tensor, targets: Tensor) -> LossSums:
        """Total and weight of a batch, which may be empty.

        logits: (B, K) float, or (T, B, K) for sums (T,); targets: (B, class_count), by head (T, B, class_count), soft
        labels that add up to 1 in each row.
        """
        total = self.each(logits, targets).sum(-1)
        weight = self.sample_weights(logits, targets).sum(-1)
        return LossSums(total, weight.expand_as(total))

    def each(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The weighted loss of every sample; logits: (..., K), targets: (..., class_count) -> (...)."""
        self._check(logits.shape[-1])
        wide = _wide(logits)
        targets, weights = targets.to(wide), self._weights(logits)
        smoothed = targets * (1 - self.label_smoothing) + self.label_smoothing / self.class_count
        if self.name == "bce" and wide.shape[-1] > 1:
            losses = F.binary_cross_entropy_with_logits(wide, smoothed.expand_as(wide), reduction="none")
            return losses.mean(-1) * self.sample_weights(logits, targets)
        log_probabilities_ = log_probabilities(wide, self.name)
        losses = -weights * smoothed * log_probabilities_
        if self.name == "focal":
            losses = losses * _focus(log_probabilities_, self.focal_gamma)
        return losses.sum(-1)

    def sample_weights(self, logits: Tensor, targets: Tensor) -> Tensor:
        """What every sample weighs, by its label; the arguments are those of `each`, and so is the shape."""
        return (targets.to(_wide(logits)) * self._weights(logits)).sum(-1)

    def _weights(self, logits: Tensor) -> Tensor:
        wide = _wide(logits)
        return wide.new_ones(self.class_count) if self.class_weights is None else self.class_weights.to(wide)

    def _check(self, logit_count: int) -> None:
        allowed = {self.class_count} | ({1} if self.name == "bce" and self.class_count == 2 else set())
        if logit_count not in allowed:  # torch would broadcast one logit over all classes and say nothing
            expected = " or ".join(map(str, sorted(allowed)))
            raise ValueError(
                f"{logit_count} logits for {self.class_count} classes: {self.name} takes {expected}; build the head so"
            )


def make_loss(recipe: Recipe, class_counts: Sequence[int], device: torch.device | str = "cpu") -> Loss:
    """The loss of a recipe; `class_counts` are the training pictures of each class.

    Raises:
        DataError: where classes are to be weighted and one has no training picture.
    """
    return Loss(
        name=recipe.loss,
        class_count=len(class_counts),
        label_smoothing=recipe.label_smoothing,
        focal_gamma=recipe.focal_gamma,
        class_weights=_class_weights(recipe.class_weights, class_counts, device),
    )


def stack_losses(losses: Sequence[Loss], like: Tensor) -> Loss:
    """The losses of T heads, of the same name and classes, as one; for logits of the type and device of `like`.

    A number in which all heads agree stays a number, and targets made with it are made once for all heads.
    """
    weighted = any(loss.class_weights is not None for loss in losses)
    return Loss(
        name=losses[0].name,
        class_count=losses[0].class_count,
        label_smoothing=_by_head([loss.label_smoothing for loss in losses], like),
        focal_gamma=_by_head([loss.focal_gamma for loss in losses], like),
        class_weights=torch.stack([loss._weights(like) for loss in losses]).unsqueeze(1) if weighted else None,
    )


def evaluation_sums(logits: Tensor, labels: Tensor, loss: str) -> LossSums:
    """The log loss of the true classes: unweighted, unsmoothed, unfocused; the weight is the sample count.

    Early stopping, `plateau` and the metric `val_loss` compare recipes that train on different losses, so all are
    measured by what they have in common, the probability given to the true class. For one logit this is plain binary
    cross-entropy, for softmax plain cross-entropy. `loss` is the one trained on: it says what the logits mean.
    logits: (B, K) float, or (T, B, K) for sums (T,); labels: (B,) or (T, B) int64.
    """
    places = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    total = -log_probabilities(logits, loss).gather(-1, places).squeeze(-1).sum(-1)
    return LossSums(total, torch.full_like(total, labels.shape[-1]))


def soft_labels(labels: Tensor, class_count: int) -> Tensor:
    """Whole labels (..., B) int64 as rows of one 1 and zeros: (..., B, class_count) float32."""
    return F.one_hot(labels, class_count).float()


def log_probabilities(logits: Tensor, loss: str) -> Tensor:
    """Log probabilities (..., C) of logits (..., K), by the loss that they were trained with.

    One logit is a sigmoid, given as two columns. Several are a softmax; those of `bce` are sigmoids divided by their
    sum, which is the softmax of their logarithms and so never divides by 0.
    """
    wide = _wide(logits)
    if wide.shape[-1] == 1:
        return torch.cat([F.logsigmoid(-wide), F.logsigmoid(wide)], -1)
    return F.log_softmax(F.logsigmoid(wide) if loss == "bce" else wide, -1)


def _by_head(values: Sequence[float | Tensor], like: Tensor) -> float | Tensor:
    return values[0] if len(set(values)) == 1 else like.new_tensor(values).view(-1, 1, 1)


def _focus(log_probabilities_: Tensor, gamma: float | Tensor) -> Tensor:
    rest = 1 - log_probabilities_.exp()
    return rest.clamp_min(torch.finfo(rest.dtype).eps) ** gamma  # the slope of 0**gamma is infinite for gamma < 1


def _class_weights(kind: str, class_counts: Sequence[int], device: torch.device | str) -> Tensor | None:
    """`balanced`: n / (C n_c); `effective`: (1 - b) / (1 - b**n_c), scaled to add up to C (Cui et al. 2019)."""
    if kind == "none":
        return None
    empty = [index for index, count in enumerate(class_counts) if count < 1]
    if empty:
        raise DataError(
            f"class_weights={kind!r} divides by class counts, but there is no training picture of class "
            f"{', '.join(map(str, empty))}; add pictures, leave the class out or set class_weights='none'"
        )
    counts = torch.tensor(class_counts, dtype=torch.float64)
    if kind == "balanced":
        weights = counts.sum() / (len(counts) * counts)
    else:
        weights = 1 / (1 - EFFECTIVE_BETA**counts)
        weights *= len(counts) / weights.sum()
    return weights.to(device)


def _wide(logits: Tensor) -> Tensor:
    """At least float32: the logarithms of bfloat16 probabilities carry two digits."""
    return logits if logits.dtype == torch.float64 else logits.float()
