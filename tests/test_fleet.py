"""What share of which machine a worker holds: machines by hand, and those that join later."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytl.errors import MachineError
from raytl.money import ANY
from raytl.on_ray.cluster import Node, Resources, Slots, divide
from raytl.on_ray.fleet import NO_FLEET, UNKNOWN, Berth, Fleet, own_node

HEAD, SMALL, LARGE = Node(0, 0, "head", "h"), Node(8, 1, "gpu", "s"), Node(32, 4, "gpus", "l")
SLOTS = Slots(2, 1, 8, use_gpu=True)


def test_a_machine_is_shared_by_the_workers_that_it_has_room_for() -> None:
    fleet = Fleet((HEAD, SMALL, LARGE), SLOTS)
    assert [fleet.berth(name) for name in "hsl"] == [Berth("head"), Berth("gpu", 1.0), Berth("gpus", 0.25)]
    assert fleet.working == (Berth("gpu", 1.0), Berth("gpus", 0.25))
    assert Fleet((Node(17, 0, "node", "a"),), Slots(3, 1, 5, False)).berth("a") == Berth("node", 1 / 3)


def test_trials_that_share_a_gpu_share_its_price() -> None:
    fleet = Fleet((SMALL, LARGE), Slots(4, 1, 4, use_gpu=True, trials_per_gpu=2))
    assert fleet.working == (Berth("gpu", 1 / 2), Berth("gpus", 1 / 8))


def test_where_a_trial_ran_is_known_without_an_id_where_all_machines_are_alike() -> None:
    assert Fleet((HEAD, SMALL), SLOTS).berth("") == Berth("gpu", 1.0)
    assert Fleet((HEAD, SMALL, LARGE), SLOTS).berth("") == UNKNOWN == NO_FLEET.berth("")
    assert Fleet((Node(2, 0), Node(2, 0)), Slots(4, 1, 1, False)).working == (Berth("node", 0.5),) * 2


def test_a_machine_that_has_joined_since_is_looked_up_once() -> None:
    asked: list[str] = []

    def look() -> Sequence[Node]:
        asked.append("")
        return (SMALL, LARGE)

    fleet = Fleet((SMALL,), SLOTS, look)
    assert [fleet.berth(name).node_share for name in ("s", "l", "l")] == [1.0, 0.25, 0.25] and len(asked) == 1
    assert fleet.berth("gone") == UNKNOWN


def test_an_hour_of_a_worker_is_the_mean_over_all_places() -> None:
    fleet = Fleet((HEAD, SMALL, LARGE), SLOTS)
    assert fleet.hourly_cost({"gpu": 1.0, "gpus": 8.0}) == pytest.approx((1.0 + 4 * 2.0) / 5)
    assert fleet.hourly_cost({ANY: 2.0}) == pytest.approx((2.0 + 4 * 0.5) / 5)
    assert fleet.hourly_cost({}) is None


@settings(deadline=None)
@given(st.lists(st.builds(Node, st.integers(1, 32), st.integers(0, 4)), min_size=1, max_size=4), st.integers(1, 9))
def test_all_places_together_cost_what_the_machines_do(nodes: list[Node], most: int) -> None:
    """Of machines that have a place at all: busy places pay for all of them, and for no more."""
    named = tuple(Node(node.cpus, node.gpus, "node", str(place)) for place, node in enumerate(nodes))
    try:
        slots = divide(Resources(named, 10**12), 1, most)
    except MachineError:
        return
    fleet = Fleet(named, slots)
    room = sum(node.places(slots.cpus_per_worker, slots.use_gpu) for node in named)
    hourly = fleet.hourly_cost({ANY: 3.0})
    assert hourly is not None and hourly * room == pytest.approx(3.0 * len(fleet.working))


def test_without_ray_a_worker_knows_no_machine() -> None:
    assert own_node() == ""
