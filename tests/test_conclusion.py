"""What a study ended on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from raytl.limits import Limits
from raytl.results.facts import final_models
from raytl.results.leaderboard import leaderboard_lines
from raytl.results.tables import priced
from tests.views import ACCURACY, GRID, conclusion


def test_lines_are_the_leaderboard_and_the_paths(tmp_path: Path) -> None:
    ended = conclusion(tmp_path)
    board = leaderboard_lines(ended.tables, ACCURACY)
    assert ended.lines() == [
        *board,
        "",
        f"report:      {ended.folder.report}",
        f"models:      {ended.folder.models}",
        f"TensorBoard: tensorboard --logdir {ended.folder.tensorboard}",
        f"of models:   tensorboard --logdir {ended.folder.tensorboard_finals}",
    ]
    assert ended.lines(80)[: len(board)] == leaderboard_lines(ended.tables, ACCURACY, 80)[: len(board)]
    assert max(len(line) for line in leaderboard_lines(ended.tables, ACCURACY, 80)) <= 80


def test_values_are_those_of_the_final_models_and_can_be_written(tmp_path: Path) -> None:
    ended = conclusion(tmp_path, exit_code=5)
    values = ended.values()
    models = final_models(ended.tables, ACCURACY)
    written = json.loads(json.dumps(values))
    assert written["exit_code"] == 5 and written["metric"] == "val_accuracy"
    assert written["cost"] is None and {each["cost"] for each in written["models"]} == {None}
    assert [each["val_accuracy"] for each in written["models"]] == [model.val_accuracy for model in models]
    low, high = written["models"][0]["test_accuracy_low"], written["models"][0]["test_accuracy_high"]
    assert (low, high) == (models[0].test.low, models[0].test.high) and not math.isnan(low)
    assert written["answer"] in " ".join(leaderboard_lines(ended.tables, ACCURACY))


def test_effects_of_a_design_are_told(tmp_path: Path) -> None:
    ended = replace(conclusion(tmp_path), design=GRID.design)
    assert ended.values()["effects"] == [] and len(ended.lines()) == len(conclusion(tmp_path / "b").lines())


def test_limits_count_in_lines_and_values_alike(tmp_path: Path) -> None:
    """Every model has 250,000 parameters, one megabyte."""
    ended = replace(conclusion(tmp_path), limits=Limits(size_mb=0.5))
    assert {each["over_limit"] for each in ended.values()["models"]} == {"1 MB"}  # type: ignore[attr-defined]
    assert str(ended.values()["answer"]).startswith("No final model is within the limits of this study.")
    assert " ".join(ended.lines()).count("over the limit: ") == 10


def test_costs_are_told_where_there_are_prices(tmp_path: Path) -> None:
    plain = conclusion(tmp_path)
    seconds = pa.array([3600.0] * len(plain.tables.trials))
    trials = plain.tables.trials
    for name, values in (("worker_seconds", seconds), ("node_share", pa.array([0.5] * len(trials)))):
        trials = trials.set_column(trials.schema.get_field_index(name), name, values)
    kinds = pa.array(["gpu"] * len(trials))
    trials = trials.set_column(trials.schema.get_field_index("node_type"), "node_type", kinds)
    ended = replace(plain, tables=priced(replace(plain.tables, trials=trials), {"*": 4.0}))
    written = json.loads(json.dumps(ended.values()))
    finals = trials["stage"].to_pylist().count("confirm")
    assert written["cost"] == {
        "worker_hours": len(trials), "cost": 2.0 * len(trials), "confirm_cost": 2.0 * finals, "unpriced": 0,
    }  # fmt: skip
    assert {each["cost"] for each in written["models"]} == {2.0}
