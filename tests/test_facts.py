"""What a study concludes, against hand-written loops over its rows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from raytl.errors import ConfigError
from raytl.metric import METRICS
from raytl.recipe import Recipe
from raytl.results.facts import FinalModel, backbone_searches, final_models, find_answer, study_metric
from raytl.results.ledger import Ledger
from raytl.results.stats import accuracy_interval, over_splits, paired_difference
from raytl.results.tables import Tables, load_tables
from tests.studies import STAGES, Plan, confirmed_row, trial_row, write_study

ACCURACY = METRICS["val_accuracy"]


def tables_of(folder: Path, plan: Plan) -> Tables:
    return load_tables(write_study(folder, plan))


def grid(tables: Tables, model: FinalModel) -> np.ndarray:
    """(S, N) answers by a loop."""
    rows = sorted(tables.predictions.to_pylist(), key=lambda row: row["path"])
    return np.array(
        [[row["label"] == row["predicted"] for row in rows if row["trial_id"] == run] for run in model.trial_ids]
    )


def test_final_models_are_the_means_of_their_rows(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, Plan(seeds=2))
    models = final_models(tables, ACCURACY)
    assert len(models) == 9
    for model in models:
        rows = [row for row in tables.confirmed.to_pylist() if row["trial_id"] in model.trial_ids]
        assert [row["seed"] for row in rows] == [0, 1]
        assert {(row["backbone"], row["role"]) for row in rows} == {(model.backbone, model.role)}
        assert model.test.value == pytest.approx(np.mean([row["test_accuracy"] for row in rows]))
        assert model.test == accuracy_interval(grid(tables, model))
        assert model.train_seconds == pytest.approx(np.mean([row["train_seconds"] for row in rows]))
        assert model.problem is None
        assert model.stage_count == STAGES


def test_validation_ranks_and_not_the_test_set(tmp_path: Path) -> None:
    """The backbone that is second on validation has every test picture right: it is not the answer."""
    folder = write_study(tmp_path, Plan(backbones=("first",), roles=("best",), seeds=1))
    ledger = Ledger.open(folder.ledger)
    lucky = trial_row(Recipe(backbone="lucky"), "confirm", accuracy=0.90)
    ledger.commit("confirmed", [confirmed_row("best", lucky, np.ones(60, bool))])
    models = final_models(load_tables(folder), ACCURACY)
    assert [model.backbone for model in models] == ["first", "lucky"]
    assert models[1].test.value > models[0].test.value


def test_a_loss_ranks_the_other_way_round(tmp_path: Path) -> None:
    models = final_models(tables_of(tmp_path, Plan()), METRICS["val_loss"])
    losses = [model.val_loss for model in models]
    assert losses == sorted(losses)


def test_the_answer_is_compared_with_the_next_backbone_and_its_own_probe(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, Plan())
    models = final_models(tables, ACCURACY)
    answer = find_answer(tables, models, ())
    assert answer
    assert (answer.best.backbone, answer.best.role) == ("tiny_vit", "best")
    named = {comparison.name: comparison for comparison in answer.comparisons}
    rival, probe = named["the runner-up"], named["its own linear probe"]
    assert (rival.other.backbone, rival.other.role) == ("tiny_resnet", "best")
    assert (probe.other.backbone, probe.other.role) == ("tiny_vit", "probe")
    for comparison in answer.comparisons:
        assert comparison.difference == paired_difference(grid(tables, answer.best), grid(tables, comparison.other))


def test_with_one_backbone_the_runner_up_is_its_own_default(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, Plan(backbones=("only",)))
    answer = find_answer(tables, final_models(tables, ACCURACY), ())
    assert answer
    assert [comparison.other.role for comparison in answer.comparisons] == ["default", "probe"]


def test_a_backbone_that_was_searched_and_not_tested_is_named(tmp_path: Path) -> None:
    folder = write_study(tmp_path, Plan(backbones=("a",)))
    Ledger.open(folder.ledger).commit("trials", [trial_row(Recipe(backbone="b"), accuracy=0.99)])
    tables = load_tables(folder)
    answer = find_answer(tables, final_models(tables, ACCURACY), backbone_searches(tables, ACCURACY))
    assert answer
    assert answer.untested == ("b",)


def test_several_splits_widen_the_interval(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, Plan(splits=3, seeds=2, roles=("best",)))
    models = final_models(tables, ACCURACY)
    model = models[0]
    assert sorted(model.runs) == [0, 1, 2]
    rows = tables.confirmed.to_pylist()
    means = [np.mean([row["test_accuracy"] for row in rows if row["trial_id"] in ids]) for ids in model.runs.values()]
    expected = over_splits([float(mean) for mean in means], test_count=60, train_count=200)
    assert (model.test.value, model.test.low, model.test.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    answer = find_answer(tables, models, ())
    assert answer
    assert answer.comparisons[0].difference is not None


def test_no_final_model_is_no_answer(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, Plan(confirmed=False))
    assert final_models(tables, ACCURACY) == ()
    assert find_answer(tables, (), ()) is None


def test_a_final_model_without_predictions_has_no_interval(tmp_path: Path) -> None:
    folder = write_study(tmp_path, Plan(backbones=("a",), roles=("best",)))
    lost = trial_row(Recipe(backbone="lost"), "confirm", accuracy=0.5)
    Ledger.open(folder.ledger).commit("confirmed", [confirmed_row("best", lost, np.arange(60) < 30)])
    tables = load_tables(folder)
    models = final_models(tables, ACCURACY)
    model = models[-1]
    assert model.test.value == 0.5
    assert math.isnan(model.test.low)
    assert "no predictions are recorded" in str(model.problem)
    answer = find_answer(tables, models, ())
    assert answer
    assert answer.comparisons[0].difference is None
    assert "no predictions" in str(answer.comparisons[0].problem)


def test_figures_that_contradict_each_other_are_said(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, Plan(backbones=("a",), roles=("best",), seeds=1))
    column = tables.confirmed.column_names.index("test_accuracy")
    wrong = tables.confirmed.set_column(column, tables.confirmed.schema.field(column), [[0.123]])
    changed = Tables(tables.trials, tables.epochs, wrong, tables.predictions, tables.data)
    assert "final models 0.1230" in str(final_models(changed, ACCURACY)[0].problem)


def test_a_search_counts_its_trials(tmp_path: Path) -> None:
    plan = Plan(trials=7)
    tables = tables_of(tmp_path, plan)
    searches = backbone_searches(tables, ACCURACY)
    assert [search.backbone for search in searches] == list(plan.backbones)
    for search in searches:
        rows = [row for row in tables.trials.to_pylist() if row["backbone"] == search.backbone]
        ranked = [row for row in rows if row["stage"] != "confirm" and row["val_accuracy"] is not None]
        assert (search.trials, search.probes) == (8, 1)
        assert search.statuses == {"completed": 5, "stopped": 2, "diverged": 1}
        assert search.best
        assert search.best.val_accuracy == max(row["val_accuracy"] for row in ranked)
        assert search.varied == ("lr",)
        assert search.stage_count == STAGES


@pytest.mark.parametrize(
    ("study", "name"),
    [
        ({"metric": "val_loss"}, "val_loss"),
        ({"spec": {"metric": "val_macro_f1"}}, "val_macro_f1"),
        ({}, "val_accuracy"),
        ({"seeds": [1]}, "val_accuracy"),
    ],
)
def test_the_metric_is_found_in_the_study(study: dict[str, object], name: str) -> None:
    assert study_metric(study).name == name


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match="val_acc"):
        study_metric({"metric": "val_acc"})
