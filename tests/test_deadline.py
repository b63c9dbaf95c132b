"""A deadline passes when its seconds are over, and never where there are none."""

from __future__ import annotations

import time

import pytest

from raytl.on_ray.deadline import Deadline


def test_a_deadline_passes_at_its_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limited, endless = Deadline(5.0), Deadline(None)
    seen = []
    for now in (100.0, 104.9, 105.0, 1e9):  # noqa: B007 - read by the clock above
        seen.append((limited.passed, endless.passed))
    assert seen == [(False, False), (False, False), (True, False), (True, False)]


def test_no_seconds_left_have_passed_at_once() -> None:
    assert Deadline(0.0).passed
