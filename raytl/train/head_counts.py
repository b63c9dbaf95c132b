"""What is measured of T heads that see the same pictures: `train.metrics.Counts` of all of them at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from raytl.metric import Figures
from raytl.train.metrics import Counts, predicted_classes


@dataclass(frozen=True, eq=False)
class ArrayCounts:
    """Sums over the samples seen, on the device until a figure is asked for.

    `confusion`: (T, C, C) int64, rows are true classes, columns predicted ones. `loss_total` and `weight`: (T,)
    float64.
    """

    confusion: Tensor
    loss_total: Tensor
    weight: Tensor

    @classmethod
    def zeros(cls, count: int, class_count: int, device: torch.device | str = "cpu") -> ArrayCounts:
        """Nothing counted yet for so many heads."""
        confusion = torch.zeros(count, class_count, class_count, dtype=torch.int64, device=device)
        return cls(confusion, *torch.zeros(2, count, dtype=torch.float64, device=device).unbind())

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor, class_count: int, totals: Tensor, weights: Tensor) -> ArrayCounts:
        """One batch, which may be empty; logits: (T, B, K); totals, weights: (T,) of the losses.

        labels: (B,) int64, or (T, B) where heads see batches of their own.
        """
        count = len(logits)
        predicted = predicted_classes(logits.flatten(0, 1)).view(count, -1)
        heads = torch.arange(count, device=logits.device).unsqueeze(1)
        cells = ((heads * class_count + labels) * class_count + predicted).flatten()
        confusion = torch.zeros(count * class_count**2, dtype=torch.int64, device=logits.device)
        confusion.index_add_(0, cells, torch.ones_like(cells))
        return cls(confusion.view(count, class_count, class_count), totals.detach().double(), weights.detach().double())

    def __add__(self, other: ArrayCounts) -> ArrayCounts:
        """Both together, on the device of the second, so that zeros may start anywhere."""
        device = other.confusion.device
        return ArrayCounts(
            self.confusion.to(device) + other.confusion,
            self.loss_total.to(device) + other.loss_total,
            self.weight.to(device) + other.weight,
        )

    def figures(self) -> list[Figures]:
        """Of each head what `Counts` says of one: accuracy, macro F1 and mean loss."""
        right, both = self.confusion.diagonal(dim1=1, dim2=2), self.confusion.sum(1) + self.confusion.sum(2)
        accuracies = right.sum(1).double() / self.confusion.sum((1, 2))
        scores = (2 * right / both.double().clamp_min(1)).mean(1)
        columns = torch.stack([accuracies, scores, self.loss_total / self.weight])
        return [Figures(*each) for each in columns.T.tolist()]

    def one(self, index: int) -> Counts:
        """What was counted of one head."""
        return Counts(self.confusion[index], self.loss_total[index], self.weight[index])
