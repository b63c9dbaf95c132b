"""What is over a limit, and how that is said."""

from __future__ import annotations

import pytest

from raytl.limits import NO_LIMITS, Limits, size_megabytes


@pytest.mark.parametrize(
    ("limits", "speed", "parameters", "said"),
    [
        (NO_LIMITS, 0.001, 10**12, None),
        (Limits(latency_ms=20), 50.0, 10**12, None),  # 20 ms is within at most 20
        (Limits(latency_ms=20), 32.0, 1, "31.2 ms a picture"),
        (Limits(latency_ms=20), 0.0, 1, None),  # was not measured
        (Limits(size_mb=100), 1.0, 25_000_000, None),
        (Limits(size_mb=100), 1.0, 25_500_000, "102 MB"),
        (Limits(size_mb=100), 1.0, None, None),
        (Limits(latency_ms=20, size_mb=100), 32.0, 30_000_000, "31.2 ms a picture, 120 MB"),
    ],
)
def test_a_model_is_over_a_limit_above_it(limits: Limits, speed: float, parameters: int | None, said: str) -> None:
    assert limits.excess(speed, parameters) == said


def test_limits_are_written_for_people() -> None:
    assert NO_LIMITS.text == ""
    assert Limits(20, 0.5).text == "at most 20 ms a picture, at most 0.5 MB"
    assert size_megabytes(250_000) == 1.0
