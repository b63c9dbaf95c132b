"""How a running study is shown: one interface for a live table, plain lines, the result alone, and JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from raytl.estimate import Estimate
from raytl.results.conclusion import Conclusion
from raytl.results.recorder import Watcher
from raytl.results.schemas import ConfirmedRow, EpochRow, TrialRow
from raytl.study import Study

DESIGN, REPORT = "design", "report"  # steps of a study beside the stages of its trials


class View(Watcher, Protocol):
    """What is told of a study to a person or a program; used as a context for the time that the study runs.

    Nothing that is told may keep a study from going on: a view takes any text and any row.
    """

    def __enter__(self) -> Self:
        """Begins to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leaves the terminal as it was."""

    def begin(self, study: Study, out: Path) -> None:
        """What is to be done, and the folder it goes to; the first that is told."""

    def say(self, text: str) -> None:
        """Something in words, for a person."""

    def estimated(self, estimate: Estimate) -> None:
        """What the study would take; told in the place of running it."""

    def concluded(self, conclusion: Conclusion) -> None:
        """What came out; the last that is told."""


class Silent:
    """A view that shows nothing: what others begin with, each telling what it is for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def begin(self, study: Study, out: Path) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def known(self, trials: Sequence[TrialRow]) -> None:
        """Nothing."""

    def step(self, name: str, left: int) -> None:
        """Nothing."""

    def settled(self, backbone: str, left_out: int, reason: str) -> None:
        """Nothing."""

    def started(self, trial: TrialRow) -> None:
        """Nothing."""

    def epoch(self, trial: TrialRow, row: EpochRow) -> None:
        """Nothing."""

    def ended(self, trial: TrialRow) -> None:
        """Nothing."""

    def tested(self, row: ConfirmedRow) -> None:
        """Nothing."""

    def estimated(self, estimate: Estimate) -> None:
        """Nothing."""

    def concluded(self, conclusion: Conclusion) -> None:
        """Nothing."""
