"""What a dry run says of time and room."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raytl.estimate import Estimate, size_text, time_text
from tests.views import ESTIMATE


def test_time_and_room_have_a_line_each() -> None:
    assert ESTIMATE.lines() == [
        "time: roughly 2 min (60 s to 4 min), from a few timed batches: probe 40 s, search 60 s",
        "room: 12 MB of decoded pictures and up to 3.0 GB of what frozen stages make of them, in the cache; 5 MB or "
        "more in the study folder",
    ]


def test_without_a_time_the_reason_is_said() -> None:
    first, _ = replace(ESTIMATE, seconds=None, reason="there is no GPU here").lines()
    assert first == "time: not known: there is no GPU here"
    assert Estimate(1, 2, 3).seconds is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89.4, "89 s"), (90, "2 min"), (7199, "120 min"), (7200, "2.0 h")]
)
def test_times_are_no_finer_than_an_estimate(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 MB"), (999_400_000, "999 MB"), (1_500_000_000, "1.5 GB")])
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_worker_hours_and_what_they_cost_have_a_line() -> None:
    told = replace(ESTIMATE, worker_hours=2.0, low_worker_hours=0.5, high_worker_hours=4.0)
    assert told.lines()[2:] == ["machines: roughly 2 worker-hours (0.5 to 4)"]
    assert replace(told, hourly_cost=1.5).lines()[2:] == [
        "machines: roughly 2 worker-hours (0.5 to 4), which cost 3 (0.75 to 6) at 1.5 each"
    ]
    assert replace(told, hourly_cost=1.5).cost == 3.0 and told.cost is None and ESTIMATE.cost is None
