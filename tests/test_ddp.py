"""A group of workers: what it asks for, how it waits for answers, and how it goes through its jobs.

What a group computes is held against one worker in `test_ddp_equality.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray import train

from raytl.data.album import Album
from raytl.on_ray import ddp
from raytl.on_ray.ddp import SLIVER, Decisions, Group, group_resources
from raytl.on_ray.job import Job, Report
from raytl.on_ray.results import REPORT
from tests.plans import BASE, make_album, make_report, make_workplace

JOB = Job("t", "search", "searcher", BASE)
PLAIN_DECISIONS: Any = Decisions.__ray_metadata__.modified_class  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("use_gpu", [False, True])
def test_a_group_and_its_waiting_function_fit_into_their_share(use_gpu: bool) -> None:
    group = Group(workers=2, cpus_per_worker=3, use_gpu=use_gpu)
    scaling = group.scaling()
    each = scaling.resources_per_worker
    assert isinstance(each, dict) and scaling.num_workers == 2
    assert each == {"CPU": 3 - SLIVER, **({"GPU": 1.0} if use_gpu else {})}
    waiting = group_resources().required_resources
    assert waiting == {"CPU": SLIVER}
    assert 2 * (3 - SLIVER) + SLIVER <= 2 * 3


def test_an_answer_is_given_once_whether_it_comes_before_or_after_the_question() -> None:
    async def talk() -> list[Any]:
        decisions = PLAIN_DECISIONS()
        await decisions.post("a", 1, True)
        early = await decisions.wait("a", 1)
        waiting = [asyncio.create_task(decisions.wait(name, 2)) for name in ("a", "b")]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        await decisions.post("b", 2, True)
        await decisions.post("a", 2, False)
        late = [await asyncio.wait_for(task, 5) for task in waiting]
        assert decisions._stops == {}
        return [early, *late]

    assert asyncio.run(talk()) == [True, False, True]


class StubDecisions:
    """A handle that says stop after the given epoch."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.asked: list[tuple[str, int]] = []

    @property
    def wait(self) -> StubDecisions:
        return self

    def remote(self, trial_id: str, epoch: int) -> bool:
        self.asked.append((trial_id, epoch))
        return epoch >= self.last


def test_an_answer_is_waited_for_only_where_one_will_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    decisions = StubDecisions(last=2)
    going, last = make_report(JOB, 1), make_report(JOB, 2, ended="completed")
    diverged = replace(going, row=None, ended="diverged")
    assert not ddp._told_to_stop(going, None)
    assert [ddp._told_to_stop(each, decisions) for each in (going, last, diverged)] == [False] * 3
    assert decisions.asked == [("t", 1)]
    assert ddp._told_to_stop(make_report(JOB, 2), decisions)


@pytest.mark.parametrize(("stop_after", "epochs"), [(None, [1, 2, 3, 1, 2, 3]), (2, [1, 2, 1, 2])])
def test_a_group_goes_through_its_jobs_and_leaves_each_where_it_is_told(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int | None, epochs: list[int]
) -> None:
    class Context:
        """The only worker."""

        def get_world_rank(self) -> int:
            return 0

        def get_world_size(self) -> int:
            return 1

    reported: list[Report] = []
    monkeypatch.setattr(ray, "get", lambda answer: answer)
    monkeypatch.setattr(train, "get_context", Context)
    monkeypatch.setattr(ddp, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(train, "report", lambda result: reported.append(result[REPORT]))
    jobs = tuple(Job(name, "search", "searcher", replace(BASE, epochs=3)) for name in ("a", "b"))
    decisions = StubDecisions(stop_after) if stop_after else None
    ddp._worker({"jobs": jobs, "workplace": make_workplace((album,), tmp_path), "decisions": decisions})
    assert [report.row.epoch for report in reported if report.row] == epochs
    assert [report.job.trial_id for report in reported] == [name for name in "ab" for _ in range(len(epochs) // 2)]
    assert [report.ended for report in reported[:3]] == (
        [None, None, None] if stop_after else [None, None, "completed"]
    )


class Queue:
    """Ray's queue to Tune, which somebody else empties."""

    def __init__(self, left: int) -> None:
        self.left, self.looks = left, 0

    def empty(self) -> bool:
        self.looks += 1
        self.left -= 1
        return self.left < 0


def test_the_waiting_function_outlasts_the_last_report(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, slept = Queue(left=3), list[float]()
    session = SimpleNamespace(_get_or_create_inter_actor_queue=lambda: queue)
    monkeypatch.setattr(ddp, "get_session", lambda: session)
    monkeypatch.setattr("raytl.on_ray.ddp.time.sleep", slept.append)
    ddp._wait_until_taken()
    assert queue.looks == 4 and slept == [ddp.LOOK_SECONDS] * 3
