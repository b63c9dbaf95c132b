"""A timed pass: each batch computed once, seconds to each depth, and what storing costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raytl.train.prefix_pass import PROBED_BATCHES, Cost, TimedPass, measure
from raytl.train.prefix_rows import RowLayout
from tests.prefixes import BATCH, ROWS, Clock, Source

LAYOUT = RowLayout((6,), "float32", False)
SECONDS = st.floats(0, 10)


def test_every_batch_is_computed_once_though_some_were_looked_at_first() -> None:
    clock = Clock()
    source = Source(clock, widths=(6, 2))
    one_pass = TimedPass(source, ROWS, BATCH, clock)
    assert [chunk.tolist() for chunk in one_pass.chunks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(one_pass.probe(2)) == min(PROBED_BATCHES, 3)
    made = [one_pass.batch(index, 2) for index in range(3)]
    for place, values in enumerate(source.values):
        np.testing.assert_array_equal(np.concatenate([each[place].rows for each in made]), values.numpy())
    assert source.calls == 3


def test_seconds_to_a_depth_include_those_before_it() -> None:
    clock = Clock()
    made = TimedPass(Source(clock, seconds=1.5, widths=(6, 2, 1)), ROWS, BATCH, clock).batch(0, 3)
    assert [each.compute_seconds for each in made] == [1.5, 3.0, 4.5]


def test_nothing_is_computed_behind_the_last_wanted_depth() -> None:
    clock = Clock()
    TimedPass(Source(clock, seconds=1.0, widths=(6, 2, 1)), ROWS, BATCH, clock).batch(0, 1)
    assert clock.now == 1.0


@pytest.mark.parametrize(("depths", "rows"), [(3, slice(None)), (2, slice(1, None))])
def test_missing_depths_and_rows_are_refused(depths: int, rows: slice) -> None:
    values = torch.zeros(ROWS, 2)
    one_pass = TimedPass(lambda wanted: [values[: len(wanted)][rows]] * 2, ROWS, BATCH, Clock())
    with pytest.raises(ValueError, match="came for 4 pictures at"):
        one_pass.batch(0, depths)


def test_costs_are_per_picture_and_the_fastest_batch_counts(tmp_path: Path) -> None:
    clock = Clock()
    source = Source(clock, seconds=8.0)
    one_pass = TimedPass(source, ROWS, BATCH, clock)
    first = one_pass.batch(0, 1)[0]
    source.seconds = 2.0
    cost = measure(tmp_path, [first, one_pass.batch(1, 1)[0]], clock)
    assert cost == Cost(2.0 / BATCH, 0.0, 0.0, LAYOUT)
    assert cost.value == pytest.approx(0.5 / 24)
    assert list(tmp_path.iterdir()) == []


def test_writing_and_reading_are_timed(tmp_path: Path) -> None:
    rows = torch.zeros(8, 1 << 16)
    made = TimedPass(lambda wanted: [rows[: len(wanted)]], 8, 8).batch(0, 1)
    cost = measure(tmp_path, made)
    assert 0 < cost.read_seconds < 1 and 0 < cost.write_seconds < 5


@given(compute=SECONDS, write=SECONDS, read=SECONDS, uses=st.floats(0, 100))
def test_it_pays_where_storing_is_the_faster_way(compute: float, write: float, read: float, uses: float) -> None:
    stored, recomputed = compute + write + uses * read, uses * compute
    if abs(stored - recomputed) > 1e-9 * (stored + recomputed):
        assert Cost(compute, write, read, LAYOUT).pays(uses) == (stored < recomputed)
