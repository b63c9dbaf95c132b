"""Effects in made-up tables whose truth is known, and against the textbook's sums by hand."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest

from raytl.results.effects import Cell, Effects, effect_lines, factorial_effects

STRATEGIES = ("all", "auxiliary", "gradual", "extractor")
RECIPES = ("plain", "smooth", "plateau")
FACTORS = {"strategy": STRATEGIES, "recipe": RECIPES}
CELLS = tuple(product(STRATEGIES, RECIPES))
SPREAD = 0.04
TABLES = 400  # of made-up tables: the share of those that cover is known to about 0.011


def made_up(
    generator: np.random.Generator,
    truth: Mapping[Cell, float] | None = None,
    seeds: int = 3,
    spreads: Mapping[Cell, float] | None = None,
) -> Effects:
    values: dict[Cell, list[float]] = {}
    for cell in CELLS:
        mean, spread = 0.8 + (truth or {}).get(cell, 0.0), (spreads or {}).get(cell, SPREAD)
        values[cell] = generator.normal(mean, spread, seeds).tolist()
    return factorial_effects(FACTORS, values)


def true_effects(truth: Mapping[Cell, float]) -> dict[tuple[str, ...], float]:
    """By levels: the decomposition written out with means over rows and columns."""
    table = np.array([[truth.get((a, b), 0.0) for b in RECIPES] for a in STRATEGIES])
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    effects: dict[tuple[str, ...], float] = {(a,): rows[i] - mean for i, a in enumerate(STRATEGIES)}
    effects |= {(b,): columns[j] - mean for j, b in enumerate(RECIPES)}
    pairs = product(enumerate(STRATEGIES), enumerate(RECIPES))
    return effects | {(a, b): table[i, j] - rows[i] - columns[j] + mean for (i, a), (j, b) in pairs}


def test_effects_are_those_of_the_textbook() -> None:
    generator = np.random.default_rng(0)
    values: dict[Cell, list[float]] = {cell: generator.normal(0.8, 0.1, 3).tolist() for cell in CELLS}
    table = factorial_effects(FACTORS, values)
    expected = true_effects({cell: float(np.mean(runs)) for cell, runs in values.items()})
    assert {effect.levels: pytest.approx(effect.interval.value) for effect in table.effects} == expected
    assert table.mean == pytest.approx(np.mean(list(values.values())))
    assert table.spread == pytest.approx(np.sqrt(np.mean([np.var(runs, ddof=1) for runs in values.values()])))


def test_two_levels_in_two_cells_give_welchs_interval() -> None:
    from scipy import stats

    a, b = [0.81, 0.85, 0.9, 0.79], [0.7, 0.72, 0.69, 0.75]
    table = factorial_effects({"x": ("a", "b")}, {("a",): a, ("b",): b})
    test = stats.ttest_ind(a, b, equal_var=False)
    degrees = int(test.df)
    half = stats.t.ppf(1 - 0.05 / 4, degrees) * (np.mean(a) - np.mean(b)) / test.statistic  # two statements
    (effect, _) = table.of("x")
    assert 2 * effect.interval.value == pytest.approx(np.mean(a) - np.mean(b))
    assert effect.interval.high - effect.interval.low == pytest.approx(half, rel=1e-6)


PLANTED: Mapping[Cell, float] = {("gradual", recipe): 0.15 for recipe in RECIPES}
INTERACTION: Mapping[Cell, float] = {("gradual", "smooth"): 0.25, ("all", "smooth"): -0.25}
UNEQUAL: Mapping[Cell, float] = {cell: 0.01 if cell[0] == "extractor" else 0.08 for cell in CELLS}


@pytest.mark.parametrize("truth", [{}, PLANTED, INTERACTION], ids=["nothing", "an effect", "an interaction"])
@pytest.mark.parametrize(("seeds", "spreads"), [(2, None), (3, None), (3, UNEQUAL), (5, UNEQUAL)])
def test_all_intervals_of_a_table_hold_at_once_at_the_stated_rate(
    truth: Mapping[Cell, float], seeds: int, spreads: Mapping[Cell, float] | None
) -> None:
    generator, expected = np.random.default_rng(1), true_effects(truth)
    tables = [made_up(generator, truth, seeds, spreads) for _ in range(TABLES)]
    held = [
        all(each.interval.low <= expected[each.levels] <= each.interval.high for each in table.effects)
        for table in tables
    ]
    assert np.mean(held) >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / TABLES)


@pytest.mark.parametrize("seeds", [2, 3])
def test_noise_alone_is_called_noise(seeds: int) -> None:
    generator = np.random.default_rng(2)
    clear = 0
    for _ in range(TABLES):
        lines = effect_lines(made_up(generator, seeds=seeds))
        assert len(lines) == 3
        clear += any(": larger than the spread" in line for line in lines)
        if not clear:
            assert all("not larger than the spread between seeds" in line for line in lines)
    assert clear / TABLES <= 0.05 + 2 * np.sqrt(0.95 * 0.05 / TABLES)


def test_what_was_planted_is_found_and_named() -> None:
    generator, found = np.random.default_rng(3), 0
    for _ in range(100):
        strategy, recipe, both = effect_lines(made_up(generator, PLANTED))
        found += strategy.startswith("strategy: larger than the spread between seeds: gradual +")
        assert recipe.startswith("recipe: ") and both.startswith("strategy x recipe: ")
    assert found >= 90
    pair = effect_lines(made_up(generator, INTERACTION))[2]
    assert pair.startswith("strategy x recipe: larger than the spread between seeds: ")
    assert "gradual with smooth +" in pair


@pytest.mark.parametrize(
    ("factors", "values", "problem"),
    [
        ({"x": ("a",)}, {("a",): [1.0, 2.0]}, "x: has one level; a factor needs two"),
        ({"x": ("a", "b")}, {("a",): [1.0, 2.0]}, "b: never ran"),
        ({"x": ("a", "b")}, {("a",): [1.0], ("b",): [1.0]}, "1 seeds per cell: every cell needs the same number"),
        ({"x": ("a", "b")}, {("a",): [1.0, 2.0], ("b",): [1.0]}, "1 and 2 seeds per cell"),
        ({}, {}, "no factors"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(
    factors: Mapping[str, tuple[str, ...]], values: Mapping[Cell, list[float]], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        factorial_effects(factors, values)


def test_cells_without_any_spread_have_no_noise() -> None:
    table = factorial_effects({"x": ("a", "b")}, {("a",): [1.0, 1.0], ("b",): [0.5, 0.5]})
    assert table.spread == 0.0
    assert [effect.interval.low for effect in table.effects] == [0.25, -0.25]


def test_runs_that_are_all_alike_have_no_effect() -> None:
    factors: dict[str, tuple[str, ...]] = {"strategy": STRATEGIES, "recipe": ("plain", "smooth", "plateau")}
    cells: dict[Cell, list[float]] = {(a, b): [9 / 19] * 3 for a in factors["strategy"] for b in factors["recipe"]}
    found = factorial_effects(factors, cells)
    assert {(each.interval.value, each.interval.low, each.interval.high) for each in found.effects} == {(0.0, 0.0, 0.0)}
    lines = effect_lines(found)
    assert all("not larger than the spread between seeds" in line for line in lines) and "-0.0" not in "".join(lines)
