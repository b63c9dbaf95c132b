"""Early stopping: when a trial's own validation loss says that more epochs are wasted."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Protocol

from raytl.recipe import Recipe

State = dict[str, float | None]


class EarlyStopping(Protocol):
    """Told each epoch's validation loss, says whether to stop. A loss that is no number is a bad one."""

    @property
    def stopped(self) -> bool:
        """Whether the trial should end, also after `load`."""

    def update(self, val_loss: float) -> None:
        """Takes note of an epoch."""

    def state(self) -> State:
        """What a checkpoint must keep, ready for JSON."""

    def load(self, state: Mapping[str, float | None]) -> None:
        """Takes up a state from `state()`."""


class Never:
    """`none`: all epochs are run."""

    stopped = False

    def update(self, val_loss: float) -> None:
        """Nothing."""

    def state(self) -> State:
        """Nothing."""
        return {}

    def load(self, state: Mapping[str, float | None]) -> None:
        """Nothing."""


class Patience:
    """`patience:n,min_delta`: stops after n epochs in a row that did not better the best loss by more than min_delta.

    An n of 0 is taken as 1, the first such epoch.
    """

    def __init__(self, epochs: float, min_delta: float) -> None:
        self._epochs, self._min_delta = max(1.0, epochs), min_delta
        self._best: float | None = None
        self._waited = 0

    @property
    def stopped(self) -> bool:
        """Whether patience has run out."""
        return self._waited >= self._epochs

    def update(self, val_loss: float) -> None:
        """Counts the epoch, or begins anew at a better loss."""
        if val_loss < (inf if self._best is None else self._best - self._min_delta):
            self._best, self._waited = val_loss, 0
        else:
            self._waited += 1

    def state(self) -> State:
        """Best loss and epochs waited."""
        return {"best": self._best, "waited": self._waited}

    def load(self, state: Mapping[str, float | None]) -> None:
        """Takes up a state from `state()`."""
        self._best, self._waited = state["best"], int(state["waited"] or 0)


class Rises:
    """`rises:n`: stops when the loss has risen n times in a row, each time above the epoch before."""

    def __init__(self, epochs: float) -> None:
        self._epochs = epochs
        self._previous: float | None = None
        self._rises = 0

    @property
    def stopped(self) -> bool:
        """Whether the loss has risen often enough."""
        return self._rises >= self._epochs

    def update(self, val_loss: float) -> None:
        """Counts rises in a row."""
        fell = self._previous is None or val_loss <= self._previous
        self._rises = 0 if fell else self._rises + 1
        self._previous = val_loss

    def state(self) -> State:
        """The last loss and the rises so far."""
        return {"previous": self._previous, "rises": self._rises}

    def load(self, state: Mapping[str, float | None]) -> None:
        """Takes up a state from `state()`."""
        self._previous, self._rises = state["previous"], int(state["rises"] or 0)


def make_stopping(recipe: Recipe) -> EarlyStopping:
    """The early stopping of a recipe."""
    choice = recipe.parsed_early_stop
    if choice.name == "patience":
        return Patience(*choice.arguments)
    if choice.name == "rises":
        return Rises(*choice.arguments)
    return Never()
