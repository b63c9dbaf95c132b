"""Parts of the report about the search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from raytl.metric import METRICS
from raytl.results.facts import backbone_searches
from raytl.results.history import FreezePoint, TrialCurve
from raytl.results.importance import Importance, Share
from raytl.results.search_sections import (
    curves_section,
    freeze_section,
    importance_section,
    lines_section,
    searches_section,
)
from raytl.results.tables import Tables, load_tables
from raytl.results.varied import trial_groups
from raytl.results.wording import percent
from tests.pages import Page
from tests.studies import Plan, write_study

ACCURACY, LOSS = METRICS["val_accuracy"], METRICS["val_loss"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return load_tables(write_study(tmp_path_factory.mktemp("study"), Plan()))


def test_the_search_tells_what_each_backbone_tried(tables: Tables) -> None:
    searches = backbone_searches(tables, ACCURACY)
    page = Page(searches_section(searches, ACCURACY))
    for search in searches:
        assert search.best
        assert percent(search.best.val_accuracy) in page.texts
    first = page.texts.index("tiny_vit")
    assert page.texts[first + 1 : first + 7] == ["4", "2", "1", "0", "7", "1"]


def test_a_backbone_whose_trials_all_failed_is_shown(tables: Tables) -> None:
    search = replace(backbone_searches(tables, ACCURACY)[0], best=None)
    assert "no trial ended with a figure" in Page(searches_section([search], ACCURACY)).texts


def test_curves_have_one_chart_per_backbone() -> None:
    curves = {
        "a": [TrialCurve("t1", "stopped", ((1, 0.5),)), TrialCurve("t2", "best", ((1, 0.5), (2, 0.7)))],
        "b": [TrialCurve("t3", "best", ((1, float("nan")),))],
    }
    page = Page(curves_section(curves, ACCURACY))
    assert [svg["aria-label"] for svg in page.of("svg")][-2:] == ["a", "b"]
    assert [line["class"] for line in page.of("polyline")][3:] == ["curve stopped", "curve best"]


def test_one_wild_loss_does_not_press_the_curves_to_the_floor() -> None:
    points = tuple((float(epoch), 1.0 / epoch) for epoch in range(1, 100))
    page = Page(curves_section({"a": [TrialCurve("t", "best", (*points, (100.0, 1e9)))]}, LOSS))
    heights = [float(point.split(",")[1]) for point in str(page.of("polyline")[3]["points"]).split()]
    assert max(heights[:99]) - min(heights[:99]) > 100


def test_freeze_depth_has_two_charts_with_a_mark_per_trial() -> None:
    points = [FreezePoint("a", "t1", 0.0, 0.9, 10.0), FreezePoint("b", "t2", 0.9, 0.8, None)]
    page = Page(freeze_section(points, ACCURACY))
    marks = [mark for kind in ("circle", "polygon") for mark in page.of(kind) if "dot" in str(mark["class"])]
    assert len(marks) == 3
    assert "b t2: 0.8" in page.texts


def test_a_field_is_marked_where_it_explains_more_than_chance() -> None:
    shares = (Share("lr", 0.52, True), Share("mixup", 0.031, False))
    page = Page(importance_section([Importance("probe", "a", 128, shares, 0.044)], ACCURACY))
    assert page.problems == []
    assert {"lr", "52.0%", "mixup", "3.1%", "a: heads over frozen backbones, 128 trials"} <= set(page.texts)
    assert [bar["class"] for bar in page.of("div") if "share" in str(bar.get("class"))] == [
        "share matters",
        "share chance",
    ]
    assert "explains 4.4%" in page.text


def test_every_trial_with_a_figure_is_a_line_and_stages_have_charts_of_their_own(tables: Tables) -> None:
    groups = trial_groups(tables, ACCURACY)
    page = Page(lines_section(groups, ACCURACY))
    assert page.problems == []
    whole = [group for group in groups if group.backbone is None]
    assert [len(group.rows) for group in whole] == [18, 3], "of seven and one trials of three backbones one diverged"
    lines = [line for line in page.of("polyline") if line["class"] == "trial"]
    assert len(lines) == 21
    assert [str(line["style"]) for line in lines[:18]] == [f"--share: {rank:.2f}" for rank in np.linspace(0, 1, 18)]
    best = max(row.val_accuracy or 0 for row in whole[0].rows)
    assert any(f": {best:.4g}, lr" in text for text in page.texts)


def test_parts_without_facts_say_so() -> None:
    assert "No trial has run." in Page(searches_section((), ACCURACY)).texts
    assert "No epoch has been recorded." in Page(curves_section({}, ACCURACY)).texts
    assert "No trial with a known freeze depth has ended." in Page(freeze_section((), ACCURACY)).texts
    assert "from 20 trials with a figure on" in Page(importance_section((), ACCURACY)).text
    assert "No two trials with a figure differ" in Page(lines_section((), ACCURACY)).text
