"""What a model is fed with: pictures made ready as they are asked for, or what a frozen prefix made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from raytl.data.store import PictureSet
from raytl.data.views import View, eval_batch, train_batch
from raytl.train.prefix import VIEW_SEED
from raytl.train.prefix_rows import Activations


class Inputs(Protocol):
    """Batches of one picture set that have passed the first `depth` stages of a model already."""

    @property
    def depth(self) -> int:
        """Stages that lie behind a batch; 0 for pictures."""

    def batch(self, rows: np.ndarray, epoch: int) -> Tensor:
        """The pictures at `rows` (B,) as they are shown in `epoch` (from 1): (B, ...) float."""


@dataclass(frozen=True, eq=False)
class FreshViews:
    """Pictures as `view` augments them, by a seed and the epoch; with `views`, the stored views 1..views in turn.

    Stored views are the same for all recipes and seeds, so that they can be shared.
    """

    pictures: PictureSet
    view: View
    seed: int
    views: int = 0
    depth: int = 0

    def batch(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Augmented pictures (B, 3, H, W)."""
        if self.views:
            return train_batch(self.pictures, rows, self.view, VIEW_SEED, view_of(epoch, self.views))
        return train_batch(self.pictures, rows, self.view, self.seed, epoch)


@dataclass(frozen=True, eq=False)
class FixedView:
    """Pictures as they are evaluated, the same in every epoch."""

    pictures: PictureSet
    view: View
    depth: int = 0

    def batch(self, rows: np.ndarray, epoch: int) -> Tensor:
        """The centers of pictures (B, 3, H, W)."""
        return eval_batch(self.pictures, rows, self.view)


@dataclass(frozen=True, eq=False)
class StoredViews:
    """Activations behind the first `depth` stages, one entry per stored view, in turn.

    `open_entry` is asked for a view (by its number in `views`) when an epoch shows it first, so that a trial that is
    stopped early has paid for no more; where it gives none, `compute` makes the activations of a batch in that view.
    """

    views: Sequence[int]
    depth: int
    open_entry: Callable[[int], Activations | None]
    compute: Callable[[np.ndarray, int], Tensor]
    entries: dict[int, Activations | None] = field(default_factory=dict)

    def batch(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Copies of the activations (B, ...)."""
        view = self.views[view_of(epoch, len(self.views)) - 1]
        if view not in self.entries:
            self.entries[view] = self.open_entry(view)
        entry = self.entries[view]
        return self.compute(rows, view) if entry is None else entry.batch(rows)


def view_of(epoch: int, views: int) -> int:
    """Which of the stored views 1..views an epoch (from 1) shows."""
    return (epoch - 1) % views + 1
