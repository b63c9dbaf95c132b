"""Between Tune and the record: every result goes to the ledger before anything is decided on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile

from raytl.errors import StorageError
from raytl.identity import recipe_hash
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.earlier import end_earlier
from raytl.on_ray.fleet import NO_FLEET, Fleet
from raytl.on_ray.job import UNWRITABLE, Job, Report
from raytl.on_ray.plan import Plan
from raytl.results.recorder import Ending, Recorder
from raytl.results.schemas import SEARCH, TrialRow

PREFERRED = "the scheduler preferred other trials"


class Bridge:
    """Turns what workers report into rows. `on_end` hears of every trial that is over, with its last report."""

    def __init__(
        self,
        plan: Plan,
        recorder: Recorder,
        workers: int,
        deadline: Deadline,
        on_end: Callable[[TrialRow, Report | None], None],
        fleet: Fleet = NO_FLEET,
    ) -> None:
        self._plan, self._recorder, self._workers, self._on_end = plan, recorder, workers, on_end
        self.deadline, self._fleet = deadline, fleet
        self._last: dict[str, Report] = {}
        self._attempts: dict[str, int] = {}
        self._waited: dict[str, dict[int, float]] = {}  # seconds of each attempt
        self._open: set[str] = set()
        self._error: Exception | None = None

    def start(self, job: Job, tune_trial_id: str) -> None:
        """Records that a job has begun."""
        self._open.add(job.trial_id)
        self._recorder.start(trial_row(self._plan, job, tune_trial_id, self._workers))

    def again(self, job: Job) -> Job:
        """The job as it goes on after its worker died: from its last recorded epoch."""
        self._attempts[job.trial_id] = job.attempt + 1
        recorded = len(self._recorder.epochs.get(job.trial_id, ()))
        return replace(job, recorded_epochs=recorded, attempt=job.attempt + 1)

    def take(self, report: Report) -> None:
        """Records what one report brought.

        Raises:
            StorageError: where the worker could not write. The study ends, and its trial stays one that goes on.
        """
        if report.ended == UNWRITABLE:
            raise StorageError(report.reason or "a worker could not write")
        self.hear(report)
        if report.row is not None:
            self._recorder.epoch(report.row)
            if report.weights:
                self._recorder.board.histograms(report.job.trial_id, report.row.epoch, report.weights)

    def hear(self, report: Report) -> None:
        """Takes note of what a worker says of its run; an epoch that is recorded already is not recorded again."""
        self._last[report.job.trial_id] = report
        self._waited.setdefault(report.job.trial_id, {})[report.job.attempt] = report.waited_seconds

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Keeps an error of the block for `raise_error`: where a trial ends, Tune takes errors for the trial's own."""
        try:
            yield
        except Exception as error:
            self._error = self._error or error
            raise

    def raise_error(self) -> None:
        """Raises the first error that was kept."""
        if self._error is not None:
            raise self._error

    def end(self, job: Job, error: str | None = None) -> None:
        """Records how a job ended, `error` being what its worker said; a second call for the same job does nothing.

        One that was never begun leaves nothing, unless an earlier run of the study began it. A trial of the search for
        which the deadline left no time to report anything keeps what was recorded of it before.
        """
        if job.trial_id not in self._open:
            self._end_unbegun(self._recorder.trials.get(job.trial_id))
            return
        self._open.remove(job.trial_id)
        report = self._last.pop(job.trial_id, None)
        if report is None and error is None and job.stage == SEARCH and self.deadline.passed:
            self._on_end(self.end_earlier(self._recorder.trials[job.trial_id]), None)
            return
        attempts = self._attempts.get(job.trial_id, job.attempt)
        waited = sum(self._waited.pop(job.trial_id, {}).values())
        ending = replace(
            self._ending(report, error), attempts=attempts, waited_seconds=waited, taken_over=self._taken_over(job)
        )
        trial = self._recorder.end(job.trial_id, ending)
        self._on_end(trial, report)

    def end_earlier(self, trial: TrialRow) -> TrialRow:
        """Records the end of a trial that an earlier run left under way, and that is not to go on."""
        why = self.deadline.why if self.deadline.passed else PREFERRED
        return end_earlier(self._recorder, trial, why, self._fleet.berth(""))

    def _end_unbegun(self, trial: TrialRow | None) -> None:
        if trial is not None and trial.status == "running":
            self._on_end(self.end_earlier(trial), None)

    def _taken_over(self, job: Job) -> str | None:
        """The job's twin, where the first recorded epoch is the twin's."""
        epochs, twin = self._recorder.epochs[job.trial_id], job.twin
        return twin.trial_id if twin and epochs and epochs[0].started_at == twin.epochs[0].started_at else None

    def _ending(self, report: Report | None, error: str | None) -> Ending:
        if report is None:
            berth = self._fleet.berth("")
            said = sentence(error or "the worker ended without a report")
            return Ending("failed", said, node_type=berth.node_type, node_share=berth.node_share)
        status, reason = report.ended, report.reason
        if error is not None:
            status, reason = "failed", sentence(error)
        elif status is None:
            when = f"after epoch {report.row.epoch}" if report.row else ""
            why = self.deadline.why if self.deadline.passed else PREFERRED
            status, reason = "stopped", f"{why} {when}".strip()
        elif status == "completed" and report.facts.notes:
            reason = "; ".join(report.facts.notes)
        facts = report.facts
        berth = self._fleet.berth(facts.node_id)
        return Ending(
            status,
            reason,
            facts.node,
            facts.precision or None,
            facts.peak_memory_bytes,
            facts.stored_bytes,
            node_type=berth.node_type,
            node_share=berth.node_share,
        )


def trial_row(plan: Plan, job: Job, tune_trial_id: str, workers: int) -> TrialRow:
    """The row of a job that begins now."""
    facts = plan.of(job.recipe.backbone).facts
    depth = job.recipe.freeze_depth
    return TrialRow(
        study=plan.study.name,
        trial_id=job.trial_id,
        recipe_hash=recipe_hash(job.recipe, plan.albums[job.split].fingerprint),
        tune_trial_id=tune_trial_id,
        stage=job.stage,
        backbone=job.recipe.backbone,
        status="running",
        started_at=datetime.now(UTC),
        freeze_depth=depth,
        frozen_fraction=facts.frozen_fractions[depth],
        trainable_parameters=facts.trainable_parameters[depth],
        parameters=facts.parameters,
        worker_count=workers,
        split=job.split,
        origin=job.role,
        recipe=job.recipe,
    )


def sentence(error: str) -> str:
    """What the text of an error says below the worker's traceback, whose lines are indented, in one line."""
    lines = [line for line in error.splitlines() if line.strip() and not line.startswith("Failure # ")]
    said = list(takewhile(lambda line: not line[0].isspace(), reversed(lines)))
    return "; ".join(reversed(said)) or (lines[-1].strip() if lines else "the worker died")
