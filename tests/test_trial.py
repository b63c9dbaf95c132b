"""What Tune sees of whoever does tasks: steps, the last of which is done, and no checkpoint of Tune's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from raytl.on_ray.job import Done, Job, Report, Task
from raytl.on_ray.results import REPORT, as_result
from raytl.on_ray.stages import configuration
from raytl.on_ray.trial import TaskTrial
from tests.plans import BASE, make_report
from tests.test_warm import Errand

JOB = Job("t", "search", "searcher", BASE)


class Talker(TaskTrial):
    """Says what a task of two epochs would be told."""

    metric = "val_loss"

    def take_up(self, task: Task) -> None:
        self._reports = self._said(task)

    def next_report(self) -> Report | Done:
        return next(self._reports)

    def _said(self, task: Task) -> Iterator[Report | Done]:
        if not isinstance(task, Job):
            yield Done(task)
            return
        yield make_report(task, 1)
        yield make_report(task, 2, ended="completed")


def test_a_step_is_a_report_in_the_metric_of_the_study(tmp_path: Path) -> None:
    trial: Talker = object.__new__(Talker)
    trial.take_up(JOB)
    results = [trial.step(), trial.step()]
    assert results == [as_result(make_report(JOB, 1), "val_loss"), as_result(results[1][REPORT], "val_loss")]
    assert [result["done"] for result in results] == [False, True] and results[0]["score"] == -0.5
    assert trial.reset_config(configuration(Errand())) is True
    assert trial.step() == {REPORT: Done(Errand()), "done": True}
    trial.save_checkpoint(str(tmp_path / "tune"))
    trial.load_checkpoint(None)
    assert list(tmp_path.iterdir()) == []
