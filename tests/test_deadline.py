"""A deadline passes when its seconds are over, and never where there are none."""

from __future__ import annotations

import time

import pytest

from raytl.on_ray.deadline import Deadline


def test_a_deadline_passes_at_its_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    limited, endless = Deadline(5.0), Deadline(None)
    for now[0], passed in ((100.0, False), (104.9, False), (105.0, True), (1e9, True)):
        assert limited.passed is passed and not endless.passed


def test_no_seconds_left_have_passed_at_once() -> None:
    assert Deadline(0.0).passed
