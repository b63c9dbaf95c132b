"""Which pictures stand out, against a hand-written score."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pytest

from raytl.results.quality import picture_quality
from raytl.results.schemas import PictureRow, to_table
from tests.studies import picture_row


def row(place: int, **values: object) -> PictureRow:
    return replace(picture_row(f"{place:03d}.jpg", "rose", "train"), **values)  # type: ignore[arg-type]


def test_those_far_from_the_median_are_named_farthest_first() -> None:
    generator = np.random.default_rng(0)
    values = [*generator.normal(0.5, 0.05, 60), 0.05, 0.95, 0.99]
    rows = [row(place, brightness=float(value)) for place, value in enumerate(values)]
    rows.append(row(900, brightness=0.01, status="bad"))
    [found] = [each for each in picture_quality(to_table("data", rows, 1)) if each.measure == "brightness"]
    middle = statistics.median(values)
    spread = statistics.median(abs(value - middle) for value in values)
    scores = {f"{place:03d}.jpg": 0.6745 * (value - middle) / spread for place, value in enumerate(values)}
    assert [one.path for one in found.low] == sorted((p for p in scores if scores[p] < -3.5), key=scores.__getitem__)
    assert [one.path for one in found.high][:2] == ["062.jpg", "061.jpg"]
    assert {one.path for one in found.high} == {path for path in scores if scores[path] > 3.5}
    assert (found.least, found.median, found.most) == pytest.approx((min(values), middle, max(values)))


def test_sizes_and_sharpness_are_compared_by_their_ratio() -> None:
    sides = [100, 120, 140, 160, 180, 200, 220] * 5
    rows = [row(place, width=side, height=2 * side, sharpness=side / 1e4) for place, side in enumerate(sides)]
    rows += [row(500, width=3000, height=2, sharpness=0.0)]
    found = {each.measure: each for each in picture_quality(to_table("data", rows, 1))}
    assert found.keys() == {"shorter side", "sharpness"}
    for each in found.values():
        assert [one.path for one in each.low] == ["500.jpg"] and each.high == ()


def test_where_all_are_alike_nothing_stands_out() -> None:
    rows = [row(place, brightness=0.5) for place in range(20)] + [row(99, brightness=0.9)]
    assert {len(each.low) + len(each.high) for each in picture_quality(to_table("data", rows, 1))} == {0}
