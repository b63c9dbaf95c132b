"""How far a study has come: what is counted, the best so far, and what can honestly be said of the time left.

Rows are counted, not events: what an earlier run of the study recorded counts like what is told now, and what is told
twice counts once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from raytl.design import cells_of
from raytl.estimate import time_text
from raytl.metric import Metric
from raytl.money import HOUR_SECONDS
from raytl.results.ranking import ranked
from raytl.results.schemas import CONFIRM, PROBE, SCORELESS, SEARCH, EpochRow, TrialRow
from raytl.results.tables import is_ranked
from raytl.results.usage import amount
from raytl.results.view import DESIGN, REPORT
from raytl.study import LADDER, Study

ROLES = 3  # the most that is confirmed of a backbone: its best recipe, its best head and its linear probe


@dataclass(frozen=True)
class Tally:
    """One backbone so far: its trials by what became of them, of how many, its best one, and the best after each."""

    backbone: str
    wanted: int
    running: int = 0
    done: int = 0
    stopped: int = 0
    bad: int = 0
    best: TrialRow | None = None
    curve: tuple[float, ...] = ()

    @property
    def ended(self) -> int:
        """Trials that are over, however they ended."""
        return self.done + self.stopped + self.bad


class Progress:
    """Counts what is told of a study. Without `begin` it knows no backbones and counts those that it is told of."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._begin = self._step_begin = time.monotonic()
        self._study: Study | None = None
        self._counted = SEARCH  # the stage whose trials fill the table
        self._rows: dict[str, TrialRow] = {}
        self._ended: list[TrialRow] = []  # in the order in which they ended
        self._shares: dict[str, tuple[float, float]] = {}  # of each trial's epochs: done before, done by now
        self._left_out: dict[str, int] = {}
        self._step, self._step_left = "", 0
        self._step_ended: set[str] = set()

    @property
    def seconds(self) -> float:
        """Since the study began."""
        return time.monotonic() - self._begin

    @property
    def is_design(self) -> bool:
        """Whether a design's runs are counted, not a search's trials."""
        return self._counted == CONFIRM

    def begin(self, study: Study) -> None:
        """The study whose trials are counted."""
        self._study, self._counted = study, CONFIRM if study.design else SEARCH

    def known(self, trials: Sequence[TrialRow]) -> None:
        """What an earlier run recorded. Trials that were under way then are not, until they have begun again."""
        over = [row for row in trials if row.status != "running"]
        for row in sorted(over, key=lambda row: row.ended_at or row.started_at):
            self._rows[row.trial_id] = row
            self._ended.append(row)

    def step(self, name: str, left: int) -> None:
        """A step begins, with so many tasks left to do."""
        self._step, self._step_left, self._step_begin = name, left, time.monotonic()
        self._step_ended, self._shares = set(), {}

    def settled(self, backbone: str, left_out: int) -> None:
        """The search leaves out so many trials of a backbone."""
        self._left_out[backbone] = left_out

    def started(self, trial: TrialRow) -> None:
        """A trial has begun."""
        self._rows[trial.trial_id] = trial

    def epoch(self, trial: TrialRow, row: EpochRow) -> None:
        """A trial has finished an epoch."""
        whole = max(trial.recipe.epochs, row.epoch)
        taken_over = row.ended_at <= trial.started_at  # the search has done it: no work of this step
        done = row.epoch if taken_over else row.epoch - 1
        before, _ = self._shares.get(trial.trial_id, (done / whole, 0.0))
        before = done / whole if taken_over else before
        self._shares[trial.trial_id] = (before, row.epoch / whole)

    def ended(self, trial: TrialRow) -> bool:
        """A trial is over; whether it is the best of its backbone so far, among those that are compared with it."""
        known = self._rows.get(trial.trial_id)
        self._rows[trial.trial_id] = trial
        if known is None or known.status == "running":
            self._ended.append(trial)
        before, _ = self._shares.get(trial.trial_id, (0.0, 0.0))
        self._shares[trial.trial_id] = (before, 1.0)
        self._step_ended.add(trial.backbone if self._step == PROBE else trial.trial_id)
        return self._best(trial.backbone) is trial

    def tallies(self) -> list[Tally]:
        """Every backbone so far."""
        rows = list(self._rows.values())  # at once: another thread may be told of a trial
        names = self._study.backbones if self._study else dict.fromkeys(row.backbone for row in rows)
        return [self._tally(name, rows) for name in names]

    def counts(self, backbone: str) -> str:
        """`3/8`: how many of a backbone's trials are over, of how many; without the latter where it is not known."""
        tally = self._tally(backbone, list(self._rows.values()))
        return f"{tally.ended}/{tally.wanted}" if tally.wanted else str(tally.ended)

    def finals(self) -> str:
        """`3/18`: the same of final models, all backbones together."""
        ended = sum(row.stage == CONFIRM and row.status != "running" for row in list(self._rows.values()))
        total = ended + self._left()
        return f"{ended}/{total}" if self._step in (CONFIRM, DESIGN) else str(ended)

    @property
    def total(self) -> int:
        """How many trials the step under way has, those of an earlier run included."""
        if self._step == SEARCH:
            return sum(tally.wanted for tally in self.tallies())
        return self._step_left

    def left_seconds(self) -> float | None:
        """For the step under way, at its pace so far; None where nothing is known of it.

        That is before a whole trial's work is done, and while backbones are probed: they differ in price, and are too
        few for a pace.
        """
        left = self._left()
        work = sum(now - before for before, now in list(self._shares.values()))
        if self._step not in (SEARCH, CONFIRM, DESIGN) or work < 1 or left == 0:
            return None
        under_way = sum(now for name, (_, now) in list(self._shares.items()) if now < 1)
        seconds = (time.monotonic() - self._step_begin) / work * max(0.0, left - under_way)
        limit = self._limit_seconds()
        return seconds if limit is None or self._step != SEARCH else min(seconds, limit)

    def time_left(self) -> str:
        """`; about 2 min of search left`, or nothing."""
        seconds = self.left_seconds()
        what = " of search" if self._step == SEARCH else ""
        return f"; about {time_text(seconds)}{what} left" if seconds is not None else ""

    def sentence(self) -> str:
        """Where the study is, what is known of the time left, and what comes then."""
        parts = [f"{self._where()}{self._about()}", *self._then()]
        if self._study and self._study.time_limit_seconds is not None:
            rest = self._study.time_limit_seconds - self.seconds
            parts.append(f"{time_text(rest)} of --time left" if rest > 0 else "--time is used up")
        if self._study and self._study.budget_hours is not None:
            hours = sum(row.worker_seconds or 0.0 for row in list(self._rows.values())) / HOUR_SECONDS
            parts.append(f"{amount(hours)} of {self._study.budget_hours:g} worker-hours used")
        return "; ".join(parts)

    def _where(self) -> str:
        if self._step == PROBE:
            return f"probing, {len(self._step_ended)} of {self._step_left} backbones"
        if self._step == SEARCH:
            ended = sum(tally.ended for tally in self.tallies())
            return f"searching, {ended} of {self.total} trials"
        if self._step in (CONFIRM, DESIGN):
            over, total = self.finals().split("/")
            return f"{'runs' if self._step == DESIGN else 'confirming'}, {over} of {total}"
        return "writing models and report" if self._step == REPORT else "getting ready"

    def _about(self) -> str:
        seconds = self.left_seconds()
        return f", about {time_text(seconds)} left" if seconds is not None else ""

    def _then(self) -> list[str]:
        """The steps to come, each with the most tasks that it can have."""
        study = self._study
        if study is None or study.design or self._step not in ("", PROBE, SEARCH):
            return []
        finals = f"then up to {len(study.backbones) * ROLES * study.confirm_seeds * study.splits} final models"
        trials = f"then {study.trials * len(study.backbones)} trials"
        steps = {"": [trials, finals], PROBE: [trials, finals], SEARCH: [finals]}[self._step]
        return ["then probing", *steps] if not self._step and study.policy == LADDER else steps

    def _limit_seconds(self) -> float | None:
        """Of the time that the search may take, what is left."""
        limit = self._study.search_seconds if self._study else None
        return None if limit is None else max(0.0, limit - self.seconds)

    def _left(self) -> int:
        """Tasks of the step under way that are not over."""
        if self._step == SEARCH:
            return sum(max(0, tally.wanted - tally.ended) for tally in self.tallies())
        return max(0, self._step_left - len(self._step_ended))

    @property
    def _each(self) -> int:
        """Trials, or a design's runs, of each backbone; 0 where it is not known."""
        if self._study is None:
            return 0
        cells = len(cells_of(self._study.design)) * self._study.confirm_seeds * self._study.splits
        return cells or self._study.trials

    def _tally(self, backbone: str, rows: Sequence[TrialRow]) -> Tally:
        own = [row.status for row in rows if row.backbone == backbone and row.stage == self._counted]
        running, bad = own.count("running"), sum(own.count(status) for status in SCORELESS)
        done, stopped = own.count("completed"), own.count("stopped")
        wanted = max(self._each - self._left_out.get(backbone, 0), len(own))
        best, curve = self._best(backbone), tuple(self._curve(backbone))
        return Tally(backbone, wanted if self._study else 0, running, done, stopped, bad, best, curve)

    def _ranked(self, backbone: str) -> list[TrialRow]:
        """Trials with a figure, in the order in which they ended: the best head first, then those of the search."""
        own = [row for row in list(self._ended) if row.backbone == backbone]
        heads = [] if self.is_design else ranked([row for row in own if row.stage == PROBE], self._metric)[:1]
        counted = [row for row in own if row.stage == self._counted and is_ranked(row, self._metric)]
        return [*(row for row in heads if self._metric.measured(row)), *counted]

    def _best(self, backbone: str) -> TrialRow | None:
        return min(self._ranked(backbone), key=self._metric.key, default=None)

    def _curve(self, backbone: str) -> list[float]:
        """The best figure after each of them."""
        curve: list[float] = []
        best: TrialRow | None = None
        for row in self._ranked(backbone):
            best = row if best is None or self._metric.key(row) < self._metric.key(best) else best
            curve.append(float(getattr(best, self._metric.name)))
        return curve
