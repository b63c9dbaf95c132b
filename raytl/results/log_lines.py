"""A study as plain lines, one per event, for a log or a pipe: no control characters, and no flood.

A step of up to 60 trials has a line for each that ends. In a longer one a line is written for a trial that is the best
of its backbone so far and for one that failed (the first five of each backbone); the others are counted in a line a
minute. Where a minute passes without a line, the next epoch of any trial gives a sign of life.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from raytl import __version__
from raytl.estimate import Estimate
from raytl.metric import Metric
from raytl.redaction import redacted
from raytl.results.conclusion import Conclusion
from raytl.results.console import StudyConsole
from raytl.results.progress import Progress
from raytl.results.schemas import PROBE, SCORELESS, SEARCH, EpochRow, TrialRow
from raytl.results.view import Silent
from raytl.results.wording import COLUMNS, depth_count
from raytl.study import Study

MANY = 60  # chosen: as many lines as a person reads through; more are summed up
FAILURES = 5  # chosen: of each backbone; after that they repeat themselves
QUIET_SECONDS = 60.0  # chosen: a study of a day writes at most 1440 such lines

# Escape sequences (a worker's error may be colored) and, after them, all control characters and line ends.
_UNPRINTABLE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class LogLines(Silent):
    """Lines on a console, each with the seconds since the study began; test figures are told at the end."""

    def __init__(self, metric: Metric, console: Console | None = None) -> None:
        self._metric = metric
        self._console = console or StudyConsole(highlight=False)
        self._progress = Progress(metric)
        self._failures: Counter[str] = Counter()
        self._last_line = time.monotonic()

    def begin(self, study: Study, out: Path) -> None:
        """The study's name, and where it goes."""
        self._progress.begin(study)
        self.say(f"raytl {__version__}: {study.name}, into {out}")

    def say(self, text: str) -> None:
        """A line of its own, whatever stands in `text`."""
        self._last_line = time.monotonic()
        self._write(f"[{self._progress.seconds:5.0f} s] {one_line(text)}")

    def known(self, trials: Sequence[TrialRow]) -> None:
        """Counts what an earlier run recorded; the driver says it in words."""
        self._progress.known(trials)

    def step(self, name: str, left: int) -> None:
        """Counts from here; the driver says it in words."""
        self._progress.step(name, left)

    def settled(self, backbone: str, left_out: int, reason: str) -> None:
        """Which trials there will not be, and why."""
        self._progress.settled(backbone, left_out)
        plural = "trial is" if left_out == 1 else "trials are"
        self.say(f"{backbone}: {left_out} {plural} left out: {reason}")

    def started(self, trial: TrialRow) -> None:
        """Counts it; its end has a line."""
        self._progress.started(trial)

    def epoch(self, trial: TrialRow, row: EpochRow) -> None:
        """A sign of life, where there was no line for a minute."""
        self._progress.epoch(trial, row)
        if self._is_quiet() and trial.stage != PROBE:
            value = getattr(row, self._metric.name)
            at = f"{trial.backbone} epoch {row.epoch} of {trial.recipe.epochs}, {self._metric.name} {value:.3f}"
            self.say(f"{self._progress.sentence()} ({at})")

    def ended(self, trial: TrialRow) -> None:
        """A line with what became of a trial, unless that would be one of very many."""
        is_best = self._progress.ended(trial)
        if trial.stage == PROBE:
            return  # hundreds at once: whoever trains them says it in a line
        if self._tells(trial, is_best):
            self.say(f"{self._title(trial)}: {self._result(trial)}{self._progress.time_left()}")
        elif self._is_quiet():
            self.say(self._progress.sentence())

    def estimated(self, estimate: Estimate) -> None:
        """How long, and how many bytes."""
        for line in estimate.lines():
            self.say(line)

    def concluded(self, conclusion: Conclusion) -> None:
        """The leaderboard as it is, after an empty line."""
        for line in ["", *conclusion.lines(columns_of(self._console))]:
            self._write(line)

    def _tells(self, trial: TrialRow, is_best: bool) -> bool:
        self._failures[trial.backbone] += trial.status in SCORELESS
        if self._progress.total <= self._most():
            return True
        return is_best or (trial.status in SCORELESS and self._failures[trial.backbone] <= FAILURES)

    def _most(self) -> int:
        """Trials of a step, up to which each has its line."""
        return MANY

    def _is_quiet(self) -> bool:
        return time.monotonic() - self._last_line >= QUIET_SECONDS

    def _write(self, line: str) -> None:
        # Without a terminal rich takes a width of 80 and would cut lines at it.
        self._console.print(self._encodable(line), markup=False, emoji=False, soft_wrap=True)

    def _encodable(self, line: str) -> str:
        encoding = self._console.encoding
        return line.encode(encoding, errors="replace").decode(encoding)

    def _title(self, trial: TrialRow) -> str:
        if trial.stage == SEARCH:
            return f"{trial.backbone} {self._progress.counts(trial.backbone)}"
        what = "run" if self._progress.is_design else "final model"
        return f"{trial.backbone} {what} {self._progress.finals()} ({trial.origin}, seed {trial.recipe.seed})"

    def _result(self, trial: TrialRow) -> str:
        if trial.status in SCORELESS or not trial.epochs_run:
            return f"{trial.status}: {trial.reason}"
        recipe = trial.recipe
        said = {"completed": "", "stopped": " (stopped)"}[trial.status]
        again = f", begun {trial.attempts} times: its worker died" if trial.attempts > 1 else ""
        plural = "" if trial.epochs_run == 1 else "s"
        return (
            f"{figure(trial, self._metric)} after {trial.epochs_run} epoch{plural}{said}, lr {recipe.lr:.1e}, "
            f"batch {recipe.batch_size}, {depth_count(recipe.freeze_depth)}, {trial.seconds or 0:.0f} s{again}"
        )


def columns_of(console: Console) -> int:
    """How wide tables may be there: as wide as a terminal, up to what they are made for; in a file they are that."""
    return min(COLUMNS, console.width) if console.is_terminal else COLUMNS


def figure(trial: TrialRow, metric: Metric) -> str:
    """`val_accuracy 0.812`, or that there is none."""
    value = getattr(trial, metric.name)
    return f"{metric.name} {value:.3f}" if value is not None else "no figure"


def one_line(text: str) -> str:
    """A text without secrets, control characters and line ends."""
    return _UNPRINTABLE.sub(lambda found: "" if found[0].startswith("\x1b[") else " ", redacted(text))
