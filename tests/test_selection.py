"""Greedy selection against a loop written by hand over scikit-learn's figures, and what must always hold."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss

from raytl.metric import METRICS, Metric
from raytl.results.selection import ROUNDS, figures_of, select


def library(seed: int, models: int, pictures: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, pictures)
    sure = 2.0 * np.eye(classes)[labels] * generator.uniform(0.2, 1, (models, 1, 1))
    logits = generator.normal(0, 1, (models, pictures, classes)) + sure
    weights = np.exp(logits)
    return weights / weights.sum(axis=2, keepdims=True), labels


LIBRARIES = st.builds(library, st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 25), st.integers(2, 4))
METRIC = st.sampled_from(list(METRICS.values()))


def theirs(mean: np.ndarray, labels: np.ndarray, metric: Metric) -> tuple[float, float]:
    """What is to be made small, by scikit-learn: the metric, then the log loss."""
    places = list(range(mean.shape[1]))
    predicted = [int(np.argmax(row)) for row in mean]
    loss = float(log_loss(labels, mean, labels=places))
    f1 = float(f1_score(labels, predicted, labels=places, average="macro", zero_division=0))
    first = {"val_accuracy": -float(accuracy_score(labels, predicted)), "val_macro_f1": -f1, "val_loss": loss}
    return round(first[metric.name], 9), round(loss, 9)


def by_hand(probabilities: np.ndarray, labels: np.ndarray, metric: Metric, most: int, rounds: int) -> list[int]:
    """Places in the order in which they were taken, up to the best mean."""
    bag: list[int] = []
    found: list[tuple[tuple[float, float], int]] = []
    for _ in range(rounds):
        tried = []
        for place in range(len(probabilities)):
            if len({*bag, place}) <= most:
                mean = np.mean([probabilities[each] for each in [*bag, place]], axis=0)
                tried.append((theirs(mean, labels, metric), place))
        score, place = min(tried)
        bag.append(place)
        found.append((score, len(bag)))
    return bag[: min(found)[1]]


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
@pytest.mark.parametrize("most", [1, 2, 4])
def test_a_loop_by_hand_takes_the_same(metric: Metric, most: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(8):
            probabilities, labels = library(seed, models=4, pictures=30, classes=3)
            chosen = select(probabilities, labels, metric, most, rounds=9)
            bag = by_hand(probabilities, labels, metric, most, rounds=9)
            assert chosen.counts == tuple(bag.count(place) for place in range(4)), seed


@given(LIBRARIES, METRIC, st.integers(1, 4))
def test_it_is_never_worse_than_the_best_alone_and_bounded(
    made: tuple[np.ndarray, np.ndarray], metric: Metric, most: int
) -> None:
    probabilities, labels = made
    chosen = select(probabilities, labels, metric, most, rounds=12)
    alone = min(metric.key(figures_of(each, labels)) for each in probabilities)
    assert metric.key(chosen.figures)[0] <= alone[0] + 1e-9
    assert math.isclose(sum(chosen.weights), 1) and 1 <= len(chosen.taken) <= most
    assert sum(chosen.counts) <= 12 and all(chosen.counts[place] for place in chosen.taken)
    mean = np.tensordot(np.array(chosen.weights), probabilities, axes=1)
    assert np.allclose(metric.key(figures_of(mean, labels)), metric.key(chosen.figures), atol=1e-9)
    assert select(probabilities, labels, metric, most, rounds=12) == chosen


@given(LIBRARIES)
def test_a_copy_of_a_model_adds_nothing(made: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = made
    twice = np.concatenate([probabilities[:1], probabilities[:1]])
    chosen = select(twice, labels, METRICS["val_accuracy"], 2)
    assert chosen.counts == (1, 0)


def test_two_models_that_know_half_each_make_one_that_knows_all() -> None:
    labels = np.array([0, 0, 1, 1])
    first = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    second = first[::-1, ::-1]
    chosen = select(np.stack([first, second]), labels, METRICS["val_accuracy"], 2, rounds=4)
    assert chosen.weights == (0.5, 0.5) and chosen.taken == (0, 1)
    assert chosen.figures.val_accuracy == 1.0


@given(LIBRARIES)
def test_figures_are_those_of_scikit_learn(made: tuple[np.ndarray, np.ndarray]) -> None:
    found, labels = figures_of(made[0][0], made[1]), made[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {name: theirs(made[0][0], labels, metric)[0] for name, metric in METRICS.items()}
    assert found.val_accuracy == pytest.approx(-expected["val_accuracy"], abs=1e-8)
    assert found.val_macro_f1 == pytest.approx(-expected["val_macro_f1"], abs=1e-8)
    assert found.val_loss == pytest.approx(expected["val_loss"], abs=1e-8)


def test_a_probability_of_zero_costs_much_and_not_everything() -> None:
    assert 80 < figures_of(np.array([[1.0, 0.0]]), np.array([1])).val_loss < 100


@pytest.mark.parametrize(("shape", "most", "rounds"), [((0, 3, 2), 2, 5), ((2, 0, 2), 2, 5), ((2, 3, 2), 0, 5)])
def test_nothing_to_choose_from_is_refused(shape: tuple[int, ...], most: int, rounds: int) -> None:
    with pytest.raises(ValueError, match="at least one of each"):
        select(np.ones(shape), np.zeros(shape[1], dtype=int), METRICS["val_loss"], most, rounds)
    assert ROUNDS > 1
