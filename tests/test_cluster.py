"""Trials share a cluster without ever asking for more than there is: Ray would wait for ever."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from ray._common.usage.usage_lib import usage_stats_enabled
from ray.exceptions import AuthenticationError

from raytl.address import place_of
from raytl.errors import MachineError
from raytl.on_ray.cluster import (
    ENVIRONMENT,
    MEMORY_PER_WORKER_BYTES,
    Node,
    Resources,
    Slots,
    divide,
    joined,
    machines,
)

PLENTY = 10**12
NODES = st.lists(st.builds(Node, st.integers(0, 32), st.integers(0, 8)), max_size=5).map(tuple)


def single(cpus: int, gpus: int = 0, memory_bytes: int = PLENTY) -> Resources:
    return Resources((Node(cpus, gpus),), memory_bytes)


def placed(nodes: tuple[Node, ...], slots: Slots) -> bool:
    """Puts workers one by one on the first machine that has room, as a reference."""
    left = [[node.cpus, node.gpus * slots.trials_per_gpu] for node in nodes]  # GPUs in shares
    for _ in range(slots.count * slots.workers):
        need = (slots.cpus_per_worker, int(slots.use_gpu))
        room = next((node for node in left if node[0] >= need[0] and node[1] >= need[1]), None)
        if room is None:
            return False
        room[0], room[1] = room[0] - need[0], room[1] - need[1]
    return True


@given(NODES, st.integers(0, 200), st.integers(1, 8), st.integers(1, 50), st.integers(1, 4))
def test_all_slots_find_room_and_no_larger_share_would(
    nodes: tuple[Node, ...], gigabytes: int, workers: int, most: int, trials_per_gpu: int
) -> None:
    resources = Resources(nodes, gigabytes * 10**9)
    gpus = any(node.gpus for node in nodes)
    smallest = Slots(1, workers, 1, gpus, trials_per_gpu)
    try:
        slots = divide(resources, workers, most, trials_per_gpu)
    except MachineError:
        assert not placed(nodes, smallest)
        return
    assert placed(nodes, slots) and 1 <= slots.count <= most and slots.cpus_per_worker >= 1
    assert slots.workers == workers and slots.use_gpu == gpus
    assert slots.count == 1 or slots.count * workers * MEMORY_PER_WORKER_BYTES <= resources.memory_bytes
    assert not placed(nodes, Slots(slots.count, workers, slots.cpus_per_worker + 1, gpus, trials_per_gpu))


def test_trials_of_one_worker_may_share_a_gpu() -> None:
    slots = divide(single(16, 1), 1, 40, trials_per_gpu=3)
    assert slots == Slots(3, 1, 5, True, 3) and slots.gpus_per_worker * 3 == pytest.approx(1)
    assert divide(single(16), 1, 40, trials_per_gpu=3).gpus_per_worker == 0


@pytest.mark.parametrize(
    ("resources", "workers", "most", "expected"),
    [
        (single(2), 1, 40, Slots(2, 1, 1, False)),
        (single(16), 1, 3, Slots(3, 1, 5, False)),
        (single(16, 1), 1, 40, Slots(1, 1, 16, True)),
        (single(16, 4), 2, 40, Slots(2, 2, 4, True)),
        (single(16, memory_bytes=2 * MEMORY_PER_WORKER_BYTES), 1, 40, Slots(2, 1, 8, False)),
        (single(16, memory_bytes=0), 1, 40, Slots(1, 1, 16, False)),
        (Resources((Node(2, 0),) * 3, PLENTY), 1, 2, Slots(2, 1, 2, False)),  # 3 CPUs each would fit on no machine
        (Resources((Node(0, 0), Node(8, 1), Node(8, 1)), PLENTY), 2, 9, Slots(1, 2, 8, True)),
    ],
)
def test_slots_of_known_machines(resources: Resources, workers: int, most: int, expected: Slots) -> None:
    assert divide(resources, workers, most) == expected


@pytest.mark.parametrize(
    ("resources", "workers", "said"),
    [
        (single(2), 3, ["3 workers x 1 CPU = 3 CPUs", "2 CPUs", "at most 2 with --workers-per-trial", "--address"]),
        (single(64, 1), 2, ["2 workers x 1 GPU and 1 CPU = 2 GPUs and 2 CPUs", "64 CPUs and 1 GPUs", "at most 1 "]),
        (single(2, 4), 4, ["4 GPUs and 4 CPUs", "2 CPUs and 4 GPUs", "at most 2 "]),
    ],
)
def test_too_many_workers_are_refused_with_the_sum(resources: Resources, workers: int, said: list[str]) -> None:
    with pytest.raises(MachineError) as caught:
        divide(resources, workers, 10)
    assert [part for part in said if part not in str(caught.value)] == []


@pytest.mark.parametrize("resources", [single(0), Resources((), 0), Resources((Node(0, 0), Node(0, 0)), PLENTY)])
def test_a_cluster_without_workers_yet_is_refused_with_the_way_to_get_some(resources: Resources) -> None:
    with pytest.raises(MachineError, match=r"0 CPUs.*min_workers.*ray status"):
        divide(resources, 1, 10)


@pytest.mark.parametrize(
    ("slots", "text"),
    [
        (Slots(1, 1, 1, False), "1 trial at a time, 1 worker each, 1 CPU per worker"),
        (Slots(3, 2, 4, True), "3 trials at a time, 2 workers each, 1 GPU and 4 CPUs per worker"),
        (Slots(3, 1, 4, True, 3), "3 trials at a time, 1 worker each, 1/3 GPU and 4 CPUs per worker"),
    ],
)
def test_slots_are_described(slots: Slots, text: str) -> None:
    assert slots.describe() == text


class StubRay:
    """Stands in for Ray: `init` raises `error` or starts; machines are as given."""

    def __init__(self, patch: pytest.MonkeyPatch, error: BaseException | None = None, running: bool = False) -> None:
        self.error, self.running = error, running
        self.calls: list[str] = []
        for name in ("init", "is_initialized", "nodes", "shutdown", "get_runtime_context"):
            patch.setattr(ray, name, getattr(self, name))

    def is_initialized(self) -> bool:
        return self.running

    def init(self, address: str | None = None, **_: Any) -> None:
        self.calls.append(f"init {address}")
        if self.error is not None:
            raise self.error

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"Alive": True, "Resources": {"memory": 5e9, "node:__internal_head__": 1.0}},
            {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0, "memory": 3e9}},
            {"Alive": False, "Resources": {"CPU": 64.0}},
        ]

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(gcs_address="127.0.0.1:6379")

    def shutdown(self) -> None:
        self.calls.append("shutdown")


def test_a_cluster_is_joined_counted_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = StubRay(monkeypatch)
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    with pytest.raises(ZeroDivisionError), joined("auto") as resources:
        assert resources == Resources((Node(0, 0), Node(8, 1)), 8_000_000_000)
        assert {name: os.environ[name] for name in ENVIRONMENT} == {**ENVIRONMENT, "RAY_DEDUP_LOGS": "0"}
        raise ZeroDivisionError
    assert stub.calls == ["init auto", "shutdown"]


def test_ray_is_told_to_send_nothing_unless_a_person_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    StubRay(monkeypatch)
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    with joined("auto"):
        assert not usage_stats_enabled()  # as Ray itself reads it
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    with joined("auto"):
        assert usage_stats_enabled()


def test_a_running_ray_is_used_and_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    stub = StubRay(monkeypatch, running=True)
    with joined(None) as resources:
        assert resources.cpus == 8
    assert stub.calls == []


@pytest.mark.parametrize("error", [ConnectionError("nobody there"), AuthenticationError("no token")])
def test_a_cluster_that_does_not_answer_or_refuses(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    StubRay(monkeypatch, error)
    with (
        pytest.raises(MachineError, match=r"'ray://x'.*ray start --head.*RAY_AUTH_MODE=token") as caught,
        joined("ray://x"),
    ):
        raise AssertionError("never entered")
    assert str(error.args[0]) in str(caught.value)


def test_a_local_ray_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    StubRay(monkeypatch, RuntimeError("no space"))
    with pytest.raises(MachineError, match="could not be started here: no space") as caught, joined(None):
        raise AssertionError("never entered")
    assert "RAY_AUTH_MODE" not in str(caught.value)


def test_f5_a_signal_that_ray_takes_while_it_starts_is_an_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's handler for SIGTERM, which stands in the place of ours until Ray has started, ends the process."""
    StubRay(monkeypatch, SystemExit(15))
    with pytest.raises(KeyboardInterrupt), joined(None):
        raise AssertionError("never entered")


