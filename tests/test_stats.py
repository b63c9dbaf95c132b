"""Intervals against closed forms, and their coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raytl.results import stats
from raytl.results.stats import (
    Interval,
    accuracy_interval,
    effective_degrees,
    independent_difference,
    mean_interval,
    over_splits,
    paired_difference,
    smallest_difference,
    standard_error,
    t_quantile,
    wilson_interval,
)

# (degrees of freedom, quantile at 0.975) from printed tables of Student's law.
PRINTED = ((1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042), (120, 1.980))


def shares(generator: np.random.Generator, seeds: int, pictures: np.ndarray, spread: float) -> np.ndarray:
    """(seeds, N) answers: each picture has its difficulty, each seed its skill."""
    skill = generator.normal(0, spread, (seeds, 1))
    return generator.random((seeds, len(pictures))) < 1 / (1 + np.exp(-(2.5 + pictures + skill)))


def true_accuracy(spread: float) -> float:
    generator = np.random.default_rng(99)
    logits = 2.5 + generator.normal(0, math.hypot(3, spread), 1_000_000)
    return float((1 / (1 + np.exp(-logits))).mean())


@pytest.mark.parametrize(("degrees", "quantile"), PRINTED)
def test_students_quantile_is_the_printed_one(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, abs=6e-4)


def test_students_quantile_is_scipys() -> None:
    law = pytest.importorskip("scipy.stats", reason="SciPy is not installed").t
    for degrees in (*range(1, 40), 999, 1000):
        assert t_quantile(degrees) == pytest.approx(law.ppf(0.975, degrees), rel=1e-9)


def test_the_mean_of_a_few_figures_has_students_interval() -> None:
    interval = mean_interval([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)  # the standard deviation is 1
    assert (interval.value, interval.low, interval.high) == pytest.approx((2, 2 - half, 2 + half), abs=1e-5)


def test_one_figure_alone_has_no_ends() -> None:
    interval = mean_interval([0.4])
    assert interval.value == 0.4
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_the_interval_of_a_share_lies_between_0_and_1() -> None:
    assert Interval(0.98, 0.94, 1.02).of_share == Interval(0.98, 0.94, 1.0)
    assert Interval(0.01, -0.1, 0.12).of_share == Interval(0.01, 0.0, 0.12)
    alone = Interval(0.9, math.nan, math.nan).of_share
    assert math.isnan(alone.low) and math.isnan(alone.high)


def test_splits_of_the_same_pictures_widen_the_interval() -> None:
    values = [0.90, 0.93, 0.91]
    plain, corrected = mean_interval(values), over_splits(values, test_count=30, train_count=60)
    widening = math.sqrt((1 / 3 + 30 / 60) / (1 / 3))
    assert corrected.value == plain.value
    assert corrected.high - corrected.value == pytest.approx(widening * (plain.high - plain.value))


@pytest.mark.parametrize(("correct", "count"), [(270, 300), (50, 100), (297, 300)])
def test_one_seed_comes_close_to_wilsons_interval(correct: int, count: int) -> None:
    measured = accuracy_interval(np.arange(count)[None] < correct)
    exact = wilson_interval(correct, count)
    assert measured.value == exact.value == correct / count
    assert measured.low == pytest.approx(exact.low, abs=0.25 * (exact.high - exact.low))
    assert measured.high == pytest.approx(exact.high, abs=0.25 * (exact.high - exact.low))


@pytest.mark.parametrize(("correct", "count"), [(100, 100), (0, 50)])
def test_without_a_mistake_or_a_hit_the_interval_is_a_little_wider_than_wilsons(correct: int, count: int) -> None:
    measured, exact = accuracy_interval(np.arange(count)[None] < correct), wilson_interval(correct, count)
    assert measured.low <= exact.low
    assert measured.high >= exact.high
    assert measured.high - measured.low < 1.6 * (exact.high - exact.low)


def test_a_perfect_score_is_not_certain() -> None:
    interval = accuracy_interval(np.ones((5, 100), bool))
    assert interval.high == 1
    assert 0.9 < interval.low < 0.99
    assert not paired_difference(np.ones((5, 100), bool), np.ones((5, 100), bool)).excludes_zero


def test_with_many_pictures_the_interval_of_few_seeds_is_students() -> None:
    """400,000 pictures and seeds that differ by points: pictures hardly matter, and 4 seeds have 3 degrees."""
    levels = (0.70, 0.74, 0.80, 0.88)
    generator = np.random.default_rng(5)
    correct = generator.random((4, 400_000)) < np.array(levels)[:, None]
    measured, exact = accuracy_interval(correct), mean_interval(correct.mean(axis=1).tolist())
    assert measured.high - measured.low == pytest.approx(exact.high - exact.low, rel=0.15)


def test_wilson_against_its_published_example() -> None:
    """Wilson's interval for 81 of 263 (Newcombe, Statistics in Medicine 17, 1998): 0.2553 to 0.3662."""
    interval = wilson_interval(81, 263)
    assert (interval.low, interval.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_same_grid_gives_the_same_interval() -> None:
    generator = np.random.default_rng(3)
    a, b = generator.random((3, 80)) < 0.9, generator.random((2, 80)) < 0.8
    assert accuracy_interval(a, seed=4) == accuracy_interval(a.copy(), seed=4)
    assert accuracy_interval(a, seed=4) != accuracy_interval(a, seed=5)
    assert paired_difference(a, b, seed=4) == paired_difference(a.copy(), b.copy(), seed=4)


def test_chunks_leave_the_law_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    correct = np.random.default_rng(3).random((3, 80)) < 0.9
    whole = accuracy_interval(correct)
    monkeypatch.setattr(stats, "CHUNK_CELLS", 500)
    parts = accuracy_interval(correct)
    assert parts.value == whole.value
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.01)


