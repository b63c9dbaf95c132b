"""The machine or cluster a study runs on: started or joined, counted, and divided into slots for trials."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from raytl.address import LOCAL
from raytl.errors import MachineError
from raytl.money import NODE
from raytl.noise import is_wanted
from raytl.on_ray.heartbeat import heard, split_address
from raytl.on_ray.reaper import reaped
from raytl.on_ray.token import require_token
from raytl.stops import unchanged

# Read by Ray when it is started or imported: no pickled logs of its own beside our tables, no advice on the console,
# and nothing sent to anybody. What a person has set stays.
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune would return as if it had ended; what stops a study is in `stops`
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",  # what Ray would report of its use: a nightly Ray, and one started by `ray start`
}

# Measured: 1.0 GB after importing torch, torchvision, timm and ray; half as much again.
MEMORY_PER_WORKER_BYTES = 1_500_000_000
TYPE_LABEL = "ray.io/node-group"  # Ray makes it of RAY_NODE_TYPE_NAME where a machine is started
WORKERS_ON_REQUEST = (
    "where a cluster starts its workers on request and its head does not say which, one has to run: set `min_workers` "
    "of a worker type in cluster.yaml (KubeRay: `minReplicas`) to 1 or more, wait until `ray status` shows the worker, "
    "then type the command again"
)
TOKEN = (
    "where the cluster asks for a token, set RAY_AUTH_MODE=token and give the token in RAY_AUTH_TOKEN, "
    "RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
)


@dataclass(frozen=True)
class Node:
    """What one machine gives to trials, of which type it is in its cluster, and Ray's id of it."""

    cpus: int
    gpus: int
    node_type: str = NODE
    node_id: str = ""

    def places(self, cpus_per_worker: int, use_gpu: bool, workers_per_gpu: int = 1) -> int:
        """How many workers find room on it: a worker cannot be spread over machines."""
        by_cpus = self.cpus // cpus_per_worker
        return min(by_cpus, self.gpus * workers_per_gpu) if use_gpu else by_cpus


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

    def places(self, cpus_per_worker: int, workers_per_gpu: int = 1) -> int:
        """How many workers there is room for, each with a GPU, or its share of one, where there are any."""
        return sum(node.places(cpus_per_worker, self.gpus > 0, workers_per_gpu) for node in self.nodes)


@dataclass(frozen=True)
class Slots:
    """How trials share a cluster: `count` of them at a time, each with `workers`, each worker with its own share.

    `trials_per_gpu` trials of one worker share a GPU.
    """

    count: int
    workers: int
    cpus_per_worker: int
    use_gpu: bool
    trials_per_gpu: int = 1

    @property
    def gpus_per_worker(self) -> float:
        """What Ray sets aside of GPUs for each worker."""
        return 1 / self.trials_per_gpu if self.use_gpu else 0.0

    def describe(self) -> str:
        """One line for the log."""
        share = "1" if self.trials_per_gpu == 1 else f"1/{self.trials_per_gpu}"
        device = f"{share} GPU and " if self.use_gpu else ""
        plural = "s" if self.workers > 1 else ""
        return (
            f"{self.count} trial{'s' if self.count > 1 else ''} at a time, {self.workers} worker{plural} each, "
            f"{device}{self.cpus_per_worker} CPU{'s' if self.cpus_per_worker > 1 else ''} per worker"
        )


def divide(resources: Resources, workers: int, most: int, trials_per_gpu: int = 1) -> Slots:
    """As many slots as processors, GPUs and memory allow, at most `most` (the number of trials there are).

    A worker gets one GPU, or one of `trials_per_gpu` shares of one, where there are any, and as many processors as
    leave room for all workers.

    Raises:
        MachineError: where not even one trial fits; Ray would wait for ever.
    """
    room = resources.places(1, trials_per_gpu)
    if workers > room:
        raise MachineError(_no_room(resources, workers, room))
    by_memory = resources.memory_bytes // (MEMORY_PER_WORKER_BYTES * workers)
    count = max(1, min(room // workers, by_memory, most))
    wanted = count * workers
    cpus = next(
        share for share in range(resources.cpus // wanted, 0, -1) if resources.places(share, trials_per_gpu) >= wanted
    )
    return Slots(count, workers, cpus, resources.gpus > 0, trials_per_gpu)


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
    """A running Ray for the time of the block: the one this process has, the one at `address`, or a new one (None).

    Raises:
        MachineError: where no cluster answers at `address`, or it refuses us.
    """
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    if ray.is_initialized():
        yield _resources(ray.nodes())
        return
    if address is None:
        require_token()
    with reaped() if address is None else nullcontext() as traces:
        with unchanged():  # Ray puts a handler of its own in the place of the one for SIGTERM
            _start(address)
        if traces is not None:
            traces.processes()
        try:
            with heard(*split_address(_head(address))):
                yield _resources(ray.nodes())
        finally:
            ray.shutdown()


def has_joined() -> bool:
    """Whether this process has a running Ray, which `joined` then takes, whatever address it is given."""
    return bool(ray.is_initialized())


def _head(address: str | None) -> str:
    """Where the head is asked whether it is there: a client knows its proxy only."""
    if address is not None and address.startswith("ray://"):
        return address
    return str(ray.get_runtime_context().gcs_address)


def _resources(nodes: list[dict[str, Any]]) -> Resources:
    """What Ray says of its machines."""
    given = [node["Resources"] for node in nodes if node["Alive"]]
    return Resources(machines(nodes), memory_bytes=int(sum(each.get("memory", 0) for each in given)))


def machines(nodes: Iterable[dict[str, Any]]) -> tuple[Node, ...]:
    """The machines that live, from what `ray.nodes()` says."""
    return tuple(
        Node(
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=int(node["Resources"].get("GPU", 0)),
            node_type=node.get("Labels", {}).get(TYPE_LABEL) or NODE,
            node_id=node.get("NodeID", ""),
        )
        for node in nodes
        if node["Alive"]
    )


def _start(address: str | None) -> None:
    try:
        ray.init(
            address=address or LOCAL,  # None would join whatever RAY_ADDRESS names
            include_dashboard=False if address is None else None,
            log_to_driver=is_wanted(),
            logging_level=logging.INFO if is_wanted() else logging.ERROR,
            configure_logging=True,
        )
    except SystemExit:  # of Ray's own handler, which takes a SIGTERM for as long as Ray starts
        raise KeyboardInterrupt from None
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        if address is None:
            raise MachineError(f"Ray could not be started here: {error}; see what `raytl doctor` says") from error
        raise MachineError(
            f"no Ray cluster lets us in at {address!r}: {error}; start one with `ray start --head`, or give "
            f"--address {LOCAL} for this machine alone; {TOKEN}"
        ) from error
