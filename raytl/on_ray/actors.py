"""How long Tune's actors live. Tune 2.60 has no setting for either thing, so its controller is told from within.

Between two stages of a study there is no trial to wait for, and Tune would keep one idle actor and drop the others.
And a trial whose own actor is still being started (ten seconds) would take an idle one and drop the other half-way:
with short tasks one actor then did all the work, and the second was begun again and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from ray.tune.experiment import Trial

QUIET_SECONDS = 60.0  # chosen: a machine of a cloud takes longer; who has been waiting for a minute wonders why


def keep_actors(controller: Any, resources: Any, count: int) -> None:
    """Lets `controller` (Tune's) keep `count` idle actors with these resources, and trials wait for their own.

    Schedulers are given a wrapper, made anew for each call: what is set there is gone with it.
    """
    controller = getattr(controller, "_tune_controller", controller)
    controller._actor_cache.increase_max(resources, count)
    controller._maybe_reuse_cached_actor = own_first(
        controller._maybe_reuse_cached_actor,
        controller._trial_to_actor,
        lambda: controller._actor_manager.pending_actors,
    )


def waits_for_place(controller: Any, trial: Any) -> bool:
    """Whether no actor has been started for a trial of `controller` (Tune's): no machine has had room for it."""
    if trial.status != Trial.PENDING:
        return False
    actor = controller._trial_to_actor.get(trial)
    return actor is None or actor in controller._actor_manager.pending_actors


class Idleness:
    """Tells a person, once each time, that nothing has been done for a minute since no machine has room."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._say, self._now = say, now
        self._since: float | None = None
        self._said = False

    def look(self, live: int, waiting: int) -> None:
        """Takes note that of `live` tasks so many wait for a machine."""
        if not waiting or waiting < live:
            self._since, self._said = None, False
            return
        if self._since is None:
            self._since = self._now()
        if not self._said and self._now() - self._since >= QUIET_SECONDS:
            self._said = True
            self._say("waiting: no machine has room for a worker; `ray status` says what is there and what may come")


def own_first(reuse: Callable[[Any], bool], actors: Any, unplaced: Callable[[], Collection[Any]]) -> Any:
    """Tune's `reuse` (takes an idle actor for a trial) for trials without an actor, or with one that has no place yet.

    An actor that has its place is waited for however long its imports take: should its process or node die, Ray says
    so and Tune begins another. `unplaced` gives the actors that still wait for a node with room.
    """

    def reuse_late(trial: Any) -> bool:
        return reuse(trial) if trial not in actors or actors[trial] in unplaced() else False

    return reuse_late
