"""Models that no other beats."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raytl.results.pareto import front

POINTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12)


@given(POINTS)
def test_the_front_is_what_no_other_point_beats(points: list[tuple[int, int]]) -> None:
    unbeaten = {
        (cost, value)
        for cost, value in points
        if not any((c <= cost and v >= value) and (c, v) != (cost, value) for c, v in points)
    }
    found = front([(float(cost), float(value)) for cost, value in points])
    assert set(found) == unbeaten and found == sorted(found) and len(set(found)) == len(found)
