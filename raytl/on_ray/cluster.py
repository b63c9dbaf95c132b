"""The machine or cluster a study runs on: started or joined, counted, and divided into slots for trials."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from raytl.errors import MachineError
from raytl.on_ray.reaper import reaped
from raytl.stops import unchanged

# Read by Ray when it is started or imported: no pickled logs of its own beside our tables, no advice on the console.
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune would return as if it had ended; what stops a study is in `stops`
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
}

# Measured: 1.0 GB after importing torch, torchvision, timm and ray; half as much again.
MEMORY_PER_WORKER_BYTES = 1_500_000_000
WORKERS_ON_REQUEST = (
    "a cluster that starts its workers on request has none yet: set `min_workers` of a worker type to 1 or more in "
    "cluster.yaml, `ray up` it, wait until `ray status` shows the worker, then type the command again"
)
TOKEN = (
    "where the cluster asks for a token, set RAY_AUTH_MODE=token and give the token in RAY_AUTH_TOKEN, "
    "RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
)


@dataclass(frozen=True)
class Node:
    """What one machine gives to trials."""

    cpus: int
    gpus: int

    def places(self, cpus_per_worker: int, use_gpu: bool) -> int:
        """How many workers find room on it: a worker cannot be spread over machines."""
        by_cpus = self.cpus // cpus_per_worker
        return min(by_cpus, self.gpus) if use_gpu else by_cpus


@dataclass(frozen=True)
class Resources:
    """What a cluster has, machine by machine, and its memory in all."""

    nodes: tuple[Node, ...]
    memory_bytes: int

    @property
    def cpus(self) -> int:
        """Processors in all."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return sum(node.gpus for node in self.nodes)

    def places(self, cpus_per_worker: int) -> int:
        """How many workers there is room for, each with a GPU where there are any."""
        return sum(node.places(cpus_per_worker, self.gpus > 0) for node in self.nodes)


@dataclass(frozen=True)
class Slots:
    """How trials share a cluster: `count` of them at a time, each with `workers`, each worker with its own share."""

    count: int
    workers: int
    cpus_per_worker: int
    use_gpu: bool

    def describe(self) -> str:
        """One line for the log."""
        device = "1 GPU and " if self.use_gpu else ""
        plural = "s" if self.workers > 1 else ""
        return (
            f"{self.count} trial{'s' if self.count > 1 else ''} at a time, {self.workers} worker{plural} each, "
            f"{device}{self.cpus_per_worker} CPU{'s' if self.cpus_per_worker > 1 else ''} per worker"
        )


def divide(resources: Resources, workers: int, most: int) -> Slots:
    """As many slots as processors, GPUs and memory allow, at most `most` (the number of trials there are).

    A worker gets one GPU where there are any, and as many processors as leave room for all workers.

    Raises:
        MachineError: where not even one trial fits; Ray would wait for ever.
    """
    room = resources.places(1)
    if workers > room:
        raise MachineError(_no_room(resources, workers, room))
    by_memory = resources.memory_bytes // (MEMORY_PER_WORKER_BYTES * workers)
    count = max(1, min(room // workers, by_memory, most))
    wanted = count * workers
    cpus = next(share for share in range(resources.cpus // wanted, 0, -1) if resources.places(share) >= wanted)
    return Slots(count, workers, cpus, use_gpu=resources.gpus > 0)


def _no_room(resources: Resources, workers: int, room: int) -> str:
    there = f"{resources.cpus} CPUs and {resources.gpus} GPUs"
    if room == 0:
        return f"there are {there}, but a trial needs at least 1 CPU; {WORKERS_ON_REQUEST}"
    units = ["GPU", "CPU"] if resources.gpus else ["CPU"]
    each, total = (" and ".join(f"{count} {unit}{'s' * (count > 1)}" for unit in units) for count in (1, workers))
    return (
        f"workers_per_trial={workers}: {workers} workers x {each} = {total}, but there are {there}; "
        f"ask for at most {room} with --workers-per-trial, or join a larger cluster with --address"
    )


@contextmanager
def joined(address: str | None) -> Iterator[Resources]:
    """A running Ray for the time of the block: the one this process has, the one at `address`, or a new local one.

    Raises:
        MachineError: where no cluster answers at `address`, or it refuses us.
    """
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    if ray.is_initialized():
        yield _resources(ray.nodes())
        return
    with reaped() if address is None else nullcontext():
        with unchanged():  # Ray puts a handler of its own in the place of the one for SIGTERM
            _start(address)
        try:
            yield _resources(ray.nodes())
        finally:
            ray.shutdown()


def _resources(nodes: list[dict[str, Any]]) -> Resources:
    """What Ray says of its machines."""
    given = [node["Resources"] for node in nodes if node["Alive"]]
    return Resources(
        tuple(Node(int(each.get("CPU", 0)), int(each.get("GPU", 0))) for each in given),
        memory_bytes=int(sum(each.get("memory", 0) for each in given)),
    )


def _start(address: str | None) -> None:
    try:
        ray.init(
            address=address,
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        if address is None:
            raise MachineError(f"Ray could not be started here: {error}; see what `raytl doctor` says") from error
        raise MachineError(
            f"no Ray cluster lets us in at {address!r}: {error}; start one with `ray start --head`, or leave --address "
            f"out; {TOKEN}"
        ) from error
