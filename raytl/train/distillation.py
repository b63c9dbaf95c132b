"""Distillation: a model that is trained on what another one, its teacher, makes of the training pictures.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015): the student learns the teacher's
probabilities beside the labels, both softened by a temperature, so that it also hears which wrong classes are nearly
right.

The teacher is asked once for each training picture, as it is evaluated: one view around the center. Beyer et al.,
"Knowledge distillation: a good teacher is patient and consistent" (2022), find it better to show teacher and student
the same view in every step. That costs a pass of the teacher for each picture and epoch, and a teacher of another size
or cut does not see the same view by it; asked once, it costs one pass and any teacher will do, an ensemble, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from raytl.train.losses import Loss, LossSums, log_probabilities

TEMPERATURE = 4.0  # chosen: between the 2 and 20 that Hinton et al. tried; much of a small class is heard at it
WEIGHT = 0.9  # chosen: labels have a say where the teacher is wrong; Hinton et al. give them considerably less
LEAST = float(np.finfo(np.float32).tiny)  # a mean of probabilities may be 0, and has no logarithm then


@dataclass(frozen=True, eq=False)
class Teaching:
    """What a teacher makes of the training pictures, and how much it counts.

    `probabilities`: (N, C), one row for each training picture in their order. `weight` is the share of the teacher in
    the loss, from 0 (labels alone) to 1. Read `TaughtLoss` for the formula.

    Raises:
        ValueError: a temperature or weight out of range, or probabilities of another shape.
    """

    probabilities: Tensor
    temperature: float = TEMPERATURE
    weight: float = WEIGHT

    def __post_init__(self) -> None:
        if self.probabilities.ndim != 2 or not self.temperature > 0 or not 0 <= self.weight <= 1:
            raise ValueError(
                f"probabilities {tuple(self.probabilities.shape)}, temperature {self.temperature}, weight "
                f"{self.weight}: must be (pictures, classes), above 0, and from 0 to 1"
            )

    def beside(self, targets: Tensor, rows: np.ndarray) -> Tensor:
        """Soft labels (B, C) of the pictures at `rows` with the softened probabilities beside them: (B, 2 C).

        Where pictures are blended later, both halves are blended alike.
        """
        softened = soften(self.probabilities[torch.from_numpy(rows)].clamp_min(LEAST).log(), self.temperature).exp()
        return torch.cat([targets, softened.to(targets)], -1)


@dataclass(frozen=True, eq=False)
class TaughtLoss:
    """The mean, by `weight` w, of a recipe's own loss and of what a student misses of its teacher's answers.

    (1 - w) own + w T^2 KL(p_T || q_T), where p_T and q_T are the probabilities of teacher and student, each to the
    power of 1/T and divided by their sum: for a softmax, that of the logits divided by T. T^2 keeps the gradients of
    the second term at the size that they have without a temperature (Hinton et al. 2015). A picture weighs in both
    terms what its label does.
    """

    own: Loss
    temperature: float
    weight: float

    @property
    def class_count(self) -> int:
        """The number of classes."""
        return self.own.class_count

    def sums(self, logits: Tensor, targets: Tensor) -> LossSums:
        """Total and weight of a batch; logits: (B, K), targets: (B, 2 C) as `Teaching.beside` gives them."""
        labels, taught = targets.to(torch.promote_types(logits.dtype, torch.float32)).tensor_split(2, -1)
        own = self.own.sums(logits, labels)
        said = soften(log_probabilities(logits, self.own.name), self.temperature)
        missed = (torch.xlogy(taught, taught) - taught * said).sum(-1)
        heard = self.temperature**2 * (self.own.sample_weights(logits, labels) * missed).sum()
        return LossSums((1 - self.weight) * own.total + self.weight * heard, own.weight)


def soften(log_probabilities_: Tensor, temperature: float) -> Tensor:
    """Log probabilities (..., C), each divided by the temperature, as log probabilities."""
    return F.log_softmax(log_probabilities_ / temperature, -1)
