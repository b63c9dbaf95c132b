"""A group of workers: what it asks for, how it goes through its tasks, and what its trial sees when it dies.

What a group computes is held against one worker in `test_ddp_equality.py`; whole studies of groups run in
`test_driver.py`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from ray import train

from raytl.data.album import Album
from raytl.errors import ConfigError, StorageError
from raytl.on_ray import ddp
from raytl.on_ray.ddp import SLIVER, WAITING, Group, GroupTrial, group_resources, serve
from raytl.on_ray.job import UNWRITABLE, Done, Job, Report, Task, Workplace
from raytl.on_ray.mailbox import Mailbox
from raytl.on_ray.results import REPORT
from raytl.on_ray.stages import configuration
from raytl.on_ray.work import pictures_of
from tests.plans import BASE, make_album, make_workplace
from tests.test_warm import Errand

GROUP = Group(workers=1, cpus_per_worker=1, use_gpu=False, peer_timeout_seconds=60)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


def job(name: str, **values: Any) -> Job:
    return Job(name, "search", "searcher", replace(BASE, **{"epochs": 3, **values}))


@pytest.mark.parametrize("use_gpu", [False, True])
def test_a_group_and_its_waiting_actor_fit_into_their_share(use_gpu: bool) -> None:
    group = Group(workers=2, cpus_per_worker=3, use_gpu=use_gpu, peer_timeout_seconds=60)
    scaling = group.scaling()
    each = scaling.resources_per_worker
    assert isinstance(each, dict) and scaling.num_workers == 2
    assert scaling.placement_strategy == "PACK", "on several machines only where none has room for all"
    assert each == {"CPU": 3 - SLIVER, **({"GPU": 1.0} if use_gpu else {})}
    waiting = group_resources().required_resources
    assert waiting == {"CPU": WAITING}
    assert 2 * (3 - SLIVER) + SLIVER <= 2 * 3
    assert 100 * WAITING <= SLIVER, "a hundred waiting actors on one machine leave room for a worker of its size"


class Loop:
    """Where mailboxes live: a thread with an event loop, in the place of an actor's process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def handle(self) -> Any:
        """A mailbox as Ray would give it: each method has a `remote`, whose answer is fetched with `get`."""
        box = Mailbox()
        names = ("give", "take", "alive", "arrive", "put", "ask", "goes_on")
        return SimpleNamespace(**{name: SimpleNamespace(remote=self._remote(getattr(box, name))) for name in names})

    def _remote(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *words: asyncio.run_coroutine_threadsafe(method(*words), self.loop)

    def close(self) -> None:
        """Ends the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


@dataclass
class Trainers:
    """Ray Train with one worker, in a thread of this process; `began` holds what each was made with."""

    began: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, loop: Callable[[dict[str, Any]], None], *, train_loop_config: Any, **words: Any) -> Any:
        self.began.append(words)
        return SimpleNamespace(fit=lambda: loop(train_loop_config))


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainers]:
    loop, made = Loop(), Trainers()
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(ray, "get", lambda answer: answer.result(60))
    monkeypatch.setattr(train, "get_context", lambda: context)
    monkeypatch.setattr(ddp, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(ddp, "RemoteMailbox", SimpleNamespace(remote=loop.handle))
    monkeypatch.setattr(ddp, "TorchTrainer", made)
    monkeypatch.setattr(ddp, "LOOK_SECONDS", 0.05)
    yield made
    loop.close()


def begin(task: Task, workplace: Workplace) -> GroupTrial:
    trial = object.__new__(GroupTrial)
    trial.setup(configuration(task), workplace, GROUP, workplace.checkpoints)
    return trial


def epochs(trial: GroupTrial, most: int = 10) -> list[int]:
    """The epochs of the trial's reports until it is done or `most` have come."""
    seen: list[int] = []
    while len(seen) < most:
        result = trial.step()
        seen.append(result["epoch"])
        if result["done"]:
            break
    return seen


def test_one_group_goes_through_all_tasks_and_leaves_each_where_it_is_told(
    album: Album, tmp_path: Path, trainers: Trainers
) -> None:
    trial = begin(job("whole"), make_workplace((album,), tmp_path))
    assert epochs(trial) == [1, 2, 3]
    trial.reset_config(configuration(job("left")))
    assert epochs(trial, most=1) == [1]
    trial.reset_config(configuration(Errand()))
    assert trial.step() == {REPORT: Done(Errand(), 1), "done": True}
    trial.reset_config(configuration(job("last")))
    assert epochs(trial) == [1, 2, 3]
    trial.cleanup()
    assert trial._standing is not None and not trial._standing._thread.is_alive()
    assert len(trainers.began) == 1 and trainers.began[0]["run_config"].storage_path == str(tmp_path / "checkpoints")
    retries = trainers.began[0]["run_config"].failure_config
    assert retries.max_failures == retries.max_preemption_failures == 0, "a group is begun again by its trial alone"
    kept = [path.name for path in (tmp_path / "checkpoints" / "left").iterdir() if "tensors" in path.name]
    assert kept and all("2" not in name for name in kept), "no epoch was trained that nobody asked for"


@pytest.mark.parametrize(
    ("error", "ended"),
    [(ConfigError("lr=-1: must be positive"), "failed"), (StorageError("disk: full, 5 bytes needed"), UNWRITABLE)],
)
def test_what_a_person_must_mend_is_reported_and_the_next_task_gets_a_new_group(
    album: Album, tmp_path: Path, trainers: Trainers, monkeypatch: pytest.MonkeyPatch, error: Exception, ended: str
) -> None:
    def failing(*_: Any) -> Any:
        raise error
        yield

    with monkeypatch.context() as patch:
        patch.setattr("raytl.on_ray.warm.work", failing)
        trial = begin(job("bad"), make_workplace((album,), tmp_path))
        report: Report = trial.step()[REPORT]
        assert (report.row, report.ended, report.reason) == (None, ended, str(error))
    trial.reset_config(configuration(job("good", epochs=1)))
    assert epochs(trial) == [1] and len(trainers.began) == 2
    trial.cleanup()


def test_a_group_that_dies_fails_its_trial_with_its_own_words(
    album: Album, tmp_path: Path, trainers: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> Any:
        raise ZeroDivisionError("a worker died")
        yield

    monkeypatch.setattr("raytl.on_ray.warm.work", dying)
    trial = begin(job("t"), make_workplace((album,), tmp_path))
    with pytest.raises(ZeroDivisionError, match="a worker died"):
        trial.step()
    trial.cleanup()


def test_a_group_that_leaves_without_a_word_is_noticed(
    album: Album, tmp_path: Path, trainers: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddp, "serve", lambda config: None)
    trial = begin(job("t"), make_workplace((album,), tmp_path))
    with pytest.raises(RuntimeError, match="left before its task had ended"):
        trial.step()


def test_a_worker_that_is_not_the_first_trains_and_says_nothing(
    album: Album, tmp_path: Path, trainers: Trainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = SimpleNamespace(get_world_rank=lambda: 1, get_world_size=lambda: 2)
    monkeypatch.setattr(train, "get_context", lambda: context)
    seen: list[tuple[Task, int]] = []

    def noting(task: Task, workplace: Workplace, world: Any) -> Iterator[Report]:
        seen.append((task, world.rank))
        return iter(())

    monkeypatch.setattr("raytl.on_ray.warm.reports_of", noting)
    put, arrived, beats = list[Any](), list[tuple[int, int, int, float]](), list[int]()
    tasks = iter([(1, job("a")), (2, Errand()), (3, None)])
    now = SimpleNamespace(result=lambda _: next(tasks))

    def slowly(*words: Any) -> Any:
        limit = time.monotonic() + 30
        while len(beats) < 3 and time.monotonic() < limit:
            time.sleep(0.01)
        return pictures_of(*words)

    def arrive(number: int, worker: int, workers: int, seconds: float) -> Any:
        count = len(beats)
        time.sleep(0.2)
        assert len(beats) == count >= 3, "signs of life come while pictures are decoded, and then no more"
        assert not seen, "pictures are decoded before peers wait for each other"
        assert any((tmp_path / "cache").glob("pixels-*/pixels.bin"))
        return SimpleNamespace(result=lambda _: arrived.append((number, worker, workers, seconds)))

    monkeypatch.setattr("raytl.on_ray.work.pictures_of", slowly)
    monkeypatch.setattr(ddp, "BEAT_SECONDS", 0.02)

    box = SimpleNamespace(
        take=SimpleNamespace(remote=lambda after: now),
        alive=SimpleNamespace(remote=beats.append),
        arrive=SimpleNamespace(remote=arrive),
        put=SimpleNamespace(remote=put.append),
    )
    serve({"box": box, "workplace": make_workplace((album,), tmp_path)})
    assert seen == [(job("a"), 1), (Errand(), 1)] and not put and set(beats) == {1}
    assert arrived == [(1, 1, 2, Workplace.peer_timeout_seconds)]
