"""Which type of machine a trial ran on, and what share of it each of its workers held.

Ray gives a machine the label `ray.io/node-group` where it was started with RAY_NODE_TYPE_NAME: `ray up` does so, with
the names under `available_node_types` in cluster.yaml (by Ray's second autoscaler, its default), and KubeRay with the
names of its groups. A machine without it is of the type `node`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ray

from raytl.money import price_of
from raytl.on_ray.cluster import Node, Slots, machines


@dataclass(frozen=True)
class Berth:
    """The type of a worker's machine and the share of it that one worker holds; None where neither is known."""

    node_type: str | None = None
    node_share: float | None = None


UNKNOWN = Berth()


class Fleet:
    """The machines of a study by their ids. One that has joined since is looked up with `look` when it is first met.

    A machine's price is divided among the workers that it has room for: what would lie idle anyhow is paid for, too.
    """

    def __init__(self, nodes: Sequence[Node], slots: Slots, look: Callable[[], Sequence[Node]] = lambda: ()) -> None:
        self._slots, self._look = slots, look
        self._berths: dict[str, Berth] = {}
        self._take(nodes)

    @property
    def working(self) -> tuple[Berth, ...]:
        """The places that workers find, each machine once."""
        return tuple(berth for berth in self._berths.values() if berth.node_share is not None)

    def berth(self, node_id: str) -> Berth:
        """That of a machine; where its id is not known, what all machines have in common."""
        if node_id and node_id not in self._berths:
            self._take(self._look())
        if node_id in self._berths:
            return self._berths[node_id]
        alike = set(self.working)
        return alike.pop() if len(alike) == 1 else UNKNOWN

    def hourly_cost(self, prices: Mapping[str, float]) -> float | None:
        """What an hour of one worker costs, the mean over all workers that there is room for; None without prices."""
        costs = [
            (price * berth.node_share, round(1 / berth.node_share))
            for berth in self.working
            if berth.node_share and (price := price_of(prices, berth.node_type)) is not None
        ]
        room = sum(count for _, count in costs)
        return sum(cost * count for cost, count in costs) / room if room else None

    def _take(self, nodes: Sequence[Node]) -> None:
        for place, node in enumerate(nodes):
            room = node.places(self._slots.cpus_per_worker, self._slots.use_gpu, self._slots.trials_per_gpu)
            name = node.node_id or f"machine {place}"
            self._berths[name] = Berth(node.node_type, 1 / room if room else None)


NO_FLEET = Fleet((), Slots(1, 1, 1, use_gpu=False))  # where it is not of interest what trials cost


def fleet_of(nodes: Sequence[Node], slots: Slots) -> Fleet:
    """The fleet of the Ray that this process has joined."""
    return Fleet(nodes, slots, look=lambda: machines(ray.nodes()) if ray.is_initialized() else ())


def own_node() -> str:
    """Ray's id of the machine that this worker is on; empty without a Ray."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""
