"""The machine or cluster a study runs on: started or joined, counted, and divided into slots for trials."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from raytl.errors import MachineError

# Read by Ray when it is started or imported: no pickled logs of its own beside our tables, no advice on the console.
ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
}

MEMORY_PER_WORKER_BYTES = (
    1_500_000_000  # measured: 1.0 GB after importing torch, torchvision, timm and ray; half as much again
)


@dataclass(frozen=True)
class Resources:
    """What a cluster has in all."""

    cpus: int
    gpus: int
    memory_bytes: int


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

    A worker gets one GPU where there are any, and an even share of the processors.

    Raises:
        MachineError: where not even one trial fits; Ray would wait for ever.
    """
    unit, have = ("GPU", resources.gpus) if resources.gpus else ("CPU", resources.cpus)
    if workers > have:
        raise MachineError(
            f"workers_per_trial={workers}: {workers} workers x 1 {unit} = {workers} {unit}s, but there are {have}; "
            f"ask for at most {have} with --workers-per-trial, or join a larger cluster with --address"
        )
    by_memory = max(1, resources.memory_bytes // (MEMORY_PER_WORKER_BYTES * workers))
    count = max(1, min(have // workers, by_memory, most))
    cpus = max(1, resources.cpus // (count * workers))
    return Slots(count, workers, cpus, use_gpu=resources.gpus > 0)


@contextmanager
def joined(address: str | None) -> Iterator[Resources]:
    """A running Ray for the time of the block: the one this process has, the one at `address`, or a new local one.

    Raises:
        MachineError: where no cluster answers at `address`.
    """
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    ours = not ray.is_initialized()
    if ours:
        _start(address)
    try:
        total = ray.cluster_resources()
        yield Resources(int(total.get("CPU", 0)), int(total.get("GPU", 0)), int(total.get("memory", 0)))
    finally:
        if ours:
            ray.shutdown()


def _start(address: str | None) -> None:
    try:
        ray.init(
            address=address,
            include_dashboard=False if address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"no Ray cluster answers at {address!r}" if address else "Ray could not be started here"
        raise MachineError(f"{where}: {error}; start one with `ray start --head`, or leave --address out") from error
