"""What a person sees while a study runs: a live table in a terminal, plain lines in a log."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from raytl.metric import Metric
from raytl.results.schemas import EpochRow, TrialRow

# Escape sequences (a worker's error may be colored) and, after them, all control characters and line ends.
_UNPRINTABLE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass
class Tally:
    """One backbone's search so far."""

    wanted: int
    running: set[str] = field(default_factory=set)
    done: int = 0
    stopped: int = 0
    bad: int = 0
    best: TrialRow | None = None


class Progress:
    """A study's progress; use as a context. `trials` are wanted per backbone, `finals` in all."""

    def __init__(self, metric: Metric, console: Console | None = None) -> None:
        self._metric = metric
        self._console = console or Console(highlight=False)
        self._begin = time.monotonic()
        self._search_begin = self._begin
        self._tallies: dict[str, Tally] = {}
        self._finals = 0
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(self._table(), console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def expect(self, backbones: tuple[str, ...], trials: int) -> None:
        """How many search trials each backbone is to have."""
        self._tallies = {name: Tally(trials) for name in backbones}
        self._refresh()

    def say(self, text: str) -> None:
        """A line of its own, whatever stands in `text`."""
        line = _UNPRINTABLE.sub(lambda found: "" if found[0].startswith("\x1b[") else " ", text)
        self._console.print(f"[{self._clock()}] {line}", markup=False, emoji=False, soft_wrap=True)

    def started(self, trial: TrialRow) -> None:
        """A trial has begun."""
        if trial.stage == "search":
            if not any(tally.running or tally.done or tally.stopped or tally.bad for tally in self._tallies.values()):
                self._search_begin = time.monotonic()
            self._tallies[trial.backbone].running.add(trial.trial_id)
        self._refresh()

    def epoch(self, trial: TrialRow, row: EpochRow) -> None:
        """A trial has finished an epoch; lines are kept for its end."""
        self._refresh()

    def ended(self, trial: TrialRow) -> None:
        """A trial is over: one line, whatever became of it."""
        if trial.stage == "search":
            self._count(self._tallies[trial.backbone], trial)
            tally = self._tallies[trial.backbone]
            ended = tally.done + tally.stopped + tally.bad
            self.say(f"{trial.backbone} {ended}/{tally.wanted}: {self._result(trial)}{self._time_left()}")
        elif trial.stage == "probe":
            self._rank(self._tallies[trial.backbone], trial)  # hundreds at once: whoever trains them says it in a line
        else:
            self._finals += 1
            self.say(f"{trial.backbone} final model ({trial.origin}, seed {trial.recipe.seed}): {self._result(trial)}")
        self._refresh()

    def _count(self, tally: Tally, trial: TrialRow) -> None:
        tally.running.discard(trial.trial_id)
        tally.done += trial.status == "completed"
        tally.stopped += trial.status == "stopped"
        tally.bad += trial.status in ("diverged", "failed")
        self._rank(tally, trial)

    def _rank(self, tally: Tally, trial: TrialRow) -> None:
        ranked = trial.status in ("completed", "stopped")
        if ranked and (tally.best is None or self._metric.key(trial) < self._metric.key(tally.best)):
            tally.best = trial

    def _result(self, trial: TrialRow) -> str:
        if trial.status in ("diverged", "failed"):
            return f"{trial.status}: {trial.reason}"
        recipe = trial.recipe
        said = {"completed": "", "stopped": " (stopped)"}[trial.status]
        return (
            f"{self._figure(trial)} after {trial.epochs_run} epochs{said}, lr {recipe.lr:.1e}, "
            f"batch {recipe.batch_size}, {recipe.freeze_depth} stages frozen, {trial.seconds or 0:.0f} s"
        )

    def _figure(self, trial: TrialRow) -> str:
        value = getattr(trial, self._metric.name)
        return f"{self._metric.name} {value:.3f}" if value is not None else "no figure"

    def _time_left(self) -> str:
        ended = sum(tally.done + tally.stopped + tally.bad for tally in self._tallies.values())
        wanted = sum(tally.wanted for tally in self._tallies.values())
        if not ended or ended >= wanted:
            return ""
        seconds = (time.monotonic() - self._search_begin) / ended * (wanted - ended)
        return f"; about {_said(seconds)} of search left"

    def _clock(self) -> str:
        return f"{time.monotonic() - self._begin:5.0f} s"

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._table())

    def _table(self) -> Table:
        table = Table(title=f"{self._clock().strip()}{self._time_left()}", title_justify="left")
        for name in ("backbone", "running", "done", "stopped", "failed", "best so far", "recipe"):
            table.add_column(name, overflow="fold")
        for backbone, tally in self._tallies.items():
            best = tally.best
            recipe = f"lr {best.recipe.lr:.1e}, {best.recipe.freeze_depth} frozen" if best else ""
            counts = (str(len(tally.running)), f"{tally.done}/{tally.wanted}", str(tally.stopped), str(tally.bad))
            table.add_row(backbone, *counts, self._figure(best) if best else "", recipe)
        if self._finals:
            table.add_row("final models", "", str(self._finals), "", "", "", "")
        return table


def _said(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
