"""Early stopping: each kind against a plain reading of its sentence over whole histories, and one contract for all."""

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytl.recipe import Recipe
from raytl.train.stopping import EarlyStopping, make_stopping

KINDS = ("none", "patience:3,0.1", "patience:0,0", "rises:2")
LOSSES = st.lists(st.sampled_from([0.5, 0.55, 0.7, 0.9, 1.0, 1.2]), min_size=1, max_size=25)


def stopping_of(text: str) -> EarlyStopping:
    return make_stopping(Recipe(backbone="resnet18", early_stop=text))


def epochs_run(stopping: EarlyStopping, losses: list[float]) -> int:
    """The epoch after which it stops, or all of them."""
    return next((epoch for epoch, stops in enumerate(answers_of(stopping, losses), 1) if stops), len(losses))


def answers_of(stopping: EarlyStopping, losses: list[float]) -> list[bool]:
    """What it says after each epoch."""
    answers = []
    for loss in losses:
        stopping.update(loss)
        answers.append(stopping.stopped)
    return answers


def patience_by_hand(losses: list[float], epochs: int, min_delta: float) -> int:
    best, best_epoch = losses[0], 1
    for epoch, loss in enumerate(losses, 1):
        if loss < best - min_delta:
            best, best_epoch = loss, epoch
        if epoch - best_epoch >= epochs:
            return epoch
    return len(losses)


def rises_by_hand(losses: list[float], times: int) -> int:
    for epoch in range(times + 1, len(losses) + 1):
        window = losses[epoch - times - 1 : epoch]
        if all(later > earlier for earlier, later in pairwise(window)):
            return epoch
    return len(losses)


@settings(max_examples=150)
@given(losses=LOSSES, epochs=st.integers(1, 5), min_delta=st.sampled_from([0.0, 0.1, 0.25]))
def test_patience_counts_epochs_since_the_best(losses: list[float], epochs: int, min_delta: float) -> None:
    got = epochs_run(stopping_of(f"patience:{epochs},{min_delta}"), losses)
    assert got == patience_by_hand(losses, epochs, min_delta)


@settings(max_examples=150)
@given(losses=LOSSES, times=st.integers(1, 4))
def test_rises_counts_rises_in_a_row(losses: list[float], times: int) -> None:
    assert epochs_run(stopping_of(f"rises:{times}"), losses) == rises_by_hand(losses, times)


def test_none_never_stops() -> None:
    assert epochs_run(stopping_of("none"), [float(epoch) for epoch in range(100)]) == 100


def test_a_patience_of_0_is_one_epoch_without_a_gain() -> None:
    assert epochs_run(stopping_of("patience:0,0"), [3.0, 2.0, 2.0, 1.0]) == 3


@pytest.mark.parametrize("text", ["patience:2,0", "rises:2"])
def test_a_loss_that_is_no_number_counts_against_the_trial(text: str) -> None:
    assert epochs_run(stopping_of(text), [1.0, math.nan, math.nan, 0.1]) == 3


@settings(max_examples=80)
@given(text=st.sampled_from(KINDS), losses=LOSSES, cut=st.integers(0, 25))
def test_contract_a_state_survives_json_and_goes_on(text: str, losses: list[float], cut: int) -> None:
    whole, first, second = stopping_of(text), stopping_of(text), stopping_of(text)
    answers = answers_of(whole, losses)
    answers_of(first, losses[:cut])
    assert not second.stopped
    second.load(json.loads(json.dumps(first.state(), allow_nan=False)))
    assert second.stopped == first.stopped
    assert answers_of(second, losses[cut:]) == answers[cut:]
