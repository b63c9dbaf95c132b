"""Learning-rate schedules as factors of `recipe.lr`.

A schedule depends on `recipe.epochs` and never on the rung at which a scheduler may stop the trial, so a stopped
trial is a prefix of the whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import cos, inf, pi

from raytl.recipe import Recipe

ONECYCLE_RISE = 0.3  # this and the next two: torch's defaults for OneCycleLR
ONECYCLE_START = 1 / 25
ONECYCLE_END = ONECYCLE_START / 1e4
PLATEAU_THRESHOLD = 1e-4  # torch's default for ReduceLROnPlateau: the least relative gain that counts

State = dict[str, float | None]
Shape = Callable[[int, int], float]


class Schedule:
    """The factor of each step; epochs count from 1, the steps of an epoch from 0.

    Warm-up multiplies by (t + 1) / W over the first W steps. `step` counts epochs from the first, `cosine` falls
    from the end of the warm-up to 0 at the end of the last epoch. `onecycle` has its own rise, over the first 30%
    of all steps or, where `warmup_epochs` is not 0, over these; the momentum is left alone.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        self._steps_per_epoch = max(1, steps_per_epoch)
        self._warmup = round(recipe.warmup_epochs * self._steps_per_epoch)
        self._shape = _shape(recipe, recipe.epochs * self._steps_per_epoch, self._warmup)
        if recipe.parsed_schedule.name == "onecycle":
            self._warmup = 0

    def factor(self, epoch: int, step: int) -> float:
        """The share of `recipe.lr` with which this step is taken."""
        now = (epoch - 1) * self._steps_per_epoch + step
        warm = min(1.0, (now + 1) / self._warmup) if self._warmup else 1.0
        return warm * self._shape(epoch, now)

    def after_epoch(self, val_loss: float) -> None:
        """Takes note of an epoch's validation loss; only `plateau` listens."""

    def state(self) -> State:
        """What a checkpoint must keep, ready for JSON."""
        return {}

    def load(self, state: Mapping[str, float | None]) -> None:
        """Takes up a state from `state()`."""


class Plateau(Schedule):
    """Multiplies by a factor where the validation loss has not fallen for more than `patience` epochs.

    The floor is an absolute rate and holds for the base rate `recipe.lr`. Source: torch's `ReduceLROnPlateau`.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        super().__init__(recipe, steps_per_epoch)
        self._reduction, self._patience, min_lr = recipe.parsed_schedule.arguments
        self._floor = min_lr / recipe.lr
        self._level = 1.0
        self._best: float | None = None
        self._bad_epochs = 0

    def factor(self, epoch: int, step: int) -> float:
        """The share of `recipe.lr`, given the validation losses told so far."""
        return self._level * super().factor(epoch, step)

    def after_epoch(self, val_loss: float) -> None:
        """Lowers the level where the loss has stood still for too long."""
        if val_loss < (inf if self._best is None else self._best * (1 - PLATEAU_THRESHOLD)):
            self._best, self._bad_epochs = val_loss, 0
        else:
            self._bad_epochs += 1
        if self._bad_epochs > self._patience:
            self._level = min(self._level, max(self._level * self._reduction, self._floor))
            self._bad_epochs = 0

    def state(self) -> State:
        """Level, best loss and the count of epochs without a gain."""
        return {"level": self._level, "best": self._best, "bad_epochs": self._bad_epochs}

    def load(self, state: Mapping[str, float | None]) -> None:
        """Takes up a state from `state()`."""
        self._level, self._bad_epochs = float(state["level"] or 0), int(state["bad_epochs"] or 0)
        self._best = state["best"]


def make_schedule(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """The schedule of a recipe for epochs of `steps_per_epoch` steps."""
    kind = Plateau if recipe.parsed_schedule.name == "plateau" else Schedule
    return kind(recipe, steps_per_epoch)


def _shape(recipe: Recipe, total: int, warmup: int) -> Shape:
    """Factor by epoch and by step since the start, without warm-up."""
    name, arguments = recipe.parsed_schedule.name, recipe.parsed_schedule.arguments
    if name == "step":
        every, reduction = arguments
        return lambda epoch, now: reduction ** ((epoch - 1) // every)
    if name == "cosine":
        return lambda epoch, now: _ease(1.0, 0.0, (now - warmup) / max(1, total - warmup))
    if name == "onecycle":
        peak = max(0.0, (warmup or ONECYCLE_RISE * total) - 1)
        return lambda epoch, now: _onecycle(now, peak, total - 1)
    return lambda epoch, now: 1.0


def _onecycle(now: int, peak: float, end: int) -> float:
    if now <= peak:
        return _ease(ONECYCLE_START, 1.0, now / peak if peak else 1.0)
    return _ease(1.0, ONECYCLE_END, (now - peak) / (end - peak))


def _ease(start: float, end: float, share: float) -> float:
    """Half a cosine from `start` at share 0 to `end` at share 1, level on both sides."""
    return end + (start - end) * (1 + cos(pi * min(1.0, max(0.0, share)))) / 2
