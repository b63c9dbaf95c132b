"""When a search ends before its trials are used up: by the clock, or by the hours of workers that it has used."""

from __future__ import annotations

import time
from collections.abc import Sequence

from raytl.results.recorder import Recorder
from raytl.results.usage import used_seconds


class Deadline:
    """The moment from which no trial is begun and running ones end after their epoch."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether the time is used up; never, where none was set."""
        return self._at is not None and time.monotonic() >= self._at

    @property
    def why(self) -> str:
        """What trials that end for it are told."""
        return "the time was used up"

    @property
    def late(self) -> str:
        """Why no further trial is begun."""
        return "the time for the search is used up"


class Budget(Deadline):
    """Passed once all recorded trials together have held workers for so many worker-seconds; None: never.

    The rows decide and no clock does, so that a study that goes on after a kill goes on counting where it was.
    """

    def __init__(self, recorder: Recorder, worker_seconds: float | None) -> None:
        super().__init__(None)
        self._recorder, self._limit = recorder, worker_seconds

    @property
    def passed(self) -> bool:
        """Whether the worker-seconds are used up."""
        if self._limit is None:
            return False
        return used_seconds(self._recorder.trials.values(), self._recorder.epochs) >= self._limit

    @property
    def why(self) -> str:
        """What trials that end for it are told."""
        return "the search's share of --budget-hours was used up"

    @property
    def late(self) -> str:
        """Why no further trial is begun."""
        return "the search's share of --budget-hours is used up"


class Earliest(Deadline):
    """Passed when one of several is, and that one says why."""

    def __init__(self, parts: Sequence[Deadline]) -> None:
        super().__init__(None)
        self._parts = tuple(parts)

    @property
    def passed(self) -> bool:
        """Whether any of them has passed."""
        return any(part.passed for part in self._parts)

    @property
    def why(self) -> str:
        """That of the first that has passed."""
        return self._first.why

    @property
    def late(self) -> str:
        """That of the first that has passed."""
        return self._first.late

    @property
    def _first(self) -> Deadline:
        return next((part for part in self._parts if part.passed), self._parts[0])
