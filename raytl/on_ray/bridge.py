"""Between Tune and the record: every result goes to the ledger before anything is decided on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import TrialScheduler

from raytl.errors import StorageError
from raytl.identity import recipe_hash
from raytl.on_ray.actors import Idleness, keep_actors, waits_for_place
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.earlier import end_earlier
from raytl.on_ray.fleet import NO_FLEET, Fleet
from raytl.on_ray.job import UNWRITABLE, Done, Job, Report
from raytl.on_ray.live import Live
from raytl.on_ray.plan import Plan
from raytl.on_ray.results import REPORT
from raytl.on_ray.schedulers import BackboneSchedulers
from raytl.on_ray.stages import configuration, job_of, task_of
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
        self._last[report.job.trial_id] = report
        self._waited.setdefault(report.job.trial_id, {})[report.job.attempt] = report.waited_seconds
        if report.row is not None:
            self._recorder.epoch(report.row)
            if report.weights:
                self._recorder.board.histograms(report.job.trial_id, report.row.epoch, report.weights)

    def end(self, job: Job, error: str | None = None) -> None:
        """Records how a job ended, `error` being what its worker said; a second call for the same job does nothing.

        One that was never begun leaves nothing, unless an earlier run of the study began it.
        """
        if job.trial_id not in self._open:
            self._end_unbegun(self._recorder.trials.get(job.trial_id))
            return
        self._open.remove(job.trial_id)
        report = self._last.pop(job.trial_id, None)
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


class TuneEvents(Live, Callback):
    """Tune's events: those about trials go to the record, what became of a chore to `on_chore`."""

    def __init__(self, bridge: Bridge, on_chore: Callable[[Done], None]) -> None:
        self._bridge, self._on_chore = bridge, on_chore
        self._begun: set[str] = set()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A task got its actor."""
        self._begin(trial)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """A report without an epoch, which Tune does not show to the scheduler."""
        report = result[REPORT]
        if isinstance(report, Done):
            self._on_chore(report)
        elif report.row is None:
            self._bridge.take(report)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A task is over, by itself or by the scheduler."""
        if isinstance(task_of(trial), Job):
            self._bridge.end(job_of(trial))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A task's worker raised or died, and Tune begins it again: a trial from its last recorded epoch."""
        if isinstance(task_of(trial), Job):
            trial.config = {**trial.config, **configuration(self._bridge.again(job_of(trial)))}

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A task's worker raised or died once too often, perhaps before it had begun."""
        task, error = task_of(trial), trial.get_error() or "the worker died"
        if not isinstance(task, Job):
            self._on_chore(Done(task, reason=sentence(error)))
            return
        self._begin(trial)
        self._bridge.end(task, error)

    def _begin(self, trial: Any) -> None:
        if isinstance(task_of(trial), Job) and trial.trial_id not in self._begun:
            self._begun.add(trial.trial_id)
            self._bridge.start(job_of(trial), trial.trial_id)


class StudyScheduler(Live, BackboneSchedulers):
    """The backbones' schedulers under a deadline. Trials of the search are compared; final models are recorded only."""

    def __init__(
        self,
        make_child: Callable[[], TrialScheduler],
        bridge: Bridge,
        per_backbone: bool,
        workers_kept: int = 0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        super().__init__(
            make_child,
            record=lambda trial, result: bridge.take(result[REPORT]),
            backbone_of=lambda trial: task_of(trial).backbone,
            name_of=lambda trial: job_of(trial).trial_id,
            per_backbone=per_backbone,
            is_compared=lambda trial: isinstance(task := task_of(trial), Job) and task.stage == SEARCH,
        )
        self._bridge, self._workers_kept, self._idleness = bridge, workers_kept, Idleness(say)

    def replay(self, recorder: Recorder) -> None:
        """Takes up the search epochs that an earlier run recorded, in the order in which it did.

        A trial that was told to stop, but of which that was not recorded any more, ends now.
        """
        is_over = self._bridge.deadline.passed
        for row in recorder.earlier_epochs:
            trial = recorder.trials[row.trial_id]
            if trial.stage != SEARCH:
                continue
            value = getattr(row, recorder.metric.name)
            score = value if recorder.metric.maximize else -value
            answer = self.decide(trial.backbone, trial.trial_id, row.epoch, score)
            is_last = row.epoch == recorder.epochs[row.trial_id][-1].epoch < trial.recipe.epochs
            if (answer == TrialScheduler.STOP or is_over) and is_last and trial.status == "running":
                self._bridge.end_earlier(trial)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Introduces a trial; with the first of all, sees to it that workers live until the study's end."""
        if self._workers_kept:
            keep_actors(tune_controller, trial.placement_group_factory, self._workers_kept)
            self._workers_kept = 0
        super().on_trial_add(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Which trial is begun next. Trials of the search that have no machine when the deadline passes never begin."""
        live = tune_controller.get_live_trials()
        waiting = [trial for trial in live if waits_for_place(tune_controller, trial)]
        self._idleness.look(len(live), len(waiting))
        late = [trial for trial in waiting if self._is_compared(trial)]
        if late and self._bridge.deadline.passed:
            for trial in late:
                tune_controller.stop_trial(trial)
        return super().choose_trial_to_run(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Records the result and decides."""
        answer = super().on_trial_result(tune_controller, trial, result)
        over = self._bridge.deadline.passed and self._is_compared(trial)
        return TrialScheduler.STOP if over else answer


def sentence(error: str) -> str:
    """What the text of an error says below the worker's traceback, whose lines are indented, in one line."""
    lines = [line for line in error.splitlines() if line.strip() and not line.startswith("Failure # ")]
    said = list(takewhile(lambda line: not line[0].isspace(), reversed(lines)))
    return "; ".join(reversed(said)) or (lines[-1].strip() if lines else "the worker died")
