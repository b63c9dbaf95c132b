"""The stages of a study, one after another in one Tune experiment, so that the workers of the first serve the last.

A process that has imported torch and Ray, opened the pictures and read the weights has cost ten seconds on a slow
machine, a group of them four times that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from ray.tune.search import Searcher as TuneSearcher

from raytl.on_ray.job import Done, Job, Report, Task
from raytl.on_ray.live import Live
from raytl.results.schemas import TrialRow


class Stage(ABC):
    """Gives tasks to free workers and hears what became of them."""

    @abstractmethod
    def next(self) -> Task | None:
        """The next task; None where there is none, or none before one of those that are being done has ended."""

    def trial_ended(self, trial: TrialRow, report: Report | None) -> None:  # noqa: B027  # a stage may have no trials
        """A trial is over and recorded; `report` is the last that came of it."""

    def chore_ended(self, done: Done) -> None:  # noqa: B027  # a stage may have no chores
        """A chore is over."""


class Stages(Live, TuneSearcher):
    """Tune's searcher over all stages. A stage is over, and the next is made, when it has no task and none is open."""

    def __init__(self, stages: Iterable[Callable[[], Stage]]) -> None:
        super().__init__(metric=None, mode=None)
        self._left = iter(stages)
        self._stage: Stage | None = self._following()
        self._open: set[str] = set()

    def suggest(self, trial_id: str) -> Any:
        """The next task as Tune's configuration, or None where it has to be waited for."""
        while self._stage is not None:
            task = self._stage.next()
            if task is not None:
                self._open.add(trial_id)
                return configuration(task)
            if self._open:
                return None
            self._stage = self._following()
        return TuneSearcher.FINISHED

    def trial_ended(self, trial: TrialRow, report: Report | None) -> None:
        """Tells the stage, from the record."""
        if self._stage is not None:
            self._stage.trial_ended(trial, report)

    def chore_ended(self, done: Done) -> None:
        """Tells the stage."""
        if self._stage is not None:
            self._stage.chore_ended(done)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """One task less is open. What became of it the record tells, since Tune does not say how a trial ended."""
        self._open.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Writes nothing: the ledger holds what was tried and measured."""

    def restore(self, checkpoint_path: str) -> None:
        """Reads nothing, see `save`."""

    def _following(self) -> Stage | None:
        make = next(self._left, None)
        return make() if make is not None else None


def configuration(task: Task) -> dict[str, Any]:
    """A trial's configuration as Tune carries it: the task, whole."""
    return {"task": task}


def task_of(trial: Any) -> Task:
    """The task of a Tune trial."""
    task: Task = trial.config["task"]
    return task


def job_of(trial: Any) -> Job:
    """The job of a Tune trial that is not a chore's."""
    job = task_of(trial)
    assert isinstance(job, Job), f"{job} is no trial's"
    return job
