"""Stages follow each other in one experiment: one begins when nothing of the one before is open any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
from ray.tune.search import Searcher as TuneSearcher

from raytl.on_ray.job import Done, Job, Report, Task
from raytl.on_ray.stages import Stage, Stages, configuration, job_of, task_of
from raytl.results.schemas import TrialRow
from tests.plans import BASE, TuneTrial
from tests.rows import trial_row
from tests.test_warm import Errand

FINISHED = TuneSearcher.FINISHED


def job(name: str) -> Job:
    return Job(name, "search", "searcher", BASE)


class Listed(Stage):
    """Hands out a list, the last of which needs all before to have ended."""

    def __init__(self, tasks: Sequence[Task], last: Task | None = None) -> None:
        self._left, self._last, self._open = deque(tasks), last, len(tasks)
        self.heard: list[object] = []

    def next(self) -> Task | None:
        if self._left:
            return self._left.popleft()
        last = self._last if self._open == 0 else None
        self._last = None if last else self._last
        return last

    def trial_ended(self, trial: TrialRow, report: Report | None) -> None:
        self._open -= 1
        self.heard.append(trial.trial_id)

    def chore_ended(self, done: Done) -> None:
        self._open -= 1
        self.heard.append(done.value)


class Tune:
    """Asks and tells as Tune does: of a task's end first the searcher hears, then the callbacks."""

    def __init__(self, stages: Stages) -> None:
        self.stages, self._asked = stages, 0

    def ask(self) -> Any:
        self._asked += 1
        answer = self.stages.suggest(f"tune{self._asked}")
        return answer if answer in (None, FINISHED) else (f"tune{self._asked}", answer["task"])

    def end(self, begun: tuple[str, Task]) -> None:
        name, task = begun
        self.stages.on_trial_complete(name)
        if isinstance(task, Job):
            self.stages.trial_ended(trial_row(trial_id=task.trial_id), None)
        else:
            self.stages.chore_ended(Done(task, name))


def test_a_stage_begins_when_the_one_before_is_over() -> None:
    first, second = Listed([Errand(), job("a")], last=job("b")), Listed([job("c")])
    made: list[Stage] = []

    def begin(stage: Stage) -> Stage:
        made.append(stage)
        return stage

    tune = Tune(Stages([lambda: begin(first), lambda: begin(second)]))
    chore, a = tune.ask(), tune.ask()
    assert (chore[1], a[1]) == (Errand(), job("a"))
    assert tune.ask() is None, "the stage waits for what is open"
    tune.end(a)
    assert tune.ask() is None and made == [first]
    tune.end(chore)
    b = tune.ask()
    assert b[1] == job("b") and tune.ask() is None
    tune.end(b)
    assert first.heard == ["a", chore[0], "b"] and made == [first]
    c = tune.ask()
    assert c[1] == job("c") and made == [first, second]
    assert tune.ask() is None, "a stage that is open is not the last word"
    tune.end(c)
    assert tune.ask() == FINISHED == tune.ask()
    assert second.heard == ["c"]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_stages_without_a_task_are_passed_over(count: int) -> None:
    assert Tune(Stages([lambda: Listed([]) for _ in range(count)])).ask() == FINISHED


def test_a_configuration_carries_the_task_whole() -> None:
    assert task_of(TuneTrial(configuration(Errand()))) == Errand()
    assert job_of(TuneTrial(configuration(job("a")))) == job("a")
    with pytest.raises(AssertionError, match="is no trial's"):
        job_of(TuneTrial(configuration(Errand())))
