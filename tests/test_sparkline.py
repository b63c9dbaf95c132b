"""Sparklines: heights against a rule written out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytl.results.sparkline import BLOCKS, PLAIN, sparkline, thinned

NUMBERS = st.lists(st.floats(-1e6, 1e6, allow_nan=False), max_size=60)


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([], ""), ([0.5], "▅"), ([0.5, 0.5], "▅▅"), ([0.0, 0.5, 1.0], "▁▅█"), ([7, 6, 5, 4, 3, 2, 1, 0], "█▇▆▅▄▃▂▁")],
)
def test_values_lie_between_the_lowest_and_the_highest_block(values: Sequence[float], drawn: str) -> None:
    assert sparkline(values, 12) == drawn


@given(NUMBERS, st.integers(1, 20))
def test_a_curve_is_as_long_as_there_is_room_for_and_ends_on_the_last_value(values: list[float], width: int) -> None:
    shown = thinned(values, width)
    assert len(shown) == min(len(values), width) == len(sparkline(values, width, PLAIN))
    assert shown[-1:] == values[-1:]
    assert not values or width == 1 or shown[0] == values[0]


@given(NUMBERS)
def test_a_higher_value_never_has_a_lower_block(values: list[float]) -> None:
    heights = [BLOCKS.index(each) for each in sparkline(values, 60)]
    for a, low in zip(values, heights, strict=True):
        for b, high in zip(values, heights, strict=True):
            assert low <= high or a > b


def test_plain_levels_are_ascii_and_as_many() -> None:
    assert PLAIN.isascii() and len(PLAIN) == len(BLOCKS) == len(set(PLAIN))
