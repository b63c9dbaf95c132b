"""What a study concludes, against hand-written loops over its rows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from raytl.errors import ConfigError
from raytl.limits import NO_LIMITS, Limits
from raytl.metric import METRICS
from raytl.recipe import Recipe
from raytl.results.facts import FinalModel, backbone_searches, final_models, find_answer, study_limits, study_metric
from raytl.results.ledger import Ledger
from raytl.results.stats import accuracy_interval, over_splits, paired_difference
from raytl.results.tables import Tables, load_tables
from tests.studies import ROLE_ACCURACY, STAGES, Plan, confirmed_row, slowed, trial_row, write_study

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
    first = models[0]  # 56 and 54 of 60 right
    assert (first.backbone, first.role) == ("tiny_vit", "best")
    found = [first.test.value, first.test.low, first.test.high]
    assert found == pytest.approx([110 / 120, 0.789, 0.972], abs=0.005)


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
    answer = find_answer(tables, models, (), ACCURACY)
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
    answer = find_answer(tables, final_models(tables, ACCURACY), (), ACCURACY)
    assert answer
    assert [comparison.other.role for comparison in answer.comparisons] == ["default", "probe"]


def test_a_backbone_that_was_searched_and_not_tested_is_named(tmp_path: Path) -> None:
    folder = write_study(tmp_path, Plan(backbones=("a",)))
    Ledger.open(folder.ledger).commit("trials", [trial_row(Recipe(backbone="b"), accuracy=0.99)])
    tables = load_tables(folder)
    answer = find_answer(tables, final_models(tables, ACCURACY), backbone_searches(tables, ACCURACY), ACCURACY)
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
    answer = find_answer(tables, models, (), ACCURACY)
    assert answer
    assert answer.comparisons[0].difference is not None


def test_over_splits_no_accuracy_is_above_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROLE_ACCURACY, "best", 0.995)
    plan = Plan(backbones=("a", "b"), splits=2, seeds=2, roles=("best",), gap=0.3)
    tables = tables_of(tmp_path, plan)
    models = final_models(tables, ACCURACY)
    assert models[0].test.high == 1.0 and 0 <= models[1].test.low <= models[1].test.high <= 1
    answer = find_answer(tables, models, (), ACCURACY)
    assert answer and answer.comparisons[0].difference
    difference = answer.comparisons[0].difference
    assert difference.high - difference.value == pytest.approx(difference.value - difference.low), "not clipped"


def test_no_final_model_is_no_answer(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, Plan(confirmed=False))
    assert final_models(tables, ACCURACY) == ()
    assert find_answer(tables, (), (), ACCURACY) is None


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
    answer = find_answer(tables, models, (), ACCURACY)
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


def test_a_model_over_the_limits_is_not_the_answer_while_one_is_within(tmp_path: Path) -> None:
    """tiny_vit is best and takes 25 ms a picture, where the others take half a millisecond."""
    tables = slowed(tables_of(tmp_path, Plan()), "tiny_vit", images_per_second=40.0)
    free = final_models(tables, ACCURACY)
    limited = final_models(tables, ACCURACY, Limits(latency_ms=20.0))
    assert free[0].backbone == "tiny_vit" and all(model.over is None for model in free)
    assert [model.over for model in limited] == [None] * 6 + ["25 ms a picture"] * 3
    assert [model.backbone for model in limited[6:]] == ["tiny_vit"] * 3
    answer = find_answer(tables, limited, (), ACCURACY)
    assert answer and answer.best.backbone == "tiny_resnet" and answer.best.over is None
    better = {(each.backbone, each.role) for each in free if each.val_accuracy > answer.best.val_accuracy}
    assert (
        {(each.backbone, each.role) for each in answer.barred}
        == better
        == {("tiny_vit", "best"), ("tiny_vit", "default")}
    )
    within = final_models(tables, ACCURACY, Limits(latency_ms=25.0, size_mb=1.0))
    assert [model.backbone for model in within] == [model.backbone for model in free]


def test_where_no_model_is_within_the_best_of_all_is_told_as_over(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, Plan(seeds=1))
    models = final_models(tables, ACCURACY, Limits(size_mb=0.5))  # they have 250,000 parameters
    assert {model.over for model in models} == {"1 MB"}
    answer = find_answer(tables, models, (), ACCURACY)
    assert answer and (answer.best.backbone, answer.best.over, answer.barred) == ("tiny_vit", "1 MB", ())


@pytest.mark.parametrize(
    ("study", "limits"),
    [
        ({"spec": {"max_latency_ms": 20, "max_size_mb": 1.5}}, Limits(20.0, 1.5)),
        ({"spec": {"max_latency_ms": None}}, NO_LIMITS),
        ({"spec": {}}, NO_LIMITS),
        ({}, NO_LIMITS),
    ],
)
def test_the_limits_are_found_in_the_study(study: dict[str, object], limits: Limits) -> None:
    assert study_limits(study) == limits


def test_recipes_of_one_role_are_not_taken_together_over_splits(tmp_path: Path) -> None:
    """An extended study may have confirmed an earlier best recipe on its only split, and a later one on two."""
    folder = write_study(tmp_path, Plan(backbones=("a",), roles=("best",), seeds=1, splits=2))
    ledger, right = Ledger.open(folder.ledger), np.ones(60, bool)
    early = trial_row(Recipe(backbone="a", lr=0.5), "confirm", accuracy=0.5)
    ledger.commit("trials", [early])
    ledger.commit("confirmed", [confirmed_row("best", early, right)])
    models = final_models(load_tables(folder), ACCURACY)
    assert [(model.role, sorted(model.runs)) for model in models] == [("best", [0, 1]), ("best", [0])]
    assert models[1].val_accuracy == 0.5 and models[1].trial_ids == (early.trial_id,)


def test_a_recipe_under_two_roles_is_one_model(tmp_path: Path) -> None:
    """The best recipe of a study is the best head of an extended one, which adds a seed under that role."""
    folder = write_study(tmp_path, Plan(backbones=("a",), roles=("best",), seeds=2))
    ledger, right = Ledger.open(folder.ledger), np.ones(60, bool)
    first = load_tables(folder).trials.to_pylist()[-1]
    third = trial_row(Recipe(backbone="a", freeze_depth=first["freeze_depth"], epochs=5, seed=2), "confirm")
    ledger.commit("trials", [third])
    ledger.commit("confirmed", [confirmed_row("head", third, right)])
    (model,) = final_models(load_tables(folder), ACCURACY)
    assert (model.role, model.seeds) == ("head", (0, 1, 2))
