"""What a model is fed with: pictures made ready as they are asked for, or what a frozen prefix made of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from raytl.data.store import PictureSet
from raytl.data.views import View, eval_batch, train_batch
from raytl.train.prefix import VIEW_SEED
from raytl.train.prefix_rows import Activations

AHEAD = 2  # chosen: batches that are made ready while one is worked on; more would only take memory


class Inputs(Protocol):
    """Batches of one picture set that have passed the first `depth` stages of a model already."""

    @property
    def depth(self) -> int:
        """Stages that lie behind a batch; 0 for pictures."""

    def batch(self, rows: np.ndarray, epoch: int) -> Tensor:
        """The pictures at `rows` (B,) as they are shown in `epoch` (from 1): (B, ...) float."""

    def expect(self, rows: np.ndarray, epoch: int) -> None:
        """Says that `batch` will be asked for these soon; `ahead` says so, and calls `forget` at the end."""

    def forget(self) -> None:
        """Drops what was expected and not asked for."""


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

    def expect(self, rows: np.ndarray, epoch: int) -> None:
        """Has the pictures' pixels made ready."""
        self.pictures.pixels.expect(rows)

    def forget(self) -> None:
        """Drops what was not asked for."""
        self.pictures.pixels.forget()


@dataclass(frozen=True, eq=False)
class FixedView:
    """Pictures as they are evaluated, the same in every epoch."""

    pictures: PictureSet
    view: View
    depth: int = 0

    def batch(self, rows: np.ndarray, epoch: int) -> Tensor:
        """The centers of pictures (B, 3, H, W)."""
        return eval_batch(self.pictures, rows, self.view)

    def expect(self, rows: np.ndarray, epoch: int) -> None:
        """Has the pictures' pixels made ready."""
        self.pictures.pixels.expect(rows)

    def forget(self) -> None:
        """Drops what was not asked for."""
        self.pictures.pixels.forget()


@dataclass(frozen=True, eq=False)
class StoredViews:
    """Activations behind the first `depth` stages, one entry per stored view, in turn.

    `open_entry` is asked for a view (by its number in `views`) when an epoch shows it first, so that a trial that is
    stopped early has paid for no more; where it gives none, `compute` makes the activations of a batch of `pictures`
    in that view.
    """

    views: Sequence[int]
    depth: int
    open_entry: Callable[[int], Activations | None]
    compute: Callable[[np.ndarray, int], Tensor]
    pictures: PictureSet | None = None
    entries: dict[int, Activations | None] = field(default_factory=dict)

    def batch(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Copies of the activations (B, ...)."""
        view = self.views[view_of(epoch, len(self.views)) - 1]
        entry = self._entry(view)
        return self.compute(rows, view) if entry is None else entry.batch(rows)

    def expect(self, rows: np.ndarray, epoch: int) -> None:
        """Has the pictures' pixels made ready where the epoch's view is not stored."""
        if self.pictures is not None and self._entry(self.views[view_of(epoch, len(self.views)) - 1]) is None:
            self.pictures.pixels.expect(rows)

    def forget(self) -> None:
        """Drops what was not asked for."""
        if self.pictures is not None:
            self.pictures.pixels.forget()

    @property
    def stored_bytes(self) -> int:
        """What the entries that were opened so far take."""
        return sum(entry.bytes for entry in self.entries.values() if entry is not None)

    def _entry(self, view: int) -> Activations | None:
        if view not in self.entries:
            self.entries[view] = self.open_entry(view)
        return self.entries[view]


@contextmanager
def ahead(inputs: Inputs, shares: Iterable[np.ndarray], epoch: int) -> Iterator[Iterator[np.ndarray]]:
    """Gives `shares`, rows of one batch each, while what the `AHEAD` next ones need is made ready.

    However the block ends, nothing that was made ready and no thread that made it is left.
    """
    try:
        yield _announced(inputs, shares, epoch)
    finally:
        inputs.forget()


def _announced(inputs: Inputs, shares: Iterable[np.ndarray], epoch: int) -> Iterator[np.ndarray]:
    waiting: deque[np.ndarray] = deque()
    for share in shares:
        inputs.expect(share, epoch)
        waiting.append(share)
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def view_of(epoch: int, views: int) -> int:
    """Which of the stored views 1..views an epoch (from 1) shows."""
    return (epoch - 1) % views + 1
