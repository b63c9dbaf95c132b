"""Schedules against torch's own schedulers, step by step."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, ReduceLROnPlateau, StepLR

from raytl.errors import ConfigError
from raytl.recipe import Recipe
from raytl.train.schedule import Schedule, make_schedule

torch.set_num_threads(1)
ALL = ("constant", "step:3,0.5", "cosine", "plateau:0.5,1,1e-6", "onecycle")
LR = 0.1


def recipe_of(schedule: str, epochs: int = 10, **fields: object) -> Recipe:
    return Recipe(backbone="resnet18", schedule=schedule, epochs=epochs, lr=LR, **fields)  # type: ignore[arg-type]


def rates(schedule: Schedule, epochs: int, steps: int) -> list[float]:
    return [LR * schedule.factor(epoch, step) for epoch in range(1, epochs + 1) for step in range(steps)]


def plain_sgd() -> SGD:
    return SGD([nn.Parameter(torch.zeros(1))], lr=LR)


def reference(optimizer: SGD, scheduler: LRScheduler, count: int) -> list[float]:
    seen = []
    for index in range(count):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if index + 1 < count:
            scheduler.step()
    return seen


def test_step_is_torchs_step_lr() -> None:
    optimizer = plain_sgd()
    expected = reference(optimizer, StepLR(optimizer, 3, 0.5), 10)
    assert rates(make_schedule(recipe_of("step:3,0.5"), 1), 10, 1) == pytest.approx(expected)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 1), (1, 7), (10, 1), (4, 13)])
def test_cosine_is_torchs_cosine_annealing(epochs: int, steps: int) -> None:
    optimizer = plain_sgd()
    expected = reference(optimizer, CosineAnnealingLR(optimizer, epochs * steps), epochs * steps)
    assert rates(make_schedule(recipe_of("cosine", epochs), steps), epochs, steps) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("epochs", "steps", "warmup"), [(5, 1, 0), (1, 9, 0), (4, 13, 0), (4, 10, 2)])
def test_onecycle_is_torchs_one_cycle(epochs: int, steps: int, warmup: float) -> None:
    optimizer, total = plain_sgd(), epochs * steps
    rise = warmup / epochs if warmup else 0.3
    scheduler = OneCycleLR(optimizer, max_lr=LR, total_steps=total, pct_start=rise, cycle_momentum=False)
    expected = reference(optimizer, scheduler, total)
    recipe = recipe_of("onecycle", epochs, warmup_epochs=warmup)
    assert rates(make_schedule(recipe, steps), epochs, steps) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(
    losses=st.lists(st.sampled_from([0.5, 0.8, 0.8 - 1e-6, 1.0, 1.3, math.nan]), min_size=1, max_size=40),
    patience=st.integers(0, 3),
    floor=st.sampled_from([0.0, 0.004, 0.03]),
)
def test_plateau_is_torchs_reduce_on_plateau(losses: list[float], patience: int, floor: float) -> None:
    optimizer = plain_sgd()
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, min_lr=floor, eps=0)
    schedule = make_schedule(recipe_of(f"plateau:0.5,{patience},{floor}"), 2)
    for loss in losses:
        scheduler.step(loss)
        schedule.after_epoch(loss)
        assert LR * schedule.factor(2, 1) == pytest.approx(optimizer.param_groups[0]["lr"])


def test_the_floor_of_plateau_never_raises_a_rate() -> None:
    schedule = make_schedule(recipe_of("plateau:0.5,0,0.7"), 1)
    for _ in range(5):
        schedule.after_epoch(1.0)
    assert schedule.factor(5, 0) == 1.0


@pytest.mark.parametrize("text", ["constant", "step:3,0.5", "plateau:0.5,1,1e-6"])
def test_warm_up_rises_to_the_schedule_and_then_leaves_it_alone(text: str) -> None:
    warm = make_schedule(recipe_of(text, warmup_epochs=1.5), 4)
    cold = make_schedule(recipe_of(text), 4)
    got, plain = rates(warm, 10, 4), rates(cold, 10, 4)
    assert got[:6] == pytest.approx([LR * (index + 1) / 6 for index in range(6)])
    assert got[6:] == plain[6:]


def test_cosine_falls_from_the_end_of_the_warm_up() -> None:
    got = rates(make_schedule(recipe_of("cosine", 4, warmup_epochs=1.0), 5), 4, 5)
    assert got[:5] == pytest.approx([LR * (index + 1) / 5 for index in range(5)])
    assert got[5:] == pytest.approx([LR * (1 + math.cos(math.pi * index / 15)) / 2 for index in range(15)])


@settings(max_examples=80, deadline=None)
@given(text=st.sampled_from(ALL), epochs=st.integers(1, 12), steps=st.integers(1, 9), share=st.floats(0, 1))
def test_factors_lie_between_0_and_1_and_asking_changes_nothing(
    text: str, epochs: int, steps: int, share: float
) -> None:
    schedule = make_schedule(recipe_of(text, epochs, warmup_epochs=share * epochs), steps)
    first = rates(schedule, epochs, steps)
    assert all(0 <= rate <= LR * (1 + 1e-9) for rate in first)
    assert max(first) > 0
    assert rates(schedule, epochs, steps) == first


@pytest.mark.parametrize("text", ALL)
def test_a_state_survives_json_and_goes_on(text: str) -> None:
    recipe = recipe_of(text)
    whole, first, second = (make_schedule(recipe, 3) for _ in range(3))
    losses = [1.0, 0.9, 0.95, 0.97, 0.99, 0.98, 0.97, 0.9]
    for loss in losses[:4]:
        whole.after_epoch(loss)
        first.after_epoch(loss)
    second.load(json.loads(json.dumps(first.state(), allow_nan=False)))
    for loss in losses[4:]:
        whole.after_epoch(loss)
        second.after_epoch(loss)
    assert rates(second, 10, 3) == rates(whole, 10, 3)
    assert second.state() == whole.state()


def test_a_state_before_the_first_epoch_can_be_loaded() -> None:
    schedule = make_schedule(recipe_of("plateau:0.5,0,0"), 1)
    schedule.load(json.loads(json.dumps(make_schedule(recipe_of("plateau:0.5,0,0"), 1).state())))
    schedule.after_epoch(2.0)
    assert schedule.factor(1, 0) == 1.0


def test_steps_more_often_than_every_epoch_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        make_schedule(recipe_of("step:0,0.5"), 5)
