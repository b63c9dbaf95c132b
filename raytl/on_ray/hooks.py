"""What Tune calls: with each event of a trial, and to decide which trials go on. All of it goes to the record first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.schedulers import TrialScheduler

from raytl.on_ray.actors import Idleness, keep_actors, waits_for_place
from raytl.on_ray.bridge import Bridge, sentence
from raytl.on_ray.job import Done, Job, Report
from raytl.on_ray.live import Live
from raytl.on_ray.results import REPORT
from raytl.on_ray.schedulers import BackboneSchedulers
from raytl.on_ray.stages import configuration, job_of, task_of
from raytl.results.recorder import Recorder
from raytl.results.schemas import SEARCH


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
            with self._bridge.remembering():
                self._bridge.end(job_of(trial))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune has handled an event: an error of ours that it took for a trial's ends the study."""
        self._bridge.raise_error()

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
            trial = recorder.trials.get(row.trial_id)  # none where the ledger has lost the file that named it
            if trial is None or trial.stage != SEARCH:
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
        self._bridge.hear(result[REPORT])
        answer = super().on_trial_result(tune_controller, trial, result)
        over = self._bridge.deadline.passed and self._is_compared(trial)
        return TrialScheduler.STOP if over else answer

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Records a last result, which Tune shows here alone."""
        with self._bridge.remembering():
            if isinstance(report := result.get(REPORT), Report):
                self._bridge.hear(report)
            super().on_trial_complete(tune_controller, trial, result)
