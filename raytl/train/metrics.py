"""What an evaluation measures, kept as counts that workers can add before anything is divided."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from raytl.train.losses import LossSums, log_probabilities


@dataclass(frozen=True, eq=False)
class Counts:
    """Sums over the samples seen; tensors stay on the device until a figure is asked for.

    `confusion`: (C, C) int64, rows are true classes, columns predicted ones. `loss_total` and `weight`: float64
    scalars.
    """

    confusion: Tensor
    loss_total: Tensor
    weight: Tensor

    @classmethod
    def zeros(cls, class_count: int, device: torch.device | str = "cpu") -> Counts:
        """Nothing counted yet."""
        confusion = torch.zeros(class_count, class_count, dtype=torch.int64, device=device)
        return cls(confusion, *torch.zeros(2, dtype=torch.float64, device=device).unbind())

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, class_count: int, sums: LossSums) -> Counts:
        """One batch, which may be empty; logits: (B, K) float, labels: (B,) int64 on the same device."""
        cells = labels * class_count + predicted_classes(logits)
        confusion = torch.zeros(class_count**2, dtype=torch.int64, device=logits.device)
        confusion.index_add_(0, cells, torch.ones_like(cells))
        total, weight = (value.detach().double() for value in sums)
        return cls(confusion.view(class_count, class_count), total, weight)

    def __add__(self, other: Counts) -> Counts:
        """Both together, on the device of the second, so that zeros may start anywhere."""
        device = other.confusion.device
        return Counts(
            self.confusion.to(device) + other.confusion,
            self.loss_total.to(device) + other.loss_total,
            self.weight.to(device) + other.weight,
        )

    def pack(self) -> Tensor:
        """All sums as one flat float64 tensor (C * C + 2,) for a single reduction; counts are exact below 2**53."""
        return torch.cat([self.confusion.double().view(-1), torch.stack([self.loss_total, self.weight])])

    @classmethod
    def unpack(cls, flat: Tensor, class_count: int) -> Counts:
        """The counts behind a packed tensor, or behind a sum of packed tensors."""
        confusion = flat[:-2].round().to(torch.int64).view(class_count, class_count)
        return cls(confusion, flat[-2].clone(), flat[-1].clone())

    @property
    def count(self) -> int:
        """Samples counted."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of samples predicted right; not a number where none was counted."""
        return float(self.confusion.diagonal().sum().double() / self.confusion.sum())

    @property
    def macro_f1(self) -> float:
        """The mean F1 over all classes; a class neither seen nor predicted counts 0 (scikit-learn, zero_division=0)."""
        either = (self.confusion.sum(0) + self.confusion.sum(1)).double()
        return float((2 * self.confusion.diagonal() / either.clamp_min(1)).mean())

    @property
    def mean_loss(self) -> float:
        """Total loss over total weight; not a number where nothing was counted."""
        return float(self.loss_total / self.weight)


def predictions_from_logits(logits: Tensor, loss: str) -> Tensor:
    """Probabilities (B, C) of logits (B, K), by the name of the loss they were trained with.

    One logit becomes the two columns 1 - sigmoid and sigmoid. Several become a softmax, or with `bce` their sigmoids
    divided by their sum, so that rows add up to 1 whatever the loss.
    """
    return log_probabilities(logits, loss).exp()


def predicted_classes(logits: Tensor) -> Tensor:
    """The likeliest class (B,) int64 of each row of logits (B, K): the largest logit, or for one logit its sign.

    Taken from logits because probabilities round to ties near 0 and 1.
    """
    return (logits[:, 0] > 0).long() if logits.shape[-1] == 1 else logits.argmax(-1)


def auc(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The area under the ROC curve of a binary task, or None where a class is absent.

    It is the chance that a sample of class 1 scores above one of class 0, ties counting half (Mann and Whitney 1947).
    labels: (N,) 0 or 1; scores: (N,) larger for class 1.
    """
    positive = labels == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if positives == 0 or negatives == 0:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
