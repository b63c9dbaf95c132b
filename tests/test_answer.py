"""The answer in words."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from raytl.metric import METRICS
from raytl.results.answer import NO_ANSWER, answer_sentence, choice_sentence, comparison_text, depth_text, extent
from raytl.results.facts import Answer, Comparison, final_models, find_answer
from raytl.results.stats import Interval
from raytl.results.tables import load_tables
from raytl.results.wording import percent_interval
from tests.studies import Plan, write_study


def made_answer(folder: Path) -> Answer:
    tables = load_tables(write_study(folder, Plan()))
    answer = find_answer(tables, final_models(tables, METRICS["val_accuracy"]), (), METRICS["val_accuracy"])
    assert answer
    return answer


def test_the_sentence_names_backbone_recipe_interval_and_rivals(tmp_path: Path) -> None:
    answer = made_answer(tmp_path)
    sentence = answer_sentence(answer, {"tiny_vit": ("head",)})
    assert sentence.startswith("Best is tiny_vit with the first 2 of 6 stages frozen (lr 0.001, epochs 5): ")
    assert f"{percent_interval(answer.best.test)} test accuracy over 3 seeds and 60 pictures" in sentence
    assert all(comparison_text(comparison) in sentence for comparison in answer.comparisons)


def test_a_difference_within_the_noise_is_no_difference(tmp_path: Path) -> None:
    other = made_answer(tmp_path).comparisons[0].other
    unclear = Comparison("the runner-up", other, Interval(0.01, -0.01, 0.03))
    assert comparison_text(unclear).startswith("not told apart from the runner-up (tiny_resnet, best, ")
    clear = Comparison("the runner-up", other, Interval(0.02, 0.01, 0.03))
    assert comparison_text(clear).startswith("+2.0 points [+1.0, +3.0] against the runner-up")
    endless = Comparison("the runner-up", other, Interval(0.02, math.nan, math.nan), "no pictures are on record")
    told = comparison_text(endless)
    assert "told apart" not in told and told.startswith("+2.0 points against the runner-up (tiny_resnet, best, ")
    assert told.endswith(", and whether that is noise cannot be told: no pictures are on record")
    refused = Comparison("the runner-up", other, None, "other pictures")
    assert comparison_text(refused).endswith(": other pictures")


def test_depth_and_extent(tmp_path: Path) -> None:
    model = made_answer(tmp_path).best
    assert depth_text(replace(model, freeze_depth=0)) == "all stages trained"
    assert depth_text(replace(model, freeze_depth=6)) == "all 6 stages frozen"
    assert depth_text(replace(model, stage_count=None)) == "the first 2 stages frozen"
    assert extent(replace(model, seeds=(0,))) == "1 seed and 60 pictures"
    assert extent(replace(model, runs={0: ("a",), 1: ("b",)})) == "3 seeds, 2 splits and 60 pictures each"


def test_what_is_not_tested_yet_is_said(tmp_path: Path) -> None:
    sentence = answer_sentence(replace(made_answer(tmp_path), untested=("a", "b")), {})
    assert sentence.startswith("Best of those tested so far is tiny_vit")
    assert sentence.endswith(". Not tested yet: a, b.")


def test_without_final_models_it_says_so() -> None:
    assert answer_sentence(None, {}) == NO_ANSWER


def test_the_choice_names_the_metric() -> None:
    assert "chosen by validation loss, not by its test figure" in choice_sentence(METRICS["val_loss"])


def test_what_is_over_the_limits_is_said(tmp_path: Path) -> None:
    answer = made_answer(tmp_path)
    rival = replace(answer.comparisons[0].other, over="31 ms a picture")
    sentence = answer_sentence(replace(answer, barred=(rival,)), {})
    assert sentence.startswith("Best is tiny_vit")
    assert sentence.endswith(" Better on validation, but over the limit: tiny_resnet, best: 31 ms a picture.")
    over = answer_sentence(replace(answer, best=replace(answer.best, over="120 MB")), {})
    assert over.startswith("No final model is within the limits of this study. Best without them is tiny_vit with ")
    assert over.endswith(" It is over the limit: 120 MB.")
