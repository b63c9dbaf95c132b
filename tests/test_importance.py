"""What mattered in a search, against functions whose variance is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raytl.results.importance import LEAST_TRIALS, MOST_TRIALS, find_importances
from raytl.results.varied import TrialGroup
from tests.rows import trial_row


def group(values: np.ndarray, columns: dict[str, list[Any]], stage: str = "search") -> TrialGroup:
    """Trials with these values of a metric that is the better the higher."""
    ranks = np.argsort(np.argsort(values)) / (len(values) - 1)
    return TrialGroup(stage, "a", (trial_row(),) * len(values), columns, ranks)


def fields(count: int, seed: int, names: tuple[str, ...] = ("a", "b", "c", "d")) -> dict[str, list[Any]]:
    generator = np.random.default_rng(seed)
    return {name: generator.random(count).tolist() for name in names}


def test_strong_fields_get_their_share_of_the_variance_and_weak_ones_less_of_it() -> None:
    """Var(2a + b) is 4/12 + 1/12 for a and b uniform: four fifths are the first's, one fifth the second's."""
    columns = fields(250, 0)
    [found] = find_importances([group(2 * np.array(columns["a"]) + np.array(columns["b"]), columns)])
    share = {each.field: each.value for each in found.shares}
    assert [each.field for each in found.shares[:2]] == ["a", "b"]
    assert share["a"] == pytest.approx(0.8, abs=0.1) and found.chance < share["b"] < 0.2
    assert max(share["c"], share["d"]) < 0.02
    assert {each.field for each in found.shares if each.matters} == {"a", "b"}


def test_fields_of_the_same_effect_get_the_same_share() -> None:
    columns = fields(250, 0)
    [found] = find_importances([group(np.array(columns["a"]) + np.array(columns["b"]), columns)])
    share = {each.field: each.value for each in found.shares}
    assert share["a"] == pytest.approx(share["b"], rel=0.3) and share["a"] + share["b"] > 0.6


def test_noise_is_rarely_taken_for_an_effect() -> None:
    marked = [
        each.matters
        for seed in range(10)
        for found in find_importances([group(np.random.default_rng(seed + 99).random(40), fields(40, seed))], seed)
        for each in found.shares
    ]
    assert len(marked) == 40 and sum(marked) <= 6, "at one in twenty, more than six of forty come in one run of 290"


def test_rates_count_by_their_ratios_and_names_as_choices() -> None:
    generator = np.random.default_rng(3)
    rates = 10 ** generator.uniform(-5, -1, 120)
    kinds = generator.choice(["sgd", "adam", "lamb"], 120)
    values = np.log10(rates) + 3.0 * (kinds == "adam")
    columns = {"lr": rates.tolist(), "optimizer": kinds.tolist(), "nesterov": [bool(x > 0.5) for x in rates % 1e-3]}
    [found] = find_importances([group(values, {**columns, "nesterov": (generator.random(120) > 0.5).tolist()})])
    share = {each.field: each.value for each in found.shares}
    # Variances: 16/12 of the exponent, 9 * 2/9 of the choice.
    assert share["lr"] / share["optimizer"] == pytest.approx((16 / 12) / 2, abs=0.25)
    assert share["nesterov"] < 0.05


def test_groups_that_are_too_small_or_all_alike_are_left_out() -> None:
    few = group(np.arange(LEAST_TRIALS - 1.0), fields(LEAST_TRIALS - 1, 0))
    alike = group(np.arange(30.0), {})
    assert find_importances([few, alike]) == ()


def test_of_very_many_trials_some_are_drawn_and_always_the_same() -> None:
    columns = fields(MOST_TRIALS + 50, 1)
    made = group(np.array(columns["a"]), columns, "probe")
    [found] = find_importances([made])
    assert (found.trials, found.stage, found.backbone) == (MOST_TRIALS, "probe", "a")
    assert found.shares[0].field == "a" and (found,) == find_importances([made])
