"""Where marks stand in a chart."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from raytl.results.charts import HEIGHT, LEFT, RIGHT, STRIP_WIDTH, WIDTH, Axis, Curve, Dot, axis, legend, panel, strip
from raytl.results.stats import Interval
from tests.pages import Page

LINEAR = Axis(0.0, 10.0, "x", lambda value: f"{value:g}")
FINITE = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


def test_a_dot_stands_where_its_values_say() -> None:
    page = Page(panel("title", LINEAR, LINEAR, dots=[Dot(5.0, 10.0, 0, "<mid>")]))
    circle = page.of("circle")[0]
    assert float(str(circle["cx"])) == pytest.approx((LEFT + WIDTH - RIGHT) / 2)
    assert "<mid>" in page.text
    assert page.problems == []


def test_a_value_that_is_no_number_breaks_the_line_and_one_point_is_seen() -> None:
    points = [(1.0, 1.0), (2.0, 2.0), (3.0, math.nan), (4.0, 4.0)]
    page = Page(panel("title", LINEAR, LINEAR, curves=[Curve(points, "best")]))
    lines = [str(line["points"]).split() for line in page.of("polyline")]
    assert [len(line) for line in lines] == [2, 2]
    assert lines[1][0] != lines[1][1]


@given(st.lists(FINITE, min_size=1, max_size=20))
def test_every_value_lies_within_its_axis_and_ticks_are_few(values: list[float]) -> None:
    found = axis(values, "x", str)
    assert all(0 <= found.place(value) <= 1 for value in values)
    ticks = found.ticks()
    assert 1 <= len(ticks) <= 7
    assert all(-1e-6 <= found.place(tick) <= 1 for tick in ticks)
    assert min(values) == max(values) or found.place(max(values)) > found.place(min(values))


@given(st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=20))
@example([0.01, 1.0, 500.0])
def test_a_logarithmic_axis_places_factors_evenly(values: list[float]) -> None:
    found = axis(values, "x", str, log=True)
    assert found.log == (max(values) > 4 * min(values))
    assert all(0 <= found.place(value) <= 1 for value in values)
    if found.log:
        assert found.place(math.sqrt(found.low * found.high)) == pytest.approx(0.5)
        assert found.ticks()


def test_values_outside_go_to_the_edge() -> None:
    assert LINEAR.place(-5) == 0
    assert LINEAR.place(50) == 1


def test_no_value_and_zero_on_a_logarithmic_axis_are_borne() -> None:
    assert axis([], "x", str).ticks()
    assert not axis([0.0, 10.0], "x", str, log=True).log


def test_an_interval_reaches_from_end_to_end() -> None:
    page = Page(strip(Interval(0.5, 0.0, 1.0), 0.0, 1.0))
    whisker = next(line for line in page.of("line") if line["class"] == "whisker")
    assert (float(str(whisker["x1"])), float(str(whisker["x2"]))) == (5, STRIP_WIDTH - 5)
    assert float(str(page.of("circle")[0]["cx"])) == STRIP_WIDTH / 2


def test_an_interval_without_ends_is_a_point() -> None:
    page = Page(strip(Interval(0.5, math.nan, math.nan), 0.5, 0.5))
    assert [line["class"] for line in page.of("line")] == ["grid"]
    assert len(page.of("circle")) == 1


def test_neighbouring_series_differ_in_shape_and_32_are_all_different() -> None:
    marks = legend([str(index) for index in range(32)]).split("<span>")[1:]
    assert len({mark.split("</svg>")[0] for mark in marks}) == 32
    assert "<circle" in marks[0]
    assert "<polygon" in marks[1]


def test_long_titles_are_cut() -> None:
    page = Page(panel("x" * 200, LINEAR, LINEAR))
    assert "…" in page.text
    assert page.of("svg")[0]["height"] == str(HEIGHT)
