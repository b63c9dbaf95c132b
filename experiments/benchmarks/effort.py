"""What a process works, on a machine that has other things to do: processor time of all its threads and waits for disk.

The time in which a process could run but another one does is in neither, so that a figure says what the machine could
do if nobody else used it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raytl.steps import listening

# Of the main thread: nanoseconds on a processor, nanoseconds spent waiting for one, time slices (Linux).
SCHEDULING = Path("/proc/self/schedstat")
BEFORE_SYNC, AFTER_SYNC = (" written", " renamed"), (" synced", " in its folder")  # steps of `write_atomically`


@dataclass
class Meter:
    """Seconds of work in suggestions and in results since it was last read, and how many there were of each."""

    suggest_seconds: float = 0.0
    suggestions: int = 0
    result_seconds: float = 0.0
    results: int = 0
    disk_seconds: float = 0.0
    _sync_began: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the block waits for disk are known."""
        with listening(self._step):
            yield

    @contextmanager
    def suggestion(self) -> Iterator[None]:
        """Within the block a trial is suggested and begun."""
        begin = self._worked()
        yield
        self.suggest_seconds += self._worked() - begin
        self.suggestions += 1

    @contextmanager
    def result(self) -> Iterator[None]:
        """Within the block an epoch is recorded and decided on."""
        begin = self._worked()
        yield
        self.result_seconds += self._worked() - begin
        self.results += 1

    @property
    def seconds(self) -> float:
        """Of both."""
        return self.suggest_seconds + self.result_seconds

    def reset(self) -> None:
        """Counts from nothing again."""
        self.suggest_seconds = self.result_seconds = self.disk_seconds = 0.0
        self.suggestions = self.results = 0

    def _worked(self) -> float:
        return time.process_time() + self.disk_seconds

    def _step(self, step: str) -> None:
        if step.endswith(BEFORE_SYNC):
            self._sync_began = undisturbed()
        elif step.endswith(AFTER_SYNC):
            self.disk_seconds += undisturbed() - self._sync_began


def undisturbed() -> float:
    """A clock in seconds that stands still while this thread waits for a processor."""
    try:
        waited = int(SCHEDULING.read_text().split()[1]) / 1e9
    except OSError:  # not on Linux: there the clock never stands still
        waited = 0.0
    return time.perf_counter() - waited
