"""About how long a study takes: prices added up by hand, and bounds that hold whatever the plan."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from raytl.errors import MachineError
from raytl.on_ray import forecast
from raytl.on_ray.cluster import Slots
from raytl.on_ray.forecast import REPORT_SECONDS, START_SECONDS, TRIAL_SECONDS, Span, estimate_study, priced
from raytl.on_ray.plan import Plan, build_stores
from raytl.train.pace import Pace
from tests.plans import make_album, make_plan

SLOTS = Slots(2, 1, 1, use_gpu=False)
PACE = Pace(decode_seconds=0.5, train_seconds=3.0, evaluate_seconds=1.0)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan((make_album(tmp_path / "pictures", pictures=20),), tmp_path / "cache", scheduler="none")


def steps(plan: Plan, slots: Slots = SLOTS) -> dict[str, Span]:
    return priced(plan, slots, [PACE] * len(plan.backbones))


def test_a_flat_search_is_added_up_by_hand(plan: Plan) -> None:
    train, val = len(plan.album.part("train")), len(plan.album.part("val"))
    found = steps(plan)
    assert list(found) == ["workers", "search", "confirm", "report"]
    # two backbones with four trials of nine epochs over two slots; every stage trained
    assert found["search"].high == pytest.approx(4 * (9 * (3 * train + val) + TRIAL_SECONDS))
    # the space has depths 0 and 3, which train all and a tenth: 0.55 of a picture's price, the rest read from the store
    assert found["search"].low == pytest.approx(4 * (9 * 0.55 * (3 * train + val) + TRIAL_SECONDS))
    # three roles under two seeds, of which one trains more than a head
    assert found["confirm"].high == pytest.approx(2 * 9 * (3 * train + val) + 6 * TRIAL_SECONDS)
    assert found["report"].likely == 2 * REPORT_SECONDS


def test_pictures_are_decoded_where_they_are_not_stored_yet(plan: Plan) -> None:
    assert steps(plan)["workers"].likely == START_SECONDS + 0.5 * len(plan.album.used) / 2
    build_stores(plan)
    assert steps(plan)["workers"].likely == START_SECONDS


def test_pictures_that_are_not_stored_are_decoded_in_every_pass(plan: Plan) -> None:
    train, val = len(plan.album.part("train")), len(plan.album.part("val"))
    unstored = steps(replace(plan, study=replace(plan.study, store_gb=0.0)))
    assert unstored["workers"].likely == START_SECONDS
    assert unstored["search"].high == pytest.approx(4 * (9 * (3.5 * train + 1.5 * val) + TRIAL_SECONDS))


@pytest.mark.parametrize("values", [{}, {"scheduler": "asha"}, {"policy": "ladder"}, {"workers_per_trial": 2}])
def test_what_is_likely_lies_between_the_ends(tmp_path: Path, values: dict[str, object]) -> None:
    made = make_plan((make_album(tmp_path / "pictures"),), tmp_path / "cache", **values)
    for span in steps(made).values():
        assert 0 <= span.low <= span.likely <= span.high


def test_a_scheduler_that_stops_trials_makes_a_search_shorter(plan: Plan) -> None:
    stopped = steps(replace(plan, study=replace(plan.study, scheduler="asha")))["search"]
    whole = steps(plan)["search"]
    assert stopped.low < whole.low and stopped.likely < whole.likely and stopped.high == whole.high
    # of nine epochs: one for all, two more for a third, six more for a ninth
    assert forecast._epoch_share("asha", 9) == pytest.approx((1 + 2 / 3 + 6 / 9) / 9)
    assert forecast._epoch_share("none", 9) == 1.0


def test_twice_the_slots_take_half_the_time(plan: Plan) -> None:
    one, two = steps(plan, Slots(1, 1, 2, use_gpu=False)), steps(plan)
    assert one["search"].likely == pytest.approx(2 * two["search"].likely)


def test_a_design_is_every_cell_under_every_seed(tmp_path: Path) -> None:
    design = {"depth": {"all": {"freeze_depth": 0}, "head": {"freeze_depth": "all"}}}
    album = make_album(tmp_path / "pictures")
    made = make_plan((album,), tmp_path / "cache", design=design, confirm_seeds=3)
    train, val = len(album.part("train")), len(album.part("val"))
    runs = steps(made)["runs"]
    assert list(steps(made)) == ["workers", "runs", "report"]
    # two backbones, three seeds, two slots: a whole run and one that trains a tenth, its frozen part read
    assert runs.low == pytest.approx(3 * (9 * (3 * train + val) * 1.1 + 2 * TRIAL_SECONDS))
    assert runs.high > runs.likely > runs.low


def test_an_estimate_names_its_steps_and_holds_to_the_limit(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "measure_pace", lambda *_: PACE)
    found = estimate_study(plan, SLOTS, 10**9, time.monotonic() - 7)
    assert found.seconds == pytest.approx(sum(found.step_seconds.values()))
    assert found.step_seconds["plan"] == pytest.approx(7, abs=1)
    assert found.decoded_bytes > 0 and found.study_bytes > 0 and found.prefix_bytes == 0, "nothing to freeze"
    limited = replace(plan, study=replace(plan.study, time_limit_seconds=60))
    found = estimate_study(limited, SLOTS, 10**9, time.monotonic())
    assert found.seconds == pytest.approx(sum(found.step_seconds.values()))
    cut = sum(found.step_seconds[name] for name in ("plan", "workers", "search"))
    assert cut == pytest.approx(0.6 * 60), "the search ends after its share, final models come whatever is left"
    assert found.step_seconds["confirm"] == pytest.approx(steps(plan)["confirm"].likely)
    late = replace(plan, study=replace(plan.study, time_limit_seconds=1))
    assert estimate_study(late, SLOTS, 10**9, time.monotonic()).step_seconds["search"] == 0


def test_what_cannot_be_timed_is_said(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Pace:
        raise MachineError("no weights")

    monkeypatch.setattr(forecast, "measure_pace", fail)
    found = estimate_study(plan, SLOTS, 0, time.monotonic())
    assert found.seconds is None and found.reason == "no batch could be timed: no weights"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = estimate_study(plan, replace(SLOTS, use_gpu=True), 0, time.monotonic())
    assert found.seconds is None and "GPUs that this process does not have" in str(found.reason)


def test_a_plan_is_timed_for_true(plan: Plan) -> None:
    one = replace(plan, backbones=plan.backbones[:1])
    found = estimate_study(one, SLOTS, 0, time.monotonic())
    assert found.seconds is not None and START_SECONDS < found.seconds < 300


def test_worker_hours_are_those_of_busy_slots_and_have_a_price(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "measure_pace", lambda *_: PACE)
    slots = Slots(3, 2, 1, use_gpu=False)
    found = estimate_study(plan, slots, 10**9, time.monotonic(), hourly_cost=1.5)
    busy = found.step_seconds["search"] + found.step_seconds["confirm"]
    assert found.worker_hours == pytest.approx(busy * 3 * 2 / 3600)
    assert found.cost == pytest.approx(1.5 * busy * 6 / 3600)
    assert None is estimate_study(plan, slots, 10**9, time.monotonic()).cost


def test_a_budget_bounds_the_search_and_leaves_the_confirmation(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "measure_pace", lambda *_: PACE)
    whole = estimate_study(plan, SLOTS, 10**9, time.monotonic())
    hours = 0.01  # of which 0.6 are the search's, on two slots
    limited = replace(plan, study=replace(plan.study, budget_hours=hours))
    found = estimate_study(limited, SLOTS, 10**9, time.monotonic())
    assert found.step_seconds["search"] == pytest.approx(3600 * hours * 0.6 / 2)
    assert found.step_seconds["search"] < whole.step_seconds["search"]
    assert found.step_seconds["confirm"] == whole.step_seconds["confirm"]
    plenty = replace(plan, study=replace(plan.study, budget_hours=1e6))
    assert estimate_study(plenty, SLOTS, 0, time.monotonic()).worker_hours == pytest.approx(whole.worker_hours)


def test_a_budget_is_used_by_the_probe_first(tmp_path: Path) -> None:
    made = make_plan((make_album(tmp_path / "pictures"),), tmp_path / "cache", budget_hours=0.01)
    given = {"probe": Span(10.0, 20.0, 30.0), "search": Span(5.0, 10.0, 90.0), "report": Span(1.0, 1.0, 1.0)}
    # two backbones are probed at a time, so that 20, 40 or 60 of the search's 21.6 worker-seconds are gone
    found = forecast._within_budget(made, SLOTS, given)
    assert (found["search"].low, found["search"].likely) == (0.0, 0.0)
    assert found["search"].high == pytest.approx((21.6 - 20) / 2) and found["report"] == given["report"]
