"""Trials of several workers: a group under Ray Train that takes up one task after another.

The actor that Tune sees holds next to nothing; it starts a `TorchTrainer` whose loop fetches tasks from a mailbox. So
a process group and nine seconds of imports per worker are paid once for a study: measured, 35 to 50 seconds on two
cores, more than a typical trial takes. The group leaves its loop by itself: Ray keeps the placement group of a trainer
that is torn down from outside, and the next one then waits for ever.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device
from ray.tune import PlacementGroupFactory

from raytl.on_ray.interface import ReachableTorchConfig
from raytl.on_ray.job import UNWRITABLE, Done, Job, Report, Task, Workplace
from raytl.on_ray.mailbox import RemoteMailbox
from raytl.on_ray.trial import TaskTrial

SLIVER = 0.01  # chosen: what each worker leaves for actors that only wait for their workers, also those of other groups
WAITING = 0.0001  # what such an actor asks for: the least that Ray counts; Tune refuses 0 alone
LOOK_SECONDS = 1.0  # chosen: how often a trial that waits for a report looks whether its group still lives
BEAT_SECONDS = 10.0  # chosen: how often a worker that decodes says so; of the five minutes that peers wait
GOODBYE_SECONDS = 8.0  # chosen: Tune kills an actor that has not ended ten seconds after it was told to


@dataclass(frozen=True)
class Group:
    """How many workers, what each of them holds, and how long they wait for one of them that has frozen."""

    workers: int
    cpus_per_worker: float
    use_gpu: bool
    peer_timeout_seconds: float

    def scaling(self) -> ScalingConfig:
        """Ray Train's form of it. Each worker leaves a sliver, or the waiting actors would not fit beside them.

        All of a search may be placed on one machine, before any worker is: a sliver has room for a hundred of them.
        Workers lie on one machine where one has room for all of them, else on several.
        """
        resources = {"CPU": self.cpus_per_worker - SLIVER, **({"GPU": 1.0} if self.use_gpu else {})}
        return ScalingConfig(
            num_workers=self.workers,
            use_gpu=self.use_gpu,
            resources_per_worker=resources,
            placement_strategy="PACK",
        )


def group_resources() -> PlacementGroupFactory:
    """What Tune sets aside for the waiting actor; the trainer asks for its workers' resources itself."""
    return PlacementGroupFactory([{"CPU": WAITING}])


class GroupTrial(TaskTrial):
    """Lets a group of workers train, and begins another one where that has died."""

    def setup(self, config: dict[str, Any], workplace: Workplace, group: Group, runs: Path) -> None:  # type: ignore[override]
        """Takes up the first task."""
        self._workplace, self._group, self._runs = workplace, group, runs
        self.metric = workplace.metric
        self._standing: StandingGroup | None = None
        self.take_up(config["task"])

    def take_up(self, task: Task) -> None:
        """Gives the group its next task."""
        if self._standing is None:
            self._standing = StandingGroup(self._workplace, self._group, self._runs)
        self._standing.give(task)

    def next_report(self) -> Report | Done:
        """Waits for the group's next report; raises what the group died of."""
        assert self._standing is not None, "a task was taken up"
        report = self._standing.next_report()
        if report.ended in ("failed", UNWRITABLE):  # a worker that reports this leaves, and its peers with it
            self._standing.close()
            self._standing = None
        return report

    def cleanup(self) -> None:
        """Sends the group home."""
        if self._standing is not None:
            self._standing.close()


class StandingGroup:
    """A `TorchTrainer` that runs in a thread of its own until it is sent home."""

    def __init__(self, workplace: Workplace, group: Group, runs: Path) -> None:
        self._box = RemoteMailbox.remote()
        self._count = 0
        self._error: Exception | None = None
        self._trainer = TorchTrainer(
            serve,
            train_loop_config={"box": self._box, "workplace": workplace},
            torch_config=ReachableTorchConfig(timeout_s=round(group.peer_timeout_seconds)),
            scaling_config=group.scaling(),
            run_config=RunConfig(
                name=f"group-{uuid.uuid4().hex[:12]}",
                storage_path=str(runs),
                # Ray Train would begin a group again whose machine was taken away after a notice. Its trial does that
                # for every death alike: from the last recorded epoch, as another attempt.
                failure_config=FailureConfig(max_preemption_failures=0),  # type: ignore[call-arg]
            ),
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def give(self, task: Task | None) -> None:
        """Ends the task before and begins another; None sends the group home."""
        self._count = 0
        ray.get(self._box.give.remote(task))

    def next_report(self) -> Report | Done:
        """The next report on the task.

        Raises:
            Exception: what ended the group before it came.
        """
        self._count += 1
        while True:
            lives = self._thread.is_alive()
            report: Report | Done | None = ray.get(self._box.ask.remote(self._count, LOOK_SECONDS if lives else 0.0))
            if report is not None:
                return report
            if not lives:
                raise self._error or RuntimeError("the group of workers left before its task had ended")

    def close(self) -> None:
        """Sends the group home and waits for it a little."""
        self.give(None)
        self._thread.join(GOODBYE_SECONDS)

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:
            self._error = error  # raised where a report is waited for


def serve(config: dict[str, Any]) -> None:
    """What each worker of a group does: one task after another, each until it has ended or the trial wants no more."""
    # Imported here: the processes that only start and watch this one need neither timm nor the loop.
    from raytl.errors import RaytlError
    from raytl.on_ray.warm import failure, reports_of
    from raytl.on_ray.work import pictures_of
    from raytl.train.world import World

    box, workplace = config["box"], config["workplace"]
    context = train.get_context()
    world = World(context.get_world_rank(), context.get_world_size(), get_device())
    for number, task in _tasks(box):
        try:
            if isinstance(task, Job):  # a machine that is new decodes first, which may take longer than peers wait
                with _alive(box, world.rank, workplace.peer_timeout_seconds):
                    pictures_of(task, workplace)
                ray.get(box.arrive.remote(number, world.rank, world.size, workplace.peer_timeout_seconds))
            for count, report in enumerate(reports_of(task, workplace, world), 1):
                if world.is_main:
                    ray.get(box.put.remote(number, report))
                if report.ended is None and not ray.get(box.goes_on.remote(number, count)):
                    break
        except RaytlError as error:
            ray.get(box.put.remote(number, failure(task, error)))
            raise


@contextmanager
def _alive(box: Any, worker: int, seconds: float) -> Iterator[None]:
    """Within the block, a thread tells the mailbox several times in `seconds` that this process does not stand still.

    It tells nothing of how far the block has come: reading from a disk that hangs counts as alive.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(min(BEAT_SECONDS, seconds / 4)):
            box.alive.remote(worker)

    thread = threading.Thread(target=beat, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _tasks(box: Any) -> Iterator[tuple[int, Task]]:
    number, task = ray.get(box.take.remote(0))
    while task is not None:
        yield number, task
        number, task = ray.get(box.take.remote(number))