def test_machines_are_known_by_the_label_that_ray_makes_of_their_type() -> None:
    def node(**values: object) -> dict[str, Any]:
        return {"Alive": True, "NodeID": "a", "Resources": {"CPU": 2.0}, **values}

    nodes = [
        node(Labels={"ray.io/node-group": "gpu", "ray.io/node-id": "a"}),
        node(Labels={"ray.io/node-id": "b"}, NodeID="b"),
        node(NodeID="c"),
        node(NodeID="d", Alive=False),
    ]
    assert machines(nodes) == (Node(2, 0, "gpu", "a"), Node(2, 0, "node", "b"), Node(2, 0, "node", "c"))


@pytest.mark.parametrize(
    ("address", "variable", "asked"),
    [
        (None, "10.0.0.1:6379", "init 10.0.0.1:6379"),
        (None, None, "init local"),
        ("local", "10.0.0.1:6379", "init local"),
        ("other:6379", "10.0.0.1:6379", "init other:6379"),
    ],
)
def test_the_cluster_that_ray_address_names_is_joined_unless_another_is_given(
    address: str | None, variable: str | None, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = StubRay(monkeypatch)
    monkeypatch.setenv("RAY_ADDRESS", variable) if variable else monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with joined(place_of(address).address):
        pass
    assert stub.calls == [asked, "shutdown"]
