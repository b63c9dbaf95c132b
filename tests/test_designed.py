"""A design's effects from the tables of a study: sentences, table and report."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from raytl.design import Design
from raytl.metric import METRICS
from raytl.results.designed import design_effects, design_lines
from raytl.results.effect_section import effects_section
from raytl.results.effects import factorial_effects
from raytl.results.folder import StudyFolder
from raytl.results.ledger import Ledger
from raytl.results.tables import load_tables
from raytl.results.wording import COLUMNS
from tests.pages import Page
from tests.rows import confirmed_row, trial_row
from tests.studies import Plan, write_study

DESIGN: Design = {"depth": {"all": {"freeze_depth": 0}, "head": {"freeze_depth": 3}}, "loss": {"plain": {}, "soft": {}}}
FACTORS = {"depth": ("all", "head"), "loss": ("plain", "soft")}
METRIC = METRICS["val_accuracy"]


def figures(missing: str = "") -> dict[tuple[str, ...], list[float]]:
    """Accuracies by cell: the head lies ten points lower; a hundredth of spread."""
    generator = np.random.default_rng(0)
    cells = product(*FACTORS.values())
    runs = {levels: 0.8 - 0.1 * (levels[0] == "head") + generator.normal(0, 0.01, 4) for levels in cells}
    return {levels: each.tolist() for levels, each in runs.items() if " + ".join(levels) != missing}


def study(root: Path, values: dict[tuple[str, ...], list[float]], splits: int = 1) -> StudyFolder:
    """A study whose confirmation ran these cells; with splits, each run's figure is their mean."""
    folder = write_study(root, Plan(backbones=("tiny_vit",), trials=1, seeds=1, test_pictures=6, train_pictures=12))
    ledger = Ledger.open(folder.ledger)
    for levels, runs in values.items():
        for seed, accuracy in enumerate(runs):
            for split in range(splits):
                name = f"{levels} {seed} {split}"
                shift = 0.02 * (split - (splits - 1) / 2)
                trial = trial_row(trial_id=name, backbone="plain_cnn", stage="confirm", status="completed")
                ledger.commit("trials", [trial])
                row = confirmed_row(
                    trial_id=name,
                    backbone="plain_cnn",
                    role=" + ".join(levels),
                    seed=seed,
                    split=split,
                    test_accuracy=accuracy + shift,
                )
                ledger.commit("confirmed", [row])
    return folder


@pytest.mark.parametrize("splits", [1, 2])
def test_effects_are_those_of_the_runs_in_the_tables(tmp_path: Path, splits: int) -> None:
    values = figures()
    (found,) = design_effects(DESIGN, load_tables(study(tmp_path / "s", values, splits)), METRIC)
    expected = factorial_effects(FACTORS, values)
    assert (found.backbone, found.figure, found.problem) == ("plain_cnn", "test_accuracy", None)
    assert found.table is not None
    for mine, reference in zip(found.table.effects, expected.effects, strict=True):
        assert (mine.factors, mine.levels) == (reference.factors, reference.levels)
        assert mine.interval.value == pytest.approx(reference.interval.value)
        assert mine.interval.high == pytest.approx(reference.interval.high)


@pytest.mark.parametrize("splits", [[], [1]])
def test_a_seed_that_lacks_a_split_in_one_cell_is_left_out_of_all(tmp_path: Path, splits: list[int]) -> None:
    """Split 0 is two points easier: a mean over it alone would be an effect of chance."""
    values = figures()
    tables = load_tables(study(tmp_path / "s", values, 2))
    lost = [str(("head", "soft")) + f" 2 {split}" for split in (0, 1) if split not in splits]
    tables = replace(tables, confirmed=tables.confirmed.filter(~pc.field("trial_id").isin(lost)))
    (found,) = design_effects(DESIGN, tables, METRIC)
    expected = factorial_effects(FACTORS, {cell: [*runs[:2], runs[3]] for cell, runs in values.items()})
    assert found.table is not None and found.left_out == (2,)
    assert [each.interval.value for each in found.table.effects] == pytest.approx(
        [each.interval.value for each in expected.effects]
    )
    assert design_lines(DESIGN, tables, METRIC)[-1].endswith("no figure: seed 2.")
    assert "no figure: seed 2." in Page(effects_section([found])).text


def test_without_a_whole_seed_there_are_no_effects(tmp_path: Path) -> None:
    tables = load_tables(study(tmp_path / "s", figures(), 2))
    halves = [f"{cell} {seed} {seed % 2}" for cell in figures() for seed in range(4)]
    tables = replace(tables, confirmed=tables.confirmed.filter(pc.field("trial_id").isin(halves)))
    (found,) = design_effects(DESIGN, tables, METRIC)
    assert found.table is None and found.problem == "no seed was tested on every split in every combination"


def test_sentences_say_what_is_larger_than_the_spread(tmp_path: Path) -> None:
    tables = load_tables(study(tmp_path / "s", figures()))
    lines = design_lines(DESIGN, tables, METRIC)
    assert all(len(line) <= COLUMNS for line in lines)
    title, depth, loss, both = "\n".join(lines).replace("\n    ", " ").split("\n")
    assert title == "plain_cnn, test accuracy, points against the mean of all:"
    assert depth.startswith("  depth: larger than the spread between seeds: ")
    assert loss.startswith("  loss: not larger") and both.startswith("  depth x loss: not larger")
    assert design_lines({}, tables, METRIC) == []


def test_an_incomplete_design_says_what_is_missing(tmp_path: Path) -> None:
    tables = load_tables(study(tmp_path / "s", figures("head + soft")))
    (found,) = design_effects(DESIGN, tables, METRIC)
    assert found.table is None and found.problem == "head + soft: never ran"
    assert design_lines(DESIGN, tables, METRIC)[1] == "  no effects: head + soft: never ran"
