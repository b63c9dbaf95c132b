"""The wall-clock limit of a search."""

from __future__ import annotations

import time


class Deadline:
    """The moment from which no trial is begun and running ones end after their epoch."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        """Whether the time is used up; never, where none was set."""
        return self._at is not None and time.monotonic() >= self._at
