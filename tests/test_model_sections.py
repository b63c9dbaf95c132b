"""Parts of the report about final models."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raytl.limits import Limits
from raytl.metric import METRICS
from raytl.results.charts import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH
from raytl.results.facts import Answer, FinalModel, behind_first, final_models
from raytl.results.model_sections import (
    answer_section,
    costs_section,
    finals_section,
)
from raytl.results.tables import Tables, load_tables
from raytl.results.wording import percent, percent_interval
from tests.pages import Page
from tests.studies import Plan, write_study

ACCURACY = METRICS["val_accuracy"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return load_tables(write_study(tmp_path_factory.mktemp("study"), Plan()))


@pytest.fixture(scope="module")
def models(tables: Tables) -> tuple[FinalModel, ...]:
    return final_models(tables, ACCURACY)


def test_every_final_model_is_a_row_with_its_figures(models: tuple[FinalModel, ...]) -> None:
    page = Page(finals_section(models, [0.031, *[None] * 8], [None] * 9, ACCURACY))
    assert page.problems == []
    for model in models:
        assert percent_interval(model.test) in page.texts
        assert percent(model.test_macro_f1) in page.texts
    assert "+3.1" in page.texts
    assert "AUC" not in page.texts


def test_auc_is_a_column_where_there_is_one(models: tuple[FinalModel, ...]) -> None:
    page = Page(finals_section([replace(models[0], test_auc=0.9875)], [None], [None], ACCURACY))
    assert "AUC" in page.texts
    assert any(text in page.texts for text in ("0.988", "0.987"))


def test_a_problem_of_a_final_model_is_shown(models: tuple[FinalModel, ...]) -> None:
    page = Page(finals_section([replace(models[0], problem="lost <it>")], [None], [None], ACCURACY))
    assert "tiny_vit, best: lost <it>" in page.texts


def test_parts_without_facts_say_so() -> None:
    assert "None has been tested yet." in Page(finals_section((), (), (), ACCURACY)).texts
    assert "None has been tested yet." in Page(costs_section(())).texts
    assert "No final model has been tested yet" in Page(answer_section(None, (), ACCURACY, ())).text


def test_the_answer_holds_sizes_and_the_whole_recipe(models: tuple[FinalModel, ...]) -> None:
    page = Page(answer_section(Answer(models[0], ()), (), ACCURACY, ["a small set"]))
    assert "a small set" in page.texts
    assert "label_smoothing=0" in page.text
    assert "The model is in models/tiny_vit." in page.text
    assert "no other model was tested to compare it with" in page.text


def test_each_model_is_told_from_the_first_on_the_same_pictures(tables: Tables, models: tuple[FinalModel, ...]) -> None:
    behind = behind_first(tables, models)
    assert behind[0] is None
    page = Page(finals_section(models, [None] * 9, behind, ACCURACY))
    for model, comparison in zip(models[1:], behind[1:], strict=True):
        assert comparison and comparison.difference and comparison.other is model
        less, lead = model.test.value - models[0].test.value, comparison.difference
        assert lead.value == pytest.approx(-less)
        assert f"{100 * less:+.1f} [{-100 * lead.high:+.1f}, {-100 * lead.low:+.1f}]" in page.texts


def test_costs_are_those_of_the_tables_and_the_line_joins_what_is_not_beaten(models: tuple[FinalModel, ...]) -> None:
    slow, quick, beaten = (
        replace(
            models[0], backbone=name, predict_images_per_second=speed, parameters=2_500_000,
            test=replace(models[0].test, value=value),
        )
        for name, speed, value in (("slow", 50.0, 0.9), ("quick", 400.0, 0.8), ("beaten", 40.0, 0.7))
    )  # fmt: skip
    page = Page(costs_section([slow, quick, beaten]))
    assert page.problems == []
    assert {"20", "2.5", "25", "2.5M", "10 MB"} <= set(page.texts)
    lines = [len(str(line["points"]).split()) for line in page.of("polyline")]
    assert lines[0] == 2, "of milliseconds: from the quick one to the slow one"


def test_the_limits_stand_across_their_charts_alone(models: tuple[FinalModel, ...]) -> None:
    page = Page(costs_section(models, Limits(latency_ms=8.0)))  # the models take 0.5 ms
    assert page.problems == []
    found = [str(line["points"]).split() for line in page.of("polyline") if line["class"] == "curve limit"]
    sample, line = found
    (left, top), (right, bottom) = (map(float, point.split(",")) for point in line)
    assert left == right and sorted((top, bottom)) == [TOP, HEIGHT - BOTTOM]
    dots = [float(str(mark["cx"])) for mark in page.of("circle") if "dot" in str(mark["class"])]
    assert len(sample) == 2 and dots[0] < left < WIDTH - RIGHT, (
        "of milliseconds: what is slower would stand to the right"
    )
    assert "the study's limit: at most 8 ms a picture" in page.text
    assert "limit" not in Page(costs_section(models)).text


def test_models_of_unknown_size_are_left_out_of_its_chart(models: tuple[FinalModel, ...]) -> None:
    page = Page(costs_section([replace(models[0], parameters=None, predict_images_per_second=0.0)]))
    assert page.problems == []
    assert len([mark for mark in page.of("circle") if "dot" in str(mark["class"])]) == 1, "seconds to train alone"


def test_a_model_over_the_limits_says_so_in_its_row(models: tuple[FinalModel, ...]) -> None:
    shown = [models[0], replace(models[1], over="31 ms a picture")]
    page = Page(finals_section(shown, [None] * 2, [None] * 2, ACCURACY))
    assert "best" in page.texts and f"{models[1].role}, over the limit: 31 ms a picture" in page.texts
