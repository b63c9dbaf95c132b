"""What an autoscaler may yet start is read from the file that it was given, and counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from raytl.money import NODE
from raytl.on_ray.cluster import MEMORY_PER_WORKER_BYTES, Node, Resources, Slots, divide
from raytl.on_ray.growth import (
    NO_LIMITS,
    Kind,
    Limits,
    divide_grown,
    growth_lines,
    limits_in,
    limits_on_this_machine,
    machines_to_come,
)

GPU = Kind("gpu", 8, 8, 1, 20 * 10**9)
GCS = "10.0.0.1:6379"
CONFIG = {
    "max_workers": 5,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 8, "GPU": 1, "memory": 20 * 10**9}, "max_workers": 3},
        "any": {"resources": {}},
    },
}


def test_the_limits_of_an_autoscaler_are_those_of_its_workers() -> None:
    assert limits_in(CONFIG) == Limits((Kind("gpu", 3, 8, 1, 20 * 10**9), Kind("any", 5, None, 0, None)), 5)


def test_a_type_that_is_head_and_worker_counts_as_far_as_it_may_have_workers() -> None:
    own = {
        "max_workers": 4,
        "head_node_type": "local.cluster.node",
        "available_node_types": {"local.cluster.node": {"resources": {}, "max_workers": 4}},
    }
    limits = limits_in(own)
    assert limits == Limits((Kind("local.cluster.node", 4, None, 0, None),), 4)
    workers = [Node(8, 0, "local.cluster.node", "a")]  # the head is none of them
    assert [node for node, _ in machines_to_come(limits, workers)] == [Node(8, 0, "local.cluster.node")] * 3
    unsaid = {**own, "available_node_types": {"local.cluster.node": {"resources": {}}}}
    assert limits_in(unsaid) == Limits((), 4), "a head's type has no workers where nothing is said"


def test_the_cluster_file_of_the_project_lets_eight_gpus_run_at_a_time() -> None:
    limits = limits_in(yaml.safe_load((Path(__file__).parents[1] / "cluster.yaml").read_text()))
    come = [node for node, _ in machines_to_come(limits, [Node(8, 1, "gpu", "a")])]
    assert come == [Node(8, 1, "gpu")] * 7
    resources = Resources((Node(0, 0, "head"), Node(8, 1, "gpu", "a"), *come), 10**12)
    assert divide(resources, 1, 100) == Slots(8, 1, 8, True)
    assert divide(resources, 1, 3).count == 3, "no more machines than there are trials"


@pytest.mark.parametrize(
    ("limits", "workers", "expected"),
    [
        (NO_LIMITS, [Node(8, 1)], []),
        (Limits((GPU,), 2), [], [Node(8, 1, "gpu")] * 2),
        (Limits((GPU,), 20), [Node(8, 1, "gpu")] * 3, [Node(8, 1, "gpu")] * 5),
        (Limits((GPU,), 20), [Node(8, 1, NODE)] * 3, [Node(8, 1, "gpu")] * 5),  # an older autoscaler gives no types
        (Limits((GPU,), 9), [Node(8, 1, "gpu")] * 9, []),  # one more than the type may have: the file has changed
        (Limits((Kind("here", 3, None, 0, None),), 3), [Node(4, 0, NODE)] * 2, [Node(4, 0, "here")]),
        (Limits((Kind("here", 3, None, 0, None),), 3), [], []),  # nobody knows what they have
        (Limits((Kind("cpu", 9, 4, 0, None), GPU), 9), [], [Node(8, 1, "gpu")] * 8 + [Node(4, 0, "cpu")]),
    ],
)
def test_the_machines_that_may_come(limits: Limits, workers: list[Node], expected: list[Node]) -> None:
    assert [node for node, _ in machines_to_come(limits, workers)] == expected


def test_memory_that_nobody_has_said_is_enough_for_a_worker_a_processor() -> None:
    limits = Limits((GPU, Kind("cpu", 1, 4, 0, None)), 9)
    memories = {node.node_type: memory for node, memory in machines_to_come(limits, [])}
    assert memories == {"gpu": 20 * 10**9, "cpu": 4 * MEMORY_PER_WORKER_BYTES}


def test_gpus_that_may_come_leave_processors_that_run_in_use() -> None:
    limits = Limits((Kind("cpu", 3, 4, 0, None), GPU), 9)
    assert [node for node, _ in machines_to_come(limits, [Node(4, 0, "cpu")])] == [Node(4, 0, "cpu")] * 2
    assert [node.gpus for node, _ in machines_to_come(limits, [Node(4, 0, "cpu"), Node(8, 1, "gpu")])] == [1] * 7
    assert [node.gpus for node, _ in machines_to_come(limits, [Node(4, 0, "cpu")], has_gpus=True)] == [1] * 8
    assert [node.gpus for node, _ in machines_to_come(limits, [])] == [1] * 8 + [0], "nothing works yet"


HEAD, BIG = Node(0, 0, "head"), 10**12


@pytest.mark.parametrize(
    ("now", "come", "expected"),
    [
        ((HEAD, Node(8, 1)), (Node(8, 1),) * 7, Slots(8, 1, 8, True)),  # a worker each: all that may come count
        ((HEAD, *(Node(8, 1),) * 4), (Node(8, 1),) * 4, Slots(2, 2, 8, True)),
        ((HEAD, Node(8, 0)), (Node(8, 0),) * 3, Slots(4, 2, 1, False)),
        ((HEAD, Node(8, 1)), (Node(8, 1),) * 7, Slots(1, 2, 8, True)),  # no group has room yet: one at a time
        ((HEAD,), (Node(8, 1),) * 8, Slots(1, 2, 8, True)),
        ((Node(8, 0, "head"),), (Node(8, 1),) * 8, Slots(1, 2, 8, True)),  # those of the head have no GPU
        ((Node(8, 0),), (), Slots(4, 2, 1, False)),
    ],
)
def test_groups_are_begun_for_machines_that_are_there(
    now: tuple[Node, ...], come: tuple[Node, ...], expected: Slots
) -> None:
    here, grown = Resources(now, BIG), Resources((*now, *come), BIG)
    counted, slots = divide_grown(here, grown, expected.workers, 100)
    assert slots == expected
    assert counted == (here if slots.workers > 1 and slots.count > 1 else grown)


KINDS = st.builds(
    Kind, st.sampled_from("abc"), st.integers(0, 9), st.none() | st.integers(0, 64), st.integers(0, 8), st.none()
)


@given(
    st.builds(Limits, st.lists(KINDS, max_size=3, unique_by=lambda kind: kind.name).map(tuple), st.integers(0, 12)),
    st.lists(st.builds(Node, st.integers(0, 8), st.integers(0, 2), st.sampled_from(["a", "b", NODE])), max_size=6),
)
def test_no_limit_is_passed(limits: Limits, workers: list[Node]) -> None:
    come = [node for node, _ in machines_to_come(limits, workers)]
    assert len(come) <= max(0, limits.most - len(workers))
    for kind in limits.kinds:
        running = sum(node.node_type == kind.name for node in workers)
        assert sum(node.node_type == kind.name for node in come) <= max(0, kind.most - running)


def process(root: Path, number: int, *words: str) -> None:
    folder = root / str(number)
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"\0".join(os.fsencode(word) for word in words) + b"\0")


def test_the_autoscaler_of_this_ray_and_no_other_is_asked_for_its_file(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.yaml", tmp_path / "other.yaml"
    mine.write_text(json.dumps(CONFIG))
    other.write_text(json.dumps({**CONFIG, "max_workers": 99}))
    processes = tmp_path / "proc"
    processes.mkdir()
    (processes / "12").mkdir()  # has ended: there is no command line any more
    process(processes, 13, "python", "monitor.py", "--gcs-address=10.0.0.2:6379", f"--autoscaling-config={other}")
    process(processes, 14, "python", "agent.py", f"--gcs-address={GCS}")
    assert limits_on_this_machine(GCS, processes) == NO_LIMITS
    process(processes, 15, "python", "monitor.py", f"--gcs-address={GCS}", f"--autoscaling-config={mine}")
    assert limits_on_this_machine(GCS, processes) == limits_in(CONFIG)


@pytest.mark.parametrize("text", [None, "[", "a word", "max_workers: many", "available_node_types: {a: 1}"])
def test_a_file_that_cannot_be_read_lets_the_search_go_on_with_what_is_there(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    if text is not None:
        path.write_text(text)
    process(tmp_path, 1, f"--gcs-address={GCS}", f"--autoscaling-config={path}")
    assert limits_on_this_machine(GCS, tmp_path) == NO_LIMITS


def test_what_may_come_is_said_once_and_only_where_something_may() -> None:
    now = Resources((Node(0, 0), Node(8, 1, "gpu")), 10**10)
    later = Resources((*now.nodes, *[Node(8, 1, "gpu")] * 7), 10**11)
    assert growth_lines(now, now) == ()
    assert growth_lines(now, later) == (
        "the cluster has 1 GPU now and 8 with the 7 machines that it may start; as many are asked for as trials can "
        "use at a time",
    )
    cpus = Resources((Node(2, 0), Node(2, 0)), 10**10)
    assert growth_lines(Resources((Node(2, 0),), 10**10), cpus)[0].startswith("the cluster has 2 CPUs now and 4 with ")
