"""Schedulers replay learning curves without training; ASHA is held against the rule written out by hand."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import TrialScheduler

from raytl.errors import ConfigError
from raytl.on_ray.schedulers import REDUCTION, BackboneSchedulers, make_scheduler, rung_epochs
from raytl.study import SCHEDULERS
from tests.curves import Curve, Replay, StubController, StubTrial, recorded_curves, synthetic_curves

EPOCHS = 27
CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
KINDS = [(name, per_backbone) for name in SCHEDULERS for per_backbone in (True, False)]


def make(
    name: str,
    per_backbone: bool = True,
    record: Callable[[Any, dict[str, Any]], None] = lambda trial, result: None,
    epochs: int = EPOCHS,
    seed: int = 0,
    brackets: int = 1,
) -> BackboneSchedulers:
    child = partial(make_scheduler, name, epochs, seed, brackets)
    backbone_of, name_of = (lambda trial: trial.config["backbone"]), (lambda trial: trial.config["name"])
    return BackboneSchedulers(child, record, backbone_of, name_of, per_backbone)


class RungRule:
    """Asynchronous successive halving as its paper states the stopping form, with nothing of Ray in it.

    At a rung the scores of those that came before are ranked; who lies below the point that leaves a third above
    (between two scores: in proportion) is stopped, the first always goes on.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.rungs: dict[tuple[str, int], list[float]] = {}

    def answer(self, group: str, epoch: int, score: float) -> str:
        if epoch >= self.epochs:
            return STOP
        if epoch not in (1, 3, 9, 27, 81):
            return CONTINUE
        before = self.rungs.setdefault((group, epoch), [])
        stop = bool(before) and score < self._threshold(sorted(before))
        before.append(score)
        return STOP if stop else CONTINUE

    @staticmethod
    def _threshold(ranked: list[float]) -> float:
        place = (len(ranked) - 1) * (1 - 1 / REDUCTION)
        low = math.floor(place)
        high = min(low + 1, len(ranked) - 1)
        return ranked[low] + (place - low) * (ranked[high] - ranked[low])


@pytest.mark.parametrize(("name", "per_backbone"), KINDS)
@pytest.mark.parametrize("source", ["made up", "recorded"])
def test_every_trial_ends_and_the_same_seed_decides_alike(name: str, per_backbone: bool, source: str) -> None:
    curves = synthetic_curves(40, EPOCHS, seed=1) if source == "made up" else recorded_curves(EPOCHS)[::8]
    first = Replay(make(name, per_backbone), curves).run()
    again = Replay(make(name, per_backbone), curves).run()
    assert first.answers == again.answers
    stopped_early = {curve.name for curve, epoch, answer in first.rows if answer == STOP and epoch < EPOCHS}
    assert {name for name, epoch in first.reached.items() if epoch < EPOCHS} == stopped_early
    assert len(stopped_early) < len(curves)
    assert bool(stopped_early) == (name != "none")


