"""A deadline passes when its seconds are over, a budget when trials have used it, and neither where there is none."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from raytl.on_ray.deadline import Budget, Deadline, Earliest
from raytl.results.recorder import Ending
from tests.plans import make_recorder
from tests.rows import START, epoch_row, trial_row


def test_a_deadline_passes_at_its_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limited, endless = Deadline(5.0), Deadline(None)
    for now[0], passed in ((100.0, False), (104.9, False), (105.0, True), (1e9, True)):
        assert limited.passed is passed and not endless.passed


def test_no_seconds_left_have_passed_at_once() -> None:
    assert Deadline(0.0).passed


def test_a_budget_passes_with_the_rows_that_use_it_up_and_stays_passed(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    limits = (0.0, 9.9, 10.0, 24.0, 24.1)

    def passed() -> list[float]:
        known = make_recorder(tmp_path)  # one that goes on says the same
        found = [seconds for seconds in limits if Budget(recorder, seconds).passed]
        assert found == [seconds for seconds in limits if Budget(known, seconds).passed]
        return found

    assert passed() == [0.0] and not Budget(recorder, None).passed
    recorder.start(trial_row(worker_count=2))
    recorder.epoch(epoch_row(ended_at=START + timedelta(seconds=5)))
    assert passed() == [0.0, 9.9, 10.0]
    recorder.end("t0", Ending("completed", worker_seconds=12.0))
    recorder.start(trial_row(trial_id="t1"))
    assert passed() == [0.0, 9.9, 10.0]
    recorder.epoch(epoch_row(trial_id="t1", ended_at=START + timedelta(seconds=12)))
    assert passed() == [0.0, 9.9, 10.0, 24.0] and not Budget(recorder, None).passed


def test_of_several_the_one_that_has_passed_says_why(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    by_time = Earliest((Deadline(0.0), Budget(recorder, None)))
    by_budget = Earliest((Deadline(None), Budget(recorder, 0.0)))
    assert by_time.passed and by_time.why == Deadline(0.0).why and "time" in by_time.late
    assert by_budget.passed and "--budget-hours" in by_budget.why and "--budget-hours" in by_budget.late
    assert not Earliest((Deadline(None), Budget(recorder, 1.0))).passed
