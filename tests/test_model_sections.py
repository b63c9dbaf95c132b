"""Parts of the report about models."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raytl.metric import METRICS
from raytl.results.facts import Answer, FinalModel, backbone_searches, final_models
from raytl.results.history import FreezePoint, TrialCurve
from raytl.results.model_sections import (
    answer_section,
    curves_section,
    finals_section,
    freeze_section,
    searches_section,
)
from raytl.results.tables import Tables, load_tables
from raytl.results.wording import percent, percent_interval
from tests.pages import Page
from tests.studies import Plan, write_study

ACCURACY, LOSS = METRICS["val_accuracy"], METRICS["val_loss"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return load_tables(write_study(tmp_path_factory.mktemp("study"), Plan()))


@pytest.fixture(scope="module")
def models(tables: Tables) -> tuple[FinalModel, ...]:
    return final_models(tables, ACCURACY)


def test_every_final_model_is_a_row_with_its_figures(models: tuple[FinalModel, ...]) -> None:
    page = Page(finals_section(models, [0.031, *[None] * 8], ACCURACY))
    assert page.problems == []
    for model in models:
        assert percent_interval(model.test) in page.texts
        assert percent(model.test_macro_f1) in page.texts
    assert "+3.1" in page.texts
    assert "AUC" not in page.texts


def test_auc_is_a_column_where_there_is_one(models: tuple[FinalModel, ...]) -> None:
    page = Page(finals_section([replace(models[0], test_auc=0.9875)], [None], ACCURACY))
    assert "AUC" in page.texts
    assert any(text in page.texts for text in ("0.988", "0.987"))


def test_a_problem_of_a_final_model_is_shown(models: tuple[FinalModel, ...]) -> None:
    page = Page(finals_section([replace(models[0], problem="lost <it>")], [None], ACCURACY))
    assert "tiny_vit, best: lost <it>" in page.texts


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


def test_parts_without_facts_say_so() -> None:
    assert "None has been tested yet." in Page(finals_section((), (), ACCURACY)).texts
    assert "No trial has run." in Page(searches_section((), ACCURACY)).texts
    assert "No epoch has been recorded." in Page(curves_section({}, ACCURACY)).texts
    assert "No trial with a known freeze depth has ended." in Page(freeze_section((), ACCURACY)).texts
    assert "No final model has been tested yet" in Page(answer_section(None, (), ACCURACY, ())).text


def test_the_answer_holds_sizes_and_the_whole_recipe(models: tuple[FinalModel, ...]) -> None:
    page = Page(answer_section(Answer(models[0], ()), (), ACCURACY, ["a small set"]))
    assert "a small set" in page.texts
    assert "label_smoothing=0" in page.text
    assert "The model is in models/tiny_vit." in page.text
    assert "no other model was tested to compare it with" in page.text
