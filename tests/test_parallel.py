"""Trials as lines across their fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytl.results.parallel import BOTTOM, HEIGHT, LINES, TOP, Column, drawn, parallel
from tests.pages import Page


def heights(values: Sequence[Any]) -> list[float]:
    """Where the lines of trials cross an axis, 0 at its bottom and 1 at its top, in the order of the trials."""
    count = len(values)
    columns = [Column("first", values), Column("rank", list(range(count)))]
    page = Page(parallel(columns, [index / count for index in range(count)], ["t"] * count))
    assert page.problems == []
    downs = [float(str(line["points"]).split()[0].split(",")[1]) for line in page.of("polyline")]
    return [(HEIGHT - BOTTOM - down) / (HEIGHT - BOTTOM - TOP) for down in downs]


def test_numbers_lie_in_proportion_rates_by_their_ratios_and_choices_evenly() -> None:
    assert heights([1.0, 2.0, 3.0]) == pytest.approx([0, 0.5, 1], abs=1e-3)
    assert heights([1e-4, 1e-3, 1e-2]) == pytest.approx([0, 0.5, 1], abs=1e-3)
    assert heights(["b", "a", "b"]) == pytest.approx([0.75, 0.25, 0.75], abs=1e-3)
    assert heights([True, False, None]) == pytest.approx([5 / 6, 1 / 6, 0.5], abs=1e-3)


def test_axes_have_their_names_and_ends() -> None:
    page = Page(parallel([Column("lr", [1e-4, 1e-2]), Column("a" * 40, ["x", "y<z"])], [0, 1], ["one", "two"]))
    assert {"lr", "0.0001", "0.001", "0.01", "x", "y<z", "a" * 19 + "…", "one", "two"} <= set(page.texts)


def test_the_best_is_drawn_last_and_strongest() -> None:
    page = Page(parallel([Column("lr", [1, 2, 3])], [0.5, 1.0, 0.0], ["b", "c", "a"]))
    assert [line["style"] for line in page.of("polyline")] == ["--share: 0.00", "--share: 0.50", "--share: 1.00"]


@given(st.integers(1, 3 * LINES))
def test_of_very_many_the_best_half_and_an_even_choice_of_the_others_are_drawn(count: int) -> None:
    ranks = np.random.default_rng(count).permutation(count) / max(1, count - 1)
    shown = drawn(ranks.tolist())
    assert len(shown) == len(set(shown)) == min(count, LINES)
    assert sorted(ranks[shown]) == list(ranks[shown])
    if count > LINES:
        best = sorted(range(count), key=lambda trial: ranks[trial])[-LINES // 2 :]
        assert shown[LINES // 2 :] == best and shown[0] == int(np.argmin(ranks))
