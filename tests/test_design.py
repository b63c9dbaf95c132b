"""Combinations of choices: which there are, what recipes they make, and what is refused before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raytl.design import Design, cells_of, design_problems
from raytl.errors import ConfigError
from raytl.experiment_file import load_study_file
from raytl.family import default_recipe
from raytl.recipe import make_recipe
from raytl.study import Study, study_of_values
from tests.plans import BASE

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
DESIGN: Design = {
    "strategy": {"all trained": {"freeze_depth": 0}, "extractor": {"freeze_depth": "all"}},
    "loss": {"plain": {}, "smooth": {"label_smoothing": 0.1}, "focal": {"loss": "focal", "focal_gamma": 1.5}},
}


def test_cells_are_all_combinations_in_order() -> None:
    cells = cells_of(DESIGN)
    assert [cell.name for cell in cells] == [
        "all trained + plain",
        "all trained + smooth",
        "all trained + focal",
        "extractor + plain",
        "extractor + smooth",
        "extractor + focal",
    ]
    assert cells_of({}) == ()


def test_a_cell_changes_what_its_levels_set_and_nothing_else() -> None:
    recipes = {cell.levels: cell.recipe(BASE, 5) for cell in cells_of(DESIGN)}
    assert recipes["all trained", "plain"] == BASE
    assert recipes["extractor", "smooth"] == replace(BASE, freeze_depth=5, label_smoothing=0.1)
    assert recipes["extractor", "focal"] == replace(BASE, freeze_depth=5, loss="focal", focal_gamma=1.5)


def test_a_depth_is_said_from_either_end() -> None:
    levels: Design = {"depth": {"all": {"freeze_depth": "all"}, "but one": {"freeze_depth": "all-1"}}}
    assert [cell.recipe(BASE, 5).freeze_depth for cell in cells_of(levels)] == [5, 4]
    with pytest.raises(ConfigError, match=r"freeze_depth=-1"):
        cells_of(levels)[1].recipe(BASE, 0)


@pytest.mark.parametrize(
    ("design", "settings", "problem"),
    [
        ({"a": {"x": {"lr": 0.1}}}, {}, "factor 'a' has 1 level; give it two or more"),
        ({"a": {"x + y": {}, "z": {}}}, {}, "level 'x + y' of 'a'"),
        (
            {"a": {"x": {"lrr": 0.1}, "y": {}}},
            {},
            "'a' sets recipe field 'lrr', which does not exist",
        ),
        ({"a": {"x": {"lr": 0.1}, "y": {}}}, {"lr": 0.2}, "'a' and the study's settings both set lr"),
        ({"a": {"x": {"lr": 0.1}, "y": {}}, "b": {"x": {"lr": 0.2}, "y": {}}}, {}, "'a' and 'b' both set lr"),
        ({"a": {"x": {"seed": 1}, "y": {"seed": 2}}}, {}, "'a' sets seed: every cell has all seeds"),
    ],
)
def test_a_design_that_cannot_be_run_is_refused_with_its_reason(
    design: Design, settings: dict[str, Any], problem: str
) -> None:
    (said,) = design_problems(design, settings)
    assert problem in said
    with pytest.raises(ConfigError, match="design: "):
        Study(name="s", data="d", backbones=("plain_cnn",), design=design, settings=settings)


def test_a_study_with_a_design_comes_back_from_its_values() -> None:
    study = Study(name="s", data="d", backbones=("plain_cnn",), design=DESIGN)
    assert study_of_values(study.values()) == study


def test_a_design_is_run_whole_so_that_a_time_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="time_limit_seconds=60: a design is run whole; leave --time out"):
        Study(name="s", data="d", backbones=("plain_cnn",), design=DESIGN, time_limit_seconds=60)


def test_the_runs_of_a_design_are_of_one_length() -> None:
    with pytest.raises(ConfigError, match="confirm_epochs=10: a design's runs are all of one length; set epochs"):
        Study(name="s", data="d", backbones=("plain_cnn",), design=DESIGN, confirm_epochs=10)


@pytest.mark.parametrize(("name", "cells"), [("potato_imbalance", 5), ("potato_googlenet_grid", 12)])
def test_each_cell_of_the_studies_can_be_run(name: str, cells: int) -> None:
    study = load_study_file(EXPERIMENTS / f"{name}.py")
    (backbone,) = study.backbones
    default = make_recipe(default_recipe(backbone, study.weights, study.epochs), study.settings)
    recipes = {cell.recipe(default, 4) for cell in cells_of(study.design)}
    assert len(recipes) == cells
