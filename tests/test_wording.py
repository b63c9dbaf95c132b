"""Figures as people read them."""

from __future__ import annotations

import math

import pytest

from raytl.recipe import Recipe
from raytl.results.stats import Interval
from raytl.results.wording import (
    count,
    decimal,
    depth_count,
    duration,
    frozen,
    large,
    metric_text,
    per_picture,
    percent,
    percent_interval,
    points,
    recipe_text,
    running_cost,
    small_set_sentence,
    weights_size,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(0.9534), "95.3%"),
        (percent(None), "–"),
        (percent(math.nan), "–"),
        (percent_interval(Interval(0.9534, 0.931, 0.9704)), "95.3% [93.1, 97.0]"),
        (percent_interval(Interval(0.9534, math.nan, math.nan)), "95.3%"),
        (points(Interval(0.0123, -0.004, 0.03)), "+1.2 points [-0.4, +3.0]"),
        (points(Interval(-0.0123, math.nan, math.nan)), "-1.2 points"),
        (points(Interval(-0.0123, -0.03, 0.004), unit=""), "-1.2 [-3.0, +0.4]"),
        (points(Interval(-0.0004, -0.02, -0.0)), "+0.0 points [-2.0, +0.0]"),
        (points(Interval(-0.0, math.nan, math.nan)), "+0.0 points"),
        (depth_count(0), "0 stages frozen"),
        (depth_count(1), "1 stage frozen"),
        (metric_text("val_loss", 0.1234), "0.123"),
        (metric_text("val_macro_f1", 0.1234), "12.3%"),
        (decimal(None), "–"),
        (count(12345.4), "12,345"),
        (large(27_480_000), "27.5M"),
        (large(999), "999"),
        (duration(8.44), "8.4 s"),
        (duration(720), "12 min"),
        (duration(11_160), "3.1 h"),
        (duration(None), "–"),
        (per_picture(1.234), "1.2 ms"),
        (per_picture(None), "–"),
        (weights_size(9_120_000), "9.1 MB"),
        (weights_size(None), "–"),
        (frozen(7, 12), "7 of 12"),
        (frozen(7, None), "7"),
        (recipe_text(Recipe(backbone="a", lr=0.00031), ["head", "lr"]), "lr 0.00031, epochs 5"),
        (recipe_text(Recipe(backbone="a", head="mlp:8"), ["head", "pool"]), "lr 0.001, epochs 5, head mlp:8"),
    ],
)
def test_wording(written: str, expected: str) -> None:
    assert written == expected


def test_a_small_set_says_what_it_can_show() -> None:
    """Wilson's interval for 90 of 100 is 82.6% to 94.5%: half of it is 6.0 points."""
    sentence = small_set_sentence("test", 100, 0.9)
    assert "The test set has 100 pictures: at 90.0% an accuracy is known to about ±6.0 points" in sentence
    assert "one picture weighs 1 points," in sentence


def test_what_a_model_costs_to_run_is_told_as_far_as_it_is_known() -> None:
    assert running_cost(1.5, 3_400_000) == "1.5 ms a picture, 3.4 MB of weights"
    assert running_cost(None, 3_400_000) == "3.4 MB of weights"
    assert running_cost(None, None) == "not known"
