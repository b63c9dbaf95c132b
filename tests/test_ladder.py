"""From heads to depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raytl.family import VIEWS
from raytl.on_ray.ladder import DEEPENED, FEW_EPOCHS, GENTLER, STRONG, TOLD, climb
from raytl.on_ray.plan import BackbonePlan
from raytl.on_ray.shares import fair_trials
from raytl.results.recorder import Ending, Recorder
from raytl.results.schemas import PROBE
from raytl.space import Choices
from raytl.study import Study
from tests.plans import make_part, make_recorder
from tests.rows import epoch_row, trial_row

CNN = "plain_cnn"


@pytest.fixture
def part() -> BackbonePlan:
    """The prices of mobilenetv2_100."""
    part = make_part(CNN)
    fractions = (0.0, 0.04, 0.07, 0.25, 0.38, 0.51, 0.70, 0.86, 1.0)
    return replace(part, facts=replace(part.facts, stage_names=tuple("abcdefgh"), frozen_fractions=fractions))


def study(trials: int = 8, epochs: int | None = None, **settings: Any) -> Study:
    return Study(name="s", data="d", backbones=(CNN,), trials=trials, epochs=epochs, settings=settings)


def probed(part: BackbonePlan, root: Path, count: int = 12, best: float = 0.9, **values: Any) -> Recorder:
    recorder = make_recorder(root / "study")
    for index in range(count):
        recipe = replace(part.probe, lr=0.001 * (1 + index), **values)
        recorder.start(trial_row(trial_id=f"h{index}", backbone=CNN, stage=PROBE, recipe=recipe))
        recorder.epoch(epoch_row(trial_id=f"h{index}", val_accuracy=best - 0.01 * (count - 1 - index)))
        recorder.end(f"h{index}", Ending("completed"))
    return recorder


def test_the_cheapest_depth_comes_first_and_the_default_is_always_tried(part: BackbonePlan, tmp_path: Path) -> None:
    recorder = probed(part, tmp_path, ema_decay=0.9, label_smoothing=0.1)
    rungs = climb(part, recorder, study(8))
    assert [(role, recipe.freeze_depth) for role, recipe in rungs.starts] == [
        (DEEPENED, 6),
        (DEEPENED, 5),
        (DEEPENED, 3),
        ("default", 0),
    ]
    assert rungs.starts[-1][1] == part.default
    for _, recipe in rungs.starts[:-1]:
        assert (recipe.ema_decay, recipe.label_smoothing, recipe.views) == (0.9, 0.1, VIEWS)
        assert recipe.lr == GENTLER * part.default.lr
        assert (recipe.head_epochs, recipe.epochs) == (part.probe.epochs, FEW_EPOCHS)
        assert recipe.lr * recipe.head_lr_scale == pytest.approx(0.012 * part.probe.head_lr_scale)


def test_the_default_is_among_the_trials_that_every_backbone_gets(part: BackbonePlan, tmp_path: Path) -> None:
    recorder = probed(part, tmp_path)
    for trials in range(1, 9):
        roles = [role for role, _ in climb(part, recorder, study(trials)).starts]
        assert roles.count("default") == 1 and roles.index("default") < fair_trials(trials)


def test_the_searcher_hears_of_the_best_heads_alone(part: BackbonePlan, tmp_path: Path) -> None:
    heads = climb(part, probed(part, tmp_path), study(8)).heads
    assert [row.trial_id for row in heads] == [f"h{index}" for index in range(11, 11 - TOLD, -1)]


def test_without_heads_a_search_starts_as_it_would_without_a_ladder(part: BackbonePlan, tmp_path: Path) -> None:
    rungs = climb(part, make_recorder(tmp_path / "study"), study(8))
    assert rungs.starts == part.starts and rungs.heads == ()


def test_what_a_person_fixed_stays_fixed(part: BackbonePlan, tmp_path: Path) -> None:
    recorder = probed(part, tmp_path, label_smoothing=0.1)
    open_ = climb(part, recorder, study(freeze_depth=0, label_smoothing=0.0)).starts
    assert {(recipe.freeze_depth, recipe.label_smoothing, recipe.views) for _, recipe in open_} == {(0, 0.0, 0)}
    fresh = climb(part, recorder, study(views=0)).starts
    assert {recipe.views for _, recipe in fresh} == {0} and len(fresh) == 4


def test_depths_that_a_person_ruled_out_are_left_out(part: BackbonePlan, tmp_path: Path) -> None:
    rungs = climb(part, probed(part, tmp_path), study(freeze_depth=Choices((0, 5))))
    assert [recipe.freeze_depth for _, recipe in rungs.starts] == [5, 0]


def test_epochs_that_a_person_gave_are_kept(part: BackbonePlan, tmp_path: Path) -> None:
    part = replace(part, default=replace(part.default, epochs=7))  # as a plan has it for such a study
    rungs = climb(part, probed(part, tmp_path), study(epochs=7))
    assert {recipe.epochs for role, recipe in rungs.starts if role == DEEPENED} == {7}
    assert rungs.base is not None and rungs.base.epochs == 7


def test_the_searcher_goes_on_from_the_best_head_too(part: BackbonePlan, tmp_path: Path) -> None:
    base = climb(part, probed(part, tmp_path), study()).base
    assert base is not None
    assert (base.freeze_depth, base.head_epochs, base.epochs) == (0, part.probe.epochs, FEW_EPOCHS)


def test_behind_a_weak_head_there_is_more_to_learn(part: BackbonePlan, tmp_path: Path) -> None:
    rungs = climb(part, probed(part, tmp_path, best=STRONG - 0.01), study())
    assert {(recipe.epochs, recipe.lr) for _, recipe in rungs.starts} == {(part.default.epochs, part.default.lr)}
    assert {recipe.head_epochs for role, recipe in rungs.starts if role == DEEPENED} == {part.probe.epochs}


def test_a_head_behind_attention_has_no_start(part: BackbonePlan, tmp_path: Path) -> None:
    for settings in ({"attention": "se:8"}, {"attention": Choices(("none", "se:8"))}):
        rungs = climb(part, probed(part, tmp_path), study(**settings))
        assert {(recipe.head_epochs, recipe.epochs) for _, recipe in rungs.starts} == {(0, part.default.epochs)}
