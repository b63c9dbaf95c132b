"""Histograms against numpy's sums, and what has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytl.results.histogram import BUCKETS, histogram


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=300))
def test_every_value_lies_in_one_bucket_and_the_moments_are_those_of_the_values(values: list[float]) -> None:
    x = np.array(values)
    found = histogram("stage", x)
    assert found is not None and len(found.counts) == len(found.limits) == BUCKETS
    assert sum(found.counts) == found.number == len(values)
    assert (found.least, found.most) == (min(values), max(values))
    assert (found.total, found.squares) == pytest.approx((sum(values), sum(v * v for v in values)), rel=1e-9, abs=1e-6)
    assert list(found.limits) == sorted(found.limits) and found.limits[-1] >= max(values)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_without_finite_values_there_is_none(values: list[float]) -> None:
    assert histogram("stage", np.array(values)) is None
