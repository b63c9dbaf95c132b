"""One trial trained twice: whether the figures of the second time are those of the first, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raytl.results.schemas import ConfirmedRow, EpochRow

FIGURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1", "lr")
TESTED = ("test_accuracy", "test_macro_f1", "test_loss", "test_auc", "correct")
NOT_COMPARED = ("node", "memory_bytes")  # of a machine: its name and its free memory change no figure


@dataclass(frozen=True)
class Change:
    """The figure that changed most between two rows of the same thing; `where` says which, such as `epoch 3`."""

    where: str
    figure: str
    before: float | None
    now: float | None

    @property
    def size(self) -> float:
        """How far apart the two are; infinite where one of them is not there, or no number."""
        if self.before == self.now:
            return 0.0
        if self.before is None or self.now is None:
            return math.inf
        size = abs(self.now - self.before)
        return 0.0 if math.isnan(self.before) and math.isnan(self.now) else math.inf if math.isnan(size) else size

    def line(self) -> str:
        """The change for a person."""
        if self.size == 0:
            return f"{self.where}: equal"
        return f"{self.where}: {self.figure} was {_text(self.before)}, is {_text(self.now)} (by {self.size:.2g})"


@dataclass(frozen=True)
class Repeat:
    """What came of training a trial again: `missing` and `extra` are epochs of which only one of the two has a row.

    `elsewhere` are sentences on versions and machine that are not those of the first time.
    """

    changes: tuple[Change, ...]
    missing: tuple[int, ...]
    extra: tuple[int, ...]
    elsewhere: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether every figure came again, to the last digit."""
        return (
            bool(self.changes) and not self.missing and not self.extra and all(not each.size for each in self.changes)
        )


def repeat_of(
    before: Sequence[EpochRow], now: Sequence[EpochRow], tested: Sequence[ConfirmedRow], elsewhere: Sequence[str]
) -> Repeat:
    """Compares the epochs that were recorded with those of the second time; `tested` has the test figures of both."""
    old, new = ({row.epoch: row for row in rows} for rows in (before, now))
    changes = [_largest(f"epoch {epoch}", FIGURES, old[epoch], new[epoch]) for epoch in sorted(old.keys() & new.keys())]
    if len(tested) == 2:
        changes.append(_largest("test pictures", TESTED, *tested))
    return Repeat(
        changes=tuple(changes),
        missing=tuple(sorted(old.keys() - new.keys())),
        extra=tuple(sorted(new.keys() - old.keys())),
        elsewhere=tuple(elsewhere),
    )


def repeat_lines(found: Repeat) -> list[str]:
    """What was found, for a person: each epoch, the verdict, and what may explain it."""
    lines = [change.line() for change in found.changes]
    for epochs, when in ((found.missing, "recorded, not reached this time"), (found.extra, "not recorded then")):
        if epochs:
            lines.append(f"epoch{'s' * (len(epochs) > 1)} {', '.join(map(str, epochs))}: {when}")
    return [*lines, _verdict(found), *found.elsewhere]


def other_versions(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """A sentence for versions and for the machine in two `study.json` that are not the same."""
    sentences = []
    for part, what in (("versions", "other versions"), ("machine", "another machine")):
        old, new = (values.get(part) for values in (before, now))
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            differing = [name for name in old if name not in NOT_COMPARED and old[name] != new.get(name)]
            told = ", ".join(f"{name} was {old[name]}, is {new.get(name)}" for name in differing)
            sentences += [f"{what}: {told}"] * bool(differing)
    return sentences


def _largest(where: str, figures: Sequence[str], before: object, now: object) -> Change:
    changes = [Change(where, figure, getattr(before, figure), getattr(now, figure)) for figure in figures]
    return max(changes, key=lambda change: change.size)


def _verdict(found: Repeat) -> str:
    if found.equal:
        return "The trial came again: every figure is the one recorded."
    if not found.changes:
        return "Nothing can be compared: no epoch has a row from both times."
    if any(change.size for change in found.changes):
        largest = max(found.changes, key=lambda change: change.size)
        said = f"The trial did not come again exactly: the largest difference is {largest.size:.2g}, of "
        said += f"{largest.figure} ({largest.where})."
    else:
        said = "Every figure that both times have is the same, but not the epochs."
    where = (
        "Versions or machine are others, which may explain it:"
        if found.elsewhere
        else ("The versions are the same and the machine is alike, so that figures should have been equal.")
    )
    return f"{said} {where}"


def _text(value: float | None) -> str:
    return "not there" if value is None else f"{value:.6g}"
