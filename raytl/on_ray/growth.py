"""Machines that a cluster's autoscaler may yet start, so that a search is divided for all that it can get.

Ray 2.60 keeps no account of them that a driver could read (ray-project/ray, issue 52033). The autoscaler of `ray up`
and `ray start` runs on the head, and its command line names the file with its limits; there it is read. KubeRay's runs
beside the head in a container of its own and is not seen: there the machines count that are there.

Nothing is asked of the autoscaler. It sees the places that trials wait for, never more of them than slots, and they are
gone with the study, however that ends; Ray's `request_resources` would hold machines after a driver was killed.

Types with GPUs count where machines with GPUs run, or none but the head does: a search that asks for GPUs could use
none of the processors that run.

Trials of several workers are divided for the machines that are there, and only where these have no room for one of them
for the machines that may come, one trial at a time. A group waits until all of its workers have their places. Were more
groups begun than the autoscaler can bring machines for, those without would wait for ever, and the study with them:
the others keep their places until its end. So to use more machines, have them started before (`min_workers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytl.money import NODE
from raytl.on_ray.cluster import MEMORY_PER_WORKER_BYTES, Node, Resources, Slots, divide

HEAD_MARK = "node:__internal_head__"  # Ray gives this resource to one machine only
PATIENCE_SECONDS = 30.0  # chosen: a worker process starts in 2 to 10 s
PROCESSES = Path("/proc")


@dataclass(frozen=True)
class Kind:
    """What an autoscaler may start of one type: `most` machines at most. Without `cpus` Ray counts when they run."""

    name: str
    most: int
    cpus: int | None
    gpus: int
    memory_bytes: int | None


@dataclass(frozen=True)
class Limits:
    """What an autoscaler may start: the kinds of its workers, and at most so many workers in all."""

    kinds: tuple[Kind, ...]
    most: int


NO_LIMITS = Limits((), 0)  # no autoscaler, or none that can be read


def grown(resources: Resources) -> Resources:
    """The cluster that this process has joined, with all machines that its autoscaler may yet start."""
    heads = [node["NodeID"] for node in ray.nodes() if node["Alive"] and HEAD_MARK in node["Resources"]]
    if not heads:
        return resources
    limits = _limits_of(heads[0], str(ray.get_runtime_context().gcs_address))
    workers = [node for node in resources.nodes if node.node_id != heads[0]]
    come = list(machines_to_come(limits, workers, resources.gpus > 0))
    return Resources(
        (*resources.nodes, *(node for node, _ in come)), resources.memory_bytes + sum(memory for _, memory in come)
    )


def divide_grown(
    now: Resources, later: Resources, workers: int, most: int, trials_per_gpu: int = 1
) -> tuple[Resources, Slots]:
    """What trials are divided for, of the machines that are there and those with what may come; and how they share it.

    Raises:
        MachineError: where not even one trial fits.
    """
    there = sum(node.places(1, later.gpus > 0, trials_per_gpu) for node in now.nodes)
    if workers > 1 and there >= workers:
        return now, divide(now, workers, most, trials_per_gpu)
    return later, divide(later, workers, most if workers == 1 or later == now else 1, trials_per_gpu)


def growth_lines(now: Resources, later: Resources) -> tuple[str, ...]:
    """For the log, where machines may come."""
    count = len(later.nodes) - len(now.nodes)
    unit, there, most = ("GPU", now.gpus, later.gpus) if later.gpus else ("CPU", now.cpus, later.cpus)
    line = (
        f"the cluster has {there} {unit}{'s' * (there != 1)} now and {most} with the {count} "
        f"machine{'s' * (count > 1)} that it may start; as many are asked for as trials can use at a time"
    )
    return (line,) if count else ()


def machines_to_come(limits: Limits, workers: Sequence[Node], has_gpus: bool = False) -> Iterator[tuple[Node, int]]:
    """Each machine that may join these `workers`, with its memory in bytes; those with GPUs come first.

    None with GPUs joins workers of which none has any, unless the head `has_gpus`.

    One whose memory nobody has said is taken to have enough. One whose processors nobody has said is like those of its
    type that run, and is left out where none does. A worker that says no type may be of any.
    """
    left = limits.most - len(workers)
    with_gpus = has_gpus or any(node.gpus for node in workers) or not any(node.cpus for node in workers)
    kinds = [kind for kind in limits.kinds if with_gpus or not kind.gpus]
    for kind in sorted(kinds, key=lambda each: -each.gpus):
        running = [node for node in workers if node.node_type in (kind.name, NODE)]
        node = _machine(kind, running)
        count = min(left, kind.most - len(running))
        if node is None or count <= 0:
            continue
        left -= count
        memory = node.cpus * MEMORY_PER_WORKER_BYTES if kind.memory_bytes is None else kind.memory_bytes
        yield from [(node, memory)] * count


def _machine(kind: Kind, running: Sequence[Node]) -> Node | None:
    if kind.cpus is not None:
        return Node(kind.cpus, kind.gpus, kind.name)
    return replace(running[0], node_id="", node_type=kind.name) if running else None


def limits_in(config: Mapping[str, Any]) -> Limits:
    """What an autoscaler's file (Ray's cluster.yaml, with its defaults filled in or not) lets it start.

    The head's type is one of them where it may have workers: machines of one's own (`provider: local`) are of one type.
    """
    most = int(config.get("max_workers", 0))
    kinds = (
        Kind(
            name=name,
            most=int(kind.get("max_workers", 0 if name == config.get("head_node_type") else most)),
            cpus=_whole(kind.get("resources", {}).get("CPU")),
            gpus=_whole(kind.get("resources", {}).get("GPU")) or 0,
            memory_bytes=_whole(kind.get("resources", {}).get("memory")),
        )
        for name, kind in config.get("available_node_types", {}).items()
    )
    return Limits(tuple(kind for kind in kinds if kind.most > 0), most)


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _limits_of(head: str, gcs_address: str) -> Limits:
    if ray.get_runtime_context().get_node_id() == head and not ray.util.client.ray.is_connected():
        return limits_on_this_machine(gcs_address)  # a client's own machine is none of the cluster's
    there = NodeAffinitySchedulingStrategy(head, soft=False)
    try:
        found: Limits = ray.get(_look.options(scheduling_strategy=there).remote(gcs_address), timeout=PATIENCE_SECONDS)
    except RayError:
        return NO_LIMITS  # the search goes on with what is there; who lost the head is told elsewhere
    return found


@ray.remote(num_cpus=0)
def _look(gcs_address: str) -> Limits:
    return limits_on_this_machine(gcs_address)


def limits_on_this_machine(gcs_address: str, processes: Path = PROCESSES) -> Limits:
    """The limits of the autoscaler that runs here for the Ray at `gcs_address`."""
    for folder in processes.glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended meanwhile
        if f"--gcs-address={gcs_address}" in words and (path := _option(words, "--autoscaling-config=")):
            return _read(Path(path))
    return NO_LIMITS


def _option(words: Sequence[str], start: str) -> str:
    return next((word.removeprefix(start) for word in words if word.startswith(start)), "")


def _read(path: Path) -> Limits:
    try:
        return limits_in(yaml.safe_load(path.expanduser().read_text()))
    except (OSError, yaml.YAMLError, AttributeError, TypeError, ValueError):
        return NO_LIMITS  # Ray reads it, too, and says in its own log what is wrong
