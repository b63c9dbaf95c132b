"""Idle actors are kept, and a trial waits for its own actor before it takes another's."""

from __future__ import annotations

from types import SimpleNamespace

from ray.tune.execution.tune_controller import TrialRunnerWrapper

from raytl.on_ray.actors import QUIET_SECONDS, Idleness, keep_actors, own_first


def test_a_trial_takes_an_idle_actor_where_it_has_none_or_its_own_has_no_place() -> None:
    actors: dict[str, str] = {"b": "waits for room", "c": "imports torch"}
    late = own_first(lambda trial: True, actors, lambda: {"waits for room"})
    assert late("a") and late("b")
    assert not late("c"), "what has its place is waited for, however slowly it starts"
    del actors["c"]
    assert late("c"), "begun again after its actor has died"


class Cache:
    """Tune's store of idle actors."""

    def __init__(self) -> None:
        self.raised: list[tuple[object, int]] = []

    def increase_max(self, key: object, by: int) -> None:
        """Keeps what was asked."""
        self.raised.append((key, by))


def test_a_controller_is_told_both() -> None:
    cache = Cache()
    controller = SimpleNamespace(
        _actor_cache=cache,
        _actor_manager=SimpleNamespace(pending_actors=["another"]),
        _trial_to_actor={"b": "actor"},
        _maybe_reuse_cached_actor=lambda trial: True,
    )
    wrapped = TrialRunnerWrapper(controller, None)  # type: ignore[arg-type]  # as Tune gives it to its schedulers
    keep_actors(wrapped, "share", 3)
    assert cache.raised == [("share", 3)]
    assert controller._maybe_reuse_cached_actor("a") and not controller._maybe_reuse_cached_actor("b")


def test_a_person_is_told_once_that_nothing_is_done_since_no_machine_has_room() -> None:
    said: list[str] = []
    clock = [100.0]
    idleness = Idleness(said.append, lambda: clock[0])

    def pass_by(live: int, waiting: int) -> int:
        for _ in range(3):
            idleness.look(live, waiting)
            clock[0] += QUIET_SECONDS / 2
        idleness.look(live, waiting)
        return len(said)

    assert pass_by(0, 0) == pass_by(3, 0) == pass_by(3, 2) == 0, "something is done"
    assert pass_by(3, 3) == pass_by(3, 3) == 1 and "`ray status`" in said[0]
    assert pass_by(3, 2) == 1 and pass_by(2, 2) == 2
