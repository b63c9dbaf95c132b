"""Curves, freeze points and incidents against loops over the rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytl.metric import METRICS
from raytl.recipe import Recipe
from raytl.results.facts import backbone_searches, final_models
from raytl.results.history import flatten, freeze_points, incidents, overfitting, trial_curves
from raytl.results.ledger import Ledger
from raytl.results.tables import Tables, learning_curve, load_tables
from tests.studies import Plan, trial_row, write_study

ACCURACY = METRICS["val_accuracy"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return load_tables(write_study(tmp_path_factory.mktemp("study"), Plan()))


def test_curves_are_the_epochs_of_searched_trials_best_last(tables: Tables) -> None:
    curves = trial_curves(tables, backbone_searches(tables, ACCURACY), ACCURACY)
    assert list(curves) == ["tiny_vit", "tiny_resnet", "tiny_mobilenet"]
    for trials in curves.values():
        kinds = [curve.kind for curve in trials]
        assert (kinds[-1], kinds.count("best"), kinds.count("stopped"), len(kinds)) == ("best", 1, 2, 7)
        for curve in trials:
            rows = learning_curve(tables, curve.trial_id)
            assert [value for _, value in curve.points] == rows["val_accuracy"].to_pylist()
            assert [epoch for epoch, _ in curve.points] == rows["epoch"].to_pylist()


def test_freeze_points_are_trials_that_ended_with_a_figure(tables: Tables) -> None:
    found = {point.trial_id: point for point in freeze_points(tables, ACCURACY)}
    rows = [row for row in tables.trials.to_pylist() if row["stage"] != "confirm" and row["status"] != "diverged"]
    assert found.keys() == {row["trial_id"] for row in rows}
    for row in rows:
        point = found[row["trial_id"]]
        assert (point.frozen_fraction, point.value) == (row["frozen_fraction"], row["val_accuracy"])
        assert point.epoch_seconds == pytest.approx(row["seconds"] / row["epochs_run"])


def test_overfitting_is_the_gap_at_the_best_epoch(tables: Tables) -> None:
    models = final_models(tables, ACCURACY)
    assert overfitting(tables, models) == pytest.approx([0.02] * len(models))


def test_incidents_name_each_reason_once_and_failures_first(tmp_path: Path) -> None:
    folder = write_study(tmp_path, Plan(backbones=("a", "b"), confirmed=False))
    rows = [
        trial_row(Recipe(backbone="a", lr=0.5), reason="auxiliary head left out"),
        trial_row(Recipe(backbone="a", lr=0.6), status="running", accuracy=None, epochs_run=0),
        trial_row(Recipe(backbone="a", lr=0.7), status="failed", reason="out of memory", accuracy=None, epochs_run=0),
    ]
    Ledger.open(folder.ledger).commit("trials", rows)
    found = [(incident.status, incident.reason, len(incident.trial_ids)) for incident in incidents(load_tables(folder))]
    assert found == [
        ("failed", "out of memory", 1),
        ("diverged", "loss was NaN in epoch 1", 2),
        ("running", "no reason recorded", 1),
        ("completed", "auxiliary head left out", 1),
    ]


def test_nested_values_get_dotted_names() -> None:
    assert flatten({"a": 1, "b": {"c": [2], "d": {}}}) == [("a", 1), ("b.c", [2]), ("b.d", {})]
