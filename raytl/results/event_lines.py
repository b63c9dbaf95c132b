"""A study for a program: one JSON object per line on standard output, words to standard error; see docs/events.md.

Numbers are numbers, what does not exist is null, accuracies are fractions, times are ISO 8601 in UTC, and `at_seconds`
counts from the beginning of the command. Fields may be added, never renamed.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from raytl import __version__
from raytl.estimate import Estimate
from raytl.metric import Metric
from raytl.redaction import redacted_values
from raytl.results.conclusion import Conclusion
from raytl.results.log_lines import one_line
from raytl.results.schemas import PROBE, ConfirmedRow, EpochRow, TrialRow
from raytl.results.view import Silent
from raytl.study import Study
from raytl.unread import silence

EVENTS_VERSION = 1


class EventLines(Silent):
    """Writes every event as it happens. Where nobody reads any more, the study goes on without it."""

    def __init__(self, metric: Metric, out: TextIO | None = None, words: TextIO | None = None) -> None:
        self._metric = metric
        self._out, self._words = out or sys.stdout, words or sys.stderr
        self._begin = time.monotonic()
        self._is_read = True

    def begin(self, study: Study, out: Path) -> None:
        """The event `study`."""
        values = {"raytl_version": __version__, "events_version": EVENTS_VERSION, "folder": str(out)}
        self._tell("study", {**values, "name": study.name, "metric": study.metric, "spec": study.values()})

    def say(self, text: str) -> None:
        """Words, for a person who looks at standard error."""
        with suppress(BrokenPipeError):
            print(f"[{time.monotonic() - self._begin:5.0f} s] {one_line(text)}", file=self._words, flush=True)

    def known(self, trials: Sequence[TrialRow]) -> None:
        """The event `kept`, where an earlier run has recorded trials."""
        if trials:
            kept = sum(row.status != "running" for row in trials)
            self._tell("kept", {"trials": kept, "continued_trials": len(trials) - kept})

    def step(self, name: str, left: int) -> None:
        """The event `step`."""
        self._tell("step", {"step": name, "left": left})

    def settled(self, backbone: str, left_out: int, reason: str) -> None:
        """The event `settled`."""
        self._tell("settled", {"backbone": backbone, "left_out": left_out, "reason": reason})

    def started(self, trial: TrialRow) -> None:
        """The event `started`; heads of the probe, which are recorded when they are over, have `ended` alone."""
        if trial.stage != PROBE:
            recipe = trial.recipe.values()
            self._tell("started", {**_names(trial), "freeze_depth": trial.freeze_depth, "recipe": recipe})

    def epoch(self, trial: TrialRow, row: EpochRow) -> None:
        """The event `epoch`, but for heads of the probe."""
        if trial.stage != PROBE:
            self._tell("epoch", {**_names(trial), **_plain(asdict(row))})

    def ended(self, trial: TrialRow) -> None:
        """The event `ended`: the trial's row of the table `trials`, its recipe whole."""
        row = {**_plain({**asdict(trial), "recipe": None}), "recipe": trial.recipe.values()}
        self._tell("ended", row)

    def tested(self, row: ConfirmedRow) -> None:
        """The event `final`: a final model's row of the table `confirmed`."""
        self._tell("final", _plain(asdict(row)))

    def estimated(self, estimate: Estimate) -> None:
        """The event `estimate`, the last of a dry run."""
        values = _plain(asdict(estimate))
        self._tell("estimate", {"duration_seconds": values.pop("seconds"), "cost": estimate.cost, **values})

    def concluded(self, conclusion: Conclusion) -> None:
        """The event `result`, the last of a study that was not interrupted."""
        self._tell("result", conclusion.values())

    def _tell(self, event: str, values: Mapping[str, object]) -> None:
        if not self._is_read:
            return
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        seconds = round(time.monotonic() - self._begin, 3)
        told = {"event": event, "at": at, "at_seconds": seconds, **values}
        try:
            print(json.dumps(_finite(redacted_values(told)), allow_nan=False), file=self._out, flush=True)
        except BrokenPipeError:
            self._is_read = False
            silence(self._out)
            self.say("nobody reads the events any more; the study goes on, and its folder has them all")


def _names(trial: TrialRow) -> dict[str, object]:
    return {
        "trial_id": trial.trial_id,
        "stage": trial.stage,
        "backbone": trial.backbone,
        "origin": trial.origin,
        "seed": trial.recipe.seed,
        "split": trial.split,
    }


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """With times as text."""
    return {name: each.isoformat() if isinstance(each, datetime) else each for name, each in values.items()}


def _finite(value: object) -> object:
    """With null for what is no number: JSON has none for it."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
