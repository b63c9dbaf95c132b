"""What trials of a search differ in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from raytl.metric import METRICS
from raytl.recipe import Recipe
from raytl.results.folder import StudyFolder
from raytl.results.ledger import Ledger
from raytl.results.tables import Tables, load_tables
from raytl.results.varied import TrialGroup, trial_groups
from tests.rows import trial_row

ACCURACY, LOSS = METRICS["val_accuracy"], METRICS["val_loss"]
RECIPE = Recipe(backbone="a", lr=0.1)


def tables(root: Path, *rows: dict[str, object]) -> Tables:
    folder = StudyFolder(root)
    folder.create()
    folder.write_study({})
    made = [
        trial_row(**{"trial_id": f"t{index}", "status": "completed", "val_loss": 1.0, "val_accuracy": 0.5, **row})
        for index, row in enumerate(rows)
    ]
    Ledger.open(folder.ledger).commit("trials", made)
    return load_tables(folder)


def named(groups: tuple[TrialGroup, ...]) -> list[tuple[str, str | None, list[str]]]:
    return [(group.stage, group.backbone, [row.trial_id for row in group.rows]) for group in groups]


def row(backbone: str, stage: str = "search", **values: object) -> dict[str, object]:
    recipe = replace(RECIPE, backbone=backbone, **values)  # type: ignore[arg-type]
    return {"stage": stage, "backbone": backbone, "recipe": recipe, "freeze_depth": recipe.freeze_depth}


def test_stages_stand_alone_and_several_backbones_also_together(tmp_path: Path) -> None:
    found = tables(tmp_path, row("a"), row("b"), row("a", "probe"), row("a", "confirm"), row("b"))
    assert named(trial_groups(found, ACCURACY)) == [
        ("search", None, ["t0", "t1", "t4"]),
        ("search", "a", ["t0"]),
        ("search", "b", ["t1", "t4"]),
        ("probe", "a", ["t2"]),
    ]


def test_what_has_no_figure_is_left_out(tmp_path: Path) -> None:
    diverged, unknown = {"status": "diverged"}, {"val_accuracy": float("nan")}
    found = tables(tmp_path, row("a"), row("a") | diverged, row("a") | unknown, row("a") | {"status": "stopped"})
    assert named(trial_groups(found, ACCURACY)) == [("search", "a", ["t0", "t3"])]


def test_ranks_go_from_worst_to_best_and_ties_by_the_loss(tmp_path: Path) -> None:
    figures = [(0.5, 0.9), (0.8, 0.4), (0.5, 0.7), (0.2, 0.1)]
    rows = [row("a") | {"val_accuracy": accuracy, "val_loss": loss} for accuracy, loss in figures]
    found = tables(tmp_path, *rows)
    [group] = trial_groups(found, ACCURACY)
    np.testing.assert_allclose(group.ranks, [1 / 3, 1, 2 / 3, 0])
    [group] = trial_groups(found, LOSS)
    np.testing.assert_allclose(group.ranks, [0, 2 / 3, 1 / 3, 1])


def test_columns_are_the_fields_that_differ_and_depths_compare_as_shares(tmp_path: Path) -> None:
    found = tables(
        tmp_path,
        row("a", lr=0.1, freeze_depth=1, seed=1) | {"frozen_fraction": 0.4},
        row("b", lr=0.2, freeze_depth=2, seed=2) | {"frozen_fraction": 0.4},
        row("b", lr=0.3, freeze_depth=3) | {"frozen_fraction": 0.7},
    )
    together, a, b = trial_groups(found, ACCURACY)
    assert dict(together.columns) == {
        "backbone": ["a", "b", "b"],
        "lr": [0.1, 0.2, 0.3],
        "frozen_fraction": [0.4, 0.4, 0.7],
    }
    assert dict(a.columns) == {} and dict(b.columns) == {"freeze_depth": [2, 3], "lr": [0.2, 0.3]}


def test_a_field_that_each_backbone_has_one_value_of_is_no_field_of_its_own(tmp_path: Path) -> None:
    rows = [row("a", precision="fp32", lr=0.1), row("a", precision="fp32", lr=0.2), row("b", precision="bf16", lr=0.1)]
    together, of_a, of_b = trial_groups(tables(tmp_path, *rows), ACCURACY)
    assert set(together.columns) == {"backbone", "lr"} and set(of_a.columns) == {"lr"} and not of_b.columns


def test_wholly_frozen_backbones_do_not_differ_in_what_is_frozen(tmp_path: Path) -> None:
    found = tables(tmp_path, row("a") | {"frozen_fraction": 0.999}, row("b") | {"frozen_fraction": 0.993})
    assert dict(trial_groups(found, ACCURACY)[0].columns) == {"backbone": ["a", "b"]}