@pytest.mark.parametrize("per_backbone", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_asha_decides_as_the_rule_written_by_hand(per_backbone: bool, seed: int) -> None:
    replay = Replay(make("asha", per_backbone), synthetic_curves(60, EPOCHS, seed), seed).run()
    rule = RungRule(EPOCHS)
    for curve, epoch, answer in replay.rows:
        group = curve.backbone if per_backbone else ""
        score = curve.scores[epoch - 1]
        if epoch == 1 or epoch in rung_epochs(EPOCHS, 1) or epoch == EPOCHS:
            assert answer == rule.answer(group, epoch, score), (curve.name, epoch)
        else:
            assert answer == CONTINUE


def test_asha_decides_as_the_rule_on_recorded_curves() -> None:
    replay = Replay(make("asha"), recorded_curves(EPOCHS)).run()
    rule = RungRule(EPOCHS)
    assert all(
        answer == rule.answer(curve.backbone, epoch, curve.scores[epoch - 1]) for curve, epoch, answer in replay.rows
    )


@pytest.mark.parametrize("name", SCHEDULERS)
def test_equal_curves_all_go_on(name: str) -> None:
    curves = [Curve(f"run{i}", "a", (0.1,) * EPOCHS) for i in range(12)]
    assert set(Replay(make(name), curves).run().reached.values()) == {EPOCHS}


@pytest.mark.parametrize(("name", "regret", "share"), [("asha", 0.02, 0.35), ("median", 0.02, 0.9)])
def test_recorded_searches_keep_a_good_trial_and_save_work(name: str, regret: float, share: float) -> None:
    pool = recorded_curves(EPOCHS)
    regrets, shares = [], []
    for seed in range(20):
        curves = random.Random(seed).sample(pool, 24)
        replay = Replay(make(name, per_backbone=False), curves, seed).run()
        regrets.append(max(curve.scores[-1] for curve in curves) - replay.best())
        shares.append(sum(replay.reached.values()) / (EPOCHS * len(curves)))
    print(f"{name}: regret median {statistics.median(regrets):.4f}, work {statistics.median(shares):.2f}")
    assert statistics.median(regrets) <= regret
    assert statistics.median(shares) <= share


def test_backbones_do_not_compete_unless_told() -> None:
    strong = [Curve(f"s{i}", "strong", (0.9 + i / 1000,) * 9) for i in range(6)]
    weak = [Curve(f"w{i}", "weak", (0.2 + i / 1000,) * 9) for i in range(6)]
    apart = Replay(make("asha", True, epochs=9), [*strong, *weak]).run()
    together = Replay(make("asha", False, epochs=9), [*strong, *weak]).run()
    full = [sum(reached == 9 for name, reached in r.reached.items() if name[0] == "w") for r in (apart, together)]
    assert full[0] > full[1]


def test_replayed_rows_leave_the_scheduler_as_it_was() -> None:
    curves = synthetic_curves(40, EPOCHS, seed=3)
    whole = Replay(make("asha", brackets=2), curves).run().rows
    for cut in (0, 1, 17, len(whole) // 2, len(whole) - 1):
        resumed = make("asha", brackets=2)
        answers = [resumed.decide(c.backbone, c.name, epoch, c.scores[epoch - 1]) for c, epoch, _ in whole[:cut]]
        answers += [
            resumed.on_trial_result(None, _renamed(curve), {"epoch": epoch, "score": curve.scores[epoch - 1]})
            for curve, epoch, _ in whole[cut:]
        ]
        assert answers == [answer for _, _, answer in whole]


def _renamed(curve: Curve) -> Any:
    """The same trial under another id of Tune's, as after a resume."""
    return StubTrial(f"another-{curve.name}", {"backbone": curve.backbone, "name": curve.name})


def test_a_row_is_recorded_before_the_child_decides_and_once() -> None:
    order: list[str] = []

    class Child(TrialScheduler):
        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            order.append(f"add {trial.trial_id}")

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            order.append(f"decide {result['epoch']}")
            return CONTINUE

    def record(trial: Any, result: dict[str, Any]) -> None:
        order.append(f"record {result['epoch']}")

    scheduler = BackboneSchedulers(Child, record, lambda trial: "a", lambda trial: "x")
    trial: Any = StubTrial("tune0", {})
    scheduler.on_trial_add(None, trial)
    for epoch in (1, 2, 2, 1):
        scheduler.on_trial_result(None, trial, {"epoch": epoch, "score": 0.5})
    scheduler.on_trial_add(None, trial)  # Tune adds a restarted trial again
    scheduler.on_trial_complete(None, trial, {"epoch": 3, "score": 0.5, "done": True})
    expected = ["add x", "record 1", "decide 1", "record 2", "decide 2", "record 3", "decide 3"]
    assert order == expected


def test_a_last_result_without_a_score_is_recorded_and_decides_nothing() -> None:
    seen: list[int] = []
    scheduler = make("asha", record=lambda trial, result: seen.append(result["epoch"]))
    trial: Any = StubTrial("tune0", {"backbone": "a", "name": "x"})
    scheduler.on_trial_add(None, trial)
    scheduler.on_trial_complete(None, trial, {"epoch": 1, "done": True})
    assert seen == [1]
    assert scheduler.decide("a", "y", 1, -1e9) == CONTINUE  # the first at its rung


@pytest.mark.parametrize("result", [{"epoch": 1, "score": math.nan}, {"epoch": 1, "score": math.inf}, {"epoch": 1}, {}])
def test_a_result_without_a_finite_score_is_refused_and_not_recorded(result: dict[str, float]) -> None:
    seen: list[object] = []
    scheduler = make("asha", record=lambda trial, result: seen.append(result))
    trial: Any = StubTrial("tune0", {"backbone": "a", "name": "x"})
    with pytest.raises(ValueError, match="trial x"):
        scheduler.on_trial_result(None, trial, result)
    assert seen == []


def test_a_stop_is_final_and_rows_that_still_come_are_recorded_once() -> None:
    seen: list[int] = []
    scheduler = make("asha", record=lambda trial, result: seen.append(result["epoch"]))
    scheduler.decide("a", "x", 1, 0.9)
    trial: Any = StubTrial("tune0", {"backbone": "a", "name": "y"})
    answers = [scheduler.on_trial_result(None, trial, {"epoch": n, "score": 0.8 + n / 9}) for n in (1, 1, 2, 2, 3)]
    assert answers == [CONTINUE, CONTINUE, CONTINUE, CONTINUE, CONTINUE]
    trial = StubTrial("tune1", {"backbone": "a", "name": "z"})
    answers = [scheduler.on_trial_result(None, trial, {"epoch": n, "score": n / 10}) for n in (1, 1, 2, 2, 30)]
    assert answers == [STOP] * 5
    assert seen == [1, 2, 3, 1, 2, 30]


def test_brackets_follow_the_seed_and_leave_numpy_alone() -> None:
    def brackets(seed: int) -> list[int]:
        child: Any = make_scheduler("asha", EPOCHS, seed, brackets=3)
        for number in range(60):
            child.on_trial_add(None, StubTrial(f"run{number}", {}))
        return [child._brackets.index(bracket) for bracket in child._trial_info.values()]

    np.random.seed(7)
    expected = np.random.random(3).tolist()
    np.random.seed(7)
    first = brackets(0)
    assert np.random.random(3).tolist() == expected
    assert first == brackets(0) != brackets(1)
    assert set(first) == {0, 1, 2}


def test_backbones_are_served_in_turn() -> None:
    scheduler = make("none")
    trials = [StubTrial(f"t{i}", {"backbone": "aaab"[i % 4], "name": f"t{i}"}) for i in range(8)]
    served = []
    for _ in range(4):
        trial = scheduler.choose_trial_to_run(StubController(trials))
        assert trial is scheduler.choose_trial_to_run(StubController(trials))
        assert trial is not None
        trial.status = "RUNNING"
        served.append(trial.config["backbone"])
    assert served == ["a", "b", "a", "b"]
    assert scheduler.choose_trial_to_run(StubController([])) is None


def test_a_trial_that_waits_alone_is_chosen_without_a_look_at_those_that_ended() -> None:
    class Long(StubController):
        def get_trials(self) -> list[StubTrial]:
            raise AssertionError("there may be many thousands")

    trials = [StubTrial(f"t{i}", {"backbone": "a"}, "TERMINATED") for i in range(3)]
    alone: Any = StubTrial("t3", {"backbone": "a"}, "PAUSED")
    running = StubTrial("t4", {"backbone": "a"}, "RUNNING")
    assert make("none").choose_trial_to_run(Long([*trials, alone, running])) is alone
    assert make("none").choose_trial_to_run(Long([*trials, running])) is None


def test_a_trial_removed_before_it_ran_leaves_no_trace() -> None:
    scheduler = make("asha")
    trial: Any = StubTrial("tune0", {"backbone": "a", "name": "x"})
    scheduler.on_trial_add(None, trial)
    scheduler.on_trial_remove(None, trial)
    scheduler.on_trial_remove(None, trial)
    assert scheduler.decide("a", "x", 1, 0.5) == CONTINUE
    scheduler.on_trial_error(None, trial)
    assert "a:" in scheduler.debug_string()


def test_search_properties_of_others_are_refused() -> None:
    scheduler = make("asha")
    assert scheduler.set_search_properties("score", "max")
    assert scheduler.set_search_properties(None, None)
    assert not scheduler.set_search_properties("val_loss", "min")


def test_what_cannot_be_scheduled_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="did you mean 'asha'") as caught:
        make_scheduler("ahsa", 9, grace_epochs=10)
    assert len(caught.value.problems) == 2
    with pytest.raises(ConfigError, match="1 to 3 brackets"):
        make_scheduler("asha", 9, brackets=4)
    assert rung_epochs(9, 1) == [1, 3, 9]
    assert rung_epochs(5, 2) == [2]
