"""A group of workers under Ray Train: trials and final models with several workers.

Tune runs `train_group`, which holds next to nothing itself and starts a `TorchTrainer`. The group works through a list
of jobs, so that a process group and nine seconds of imports per worker are paid once for all final models. A trial
that is to stop early is left by its own loop: Ray keeps the placement group of a trainer that is torn down from
outside, and the next trial then waits for ever.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import train
from ray.train import RunConfig, ScalingConfig
from ray.train._internal.session import get_session
from ray.train.torch import TorchTrainer, get_device
from ray.tune import PlacementGroupFactory
from ray.tune.integration.ray_train import TuneReportCallback

from raytl.on_ray.job import Job, Report, Workplace
from raytl.on_ray.results import as_result

# Ray Train takes up one report of a group per look at it, by default every two seconds: measured, a final model of nine
# epochs took 18 seconds whatever its epochs took.
LOOK_SECONDS = 0.1
SLIVER = 0.01  # chosen: the function that only waits for its workers; Tune refuses 0 alone


@dataclass(frozen=True)
class Group:
    """How many workers, and what each of them holds."""

    workers: int
    cpus_per_worker: float
    use_gpu: bool

    def scaling(self) -> ScalingConfig:
        """Ray Train's form of it. Each worker leaves a sliver, or the waiting function would not fit beside them."""
        resources = {"CPU": self.cpus_per_worker - SLIVER, **({"GPU": 1.0} if self.use_gpu else {})}
        return ScalingConfig(num_workers=self.workers, use_gpu=self.use_gpu, resources_per_worker=resources)


@ray.remote(num_cpus=0)
class Decisions:
    """Where the driver answers, after each epoch, whether a group goes on; the group waits for the answer."""

    def __init__(self) -> None:
        self._stops: dict[tuple[str, int], bool] = {}
        self._arrived = asyncio.Condition()

    async def post(self, trial_id: str, epoch: int, stop: bool) -> None:
        """The driver's answer on one epoch."""
        async with self._arrived:
            self._stops[trial_id, epoch] = stop
            self._arrived.notify_all()

    async def wait(self, trial_id: str, epoch: int) -> bool:
        """The answer on one epoch, as soon as there is one."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: (trial_id, epoch) in self._stops)
            return self._stops.pop((trial_id, epoch))


def group_resources() -> PlacementGroupFactory:
    """What Tune sets aside for the waiting function; the trainer asks for its workers' resources itself."""
    return PlacementGroupFactory([{"CPU": SLIVER}])


def train_group(config: dict[str, Any], workplace: Workplace, group: Group, runs: Path, decisions: Any) -> None:
    """Tune's function: trains `config["jobs"]` one after another in one group of workers."""
    jobs: tuple[Job, ...] = config["jobs"]
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(LOOK_SECONDS))  # passed on to controller and workers
    callbacks: list[Any] = [TuneReportCallback()]  # the class is not declared as the callback that it is
    TorchTrainer(
        _worker,
        train_loop_config={"jobs": jobs, "workplace": workplace, "decisions": decisions},
        scaling_config=group.scaling(),
        run_config=RunConfig(name=config["name"], storage_path=str(runs), callbacks=callbacks),
    ).fit()
    _wait_until_taken()


def _wait_until_taken() -> None:
    """Waits until Tune has the group's last report: a function that returns before loses what is still in the queue."""
    session = get_session()
    assert session is not None, "runs inside a Tune trial"
    reports = session._get_or_create_inter_actor_queue()
    while not reports.empty():
        time.sleep(LOOK_SECONDS)


def _worker(config: dict[str, Any]) -> None:
    # Imported here: the processes that only start and watch this one need neither timm nor the loop.
    from raytl.on_ray.work import stop_together, work
    from raytl.train.world import World

    workplace: Workplace = config["workplace"]
    context = train.get_context()
    world = World(context.get_world_rank(), context.get_world_size(), get_device())
    for job in config["jobs"]:
        for report in work(job, workplace, world):
            train.report(as_result(report, workplace.metric))
            stop = world.is_main and _told_to_stop(report, config["decisions"])
            if stop_together(stop, world):
                break


def _told_to_stop(report: Report, decisions: Any) -> bool:
    if decisions is None or report.ended or report.row is None:
        return False
    return bool(ray.get(decisions.wait.remote(report.job.trial_id, report.row.epoch)))