def test_pairing_sees_what_unpaired_intervals_hide() -> None:
    """b is right wherever a is, and on 12 more of 300 pictures: little, but all in one direction."""
    a = np.arange(300)[None] < 240
    b = np.arange(300)[None] < 252
    assert paired_difference(b, a).excludes_zero
    assert accuracy_interval(a).high > accuracy_interval(b).low


GRIDS = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 30)).flatmap(
    lambda shape: st.tuples(arrays(bool, (shape[0], shape[2])), arrays(bool, (shape[1], shape[2])))
)


@settings(max_examples=30, deadline=None)
@given(GRIDS)
def test_a_difference_changes_its_sign_with_the_order(grids: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = grids
    if np.array_equal(a, b):
        assert paired_difference(a, b).value == 0
        return
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert there == Interval(-back.value, -back.high, -back.low)
    assert there.value == pytest.approx(a.mean() - b.mean())
    assert -1 <= there.low <= there.value <= there.high <= 1


@settings(max_examples=30, deadline=None)
@given(GRIDS)
@example((np.arange(30)[None] < 1, np.zeros((1, 30), bool)))
def test_the_order_of_pictures_says_nothing(grids: tuple[np.ndarray, np.ndarray]) -> None:
    a = grids[0]
    shuffled = a[:, np.random.default_rng(a.shape[1]).permutation(a.shape[1])]
    assert accuracy_interval(a) == accuracy_interval(shuffled)
    assert 0 <= accuracy_interval(a).low <= a.mean() <= accuracy_interval(a).high <= 1


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,)])
def test_a_grid_without_answers_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one of each"):
        accuracy_interval(np.zeros(shape, bool))


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="4 and 5 pictures"):
        paired_difference(np.zeros((1, 4), bool), np.zeros((1, 5), bool))
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
    with pytest.raises(ValueError, match="6 of 5"):
        wilson_interval(6, 5)
    with pytest.raises(ValueError, match="train_count=0"):
        over_splits([0.5], 10, 0)


def test_the_smallest_difference_is_found_in_four_of_five_test_sets() -> None:
    """Two models that differ by it, mistakes unrelated, compared by the two-sample z test at 5%."""
    count, low = 400, 0.85
    generator = np.random.default_rng(0)
    gap = smallest_difference(low + 0.03, count)  # the formula takes the accuracy between the two
    drawn = generator.binomial(count, [[low], [low + gap]], (2, 20_000)) / count
    pooled = drawn.mean(axis=0)
    found = (drawn[1] - drawn[0]) / np.sqrt(2 * pooled * (1 - pooled) / count) > stats.NORMAL_QUANTILE
    assert 0.75 < found.mean() < 0.87


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.0), (3, 1.0), (5, 0.3), (5, 1.0)])
def test_nine_of_ten_intervals_hold_the_true_accuracy(
    seeds: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "RESAMPLES", 1_000)  # fewer do: an end moves by a twentieth of the width
    generator, truth = np.random.default_rng(7), true_accuracy(spread)
    intervals = [accuracy_interval(shares(generator, seeds, generator.normal(0, 3, 300), spread)) for _ in range(500)]
    coverage = np.mean([interval.low <= truth <= interval.high for interval in intervals])
    assert 0.90 <= coverage <= 0.999


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (5, 1.0)])
def test_nine_of_ten_differences_of_equal_recipes_hold_zero(
    seeds: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "RESAMPLES", 1_000)
    generator, held = np.random.default_rng(8), []
    for _ in range(500):
        pictures = generator.normal(0, 3, 300)
        a, b = (shares(generator, seeds, pictures, spread) for _ in range(2))
        held.append(not paired_difference(a, b).excludes_zero)
    assert 0.90 <= np.mean(held) <= 0.999


def test_a_difference_of_independent_shares_is_newcombes() -> None:
    """His example (Statistics in Medicine 17, 1998, table II, method 10): 56/70 less 48/80 is 0.2 [0.0524, 0.3339]."""
    found = independent_difference(wilson_interval(56, 70), wilson_interval(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    back = independent_difference(wilson_interval(48, 80), wilson_interval(56, 70))
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_a_difference_from_a_figure_without_ends_has_none() -> None:
    found = independent_difference(Interval(0.5, math.nan, math.nan), Interval(0.25, 0.2, 0.3))
    assert found.value == 0.25 and math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize(
    ("share", "count", "expected"),
    [(0.5, 100, 0.05), (0.9, 18, 0.1 / math.sqrt(2)), (1.0, 50, 0.02), (0.0, 50, 0.02), (1.0, 1, 1.0), (0.99, 10, 0.1)],
)
def test_a_standard_error_is_the_binomial_one_and_never_below_one_picture(
    share: float, count: int, expected: float
) -> None:
    assert standard_error(share, count) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(0.3, 7)], 7),
        ([(0.2, 4), (0.2, 4), (0.2, 4)], 12),  # equal variances: their degrees add up
        ([(1.0, 4), (0.0, 9)], 4),  # what does not vary takes no part
        ([(3.0, 2), (1.0, 2)], 3),  # 16 / (9 / 2 + 1 / 2) = 3.2
        ([(0.0, 2), (0.0, 3)], stats.MOST_DEGREES),
        ([(1.0, 10_000)], stats.MOST_DEGREES),
    ],
)
def test_degrees_of_a_sum_are_satterthwaites(parts: list[tuple[float, int]], expected: int) -> None:
    assert effective_degrees(parts) == expected
