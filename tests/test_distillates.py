"""Distillates in the tables of a study: told last, against teacher and peer, and never the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from raytl.limits import Limits
from raytl.metric import METRICS
from raytl.results.afterwards import find_afterwards
from raytl.results.contrast import contrast
from raytl.results.costs import run_costs
from raytl.results.distillates import distillate_sentence, find_distillates, teacher_text
from raytl.results.facts import final_models
from raytl.results.folder import StudyFolder
from raytl.results.leaderboard import leaderboard_lines
from raytl.results.ledger import Ledger
from raytl.results.loaded import load_study
from raytl.results.outcomes import compare
from raytl.results.schemas import DISTILL, DISTILLED, ENSEMBLE
from raytl.results.tables import Tables, confirmed_rows, load_tables, prediction_rows, trial_rows
from raytl.results.usage import bill_of, used_seconds
from tests.studies import Plan, write_study

ACCURACY = METRICS["val_accuracy"]
SMALL = Plan(backbones=("tiny_vit", "tiny_resnet"), trials=2, epochs=2, seeds=2)
SECONDS = 40.0


def with_student(root: Path, teacher: str | None = None, plan: Plan = SMALL) -> StudyFolder:
    """A study, and two students of tiny_vit that are right on every picture; the answer's first run taught them."""
    folder = write_study(root, plan)
    tables = load_tables(folder)
    rows, trials = confirmed_rows(tables.confirmed), {row.trial_id: row for row in trial_rows(tables.trials)}
    taught = teacher or final_models(tables, ACCURACY)[0].trial_ids[0]
    peers = [row for row in rows if row.backbone == "tiny_vit" and row.role == "best"]
    ledger = Ledger.open(folder.ledger)
    for peer in peers:
        name = f"d{peer.seed}"
        own = [row for row in prediction_rows(tables.predictions) if row.trial_id == peer.trial_id]
        ledger.commit("predictions", [replace(row, trial_id=name, predicted=row.label) for row in own])
        trial = replace(
            trials[peer.trial_id], trial_id=name, recipe_hash="d", stage=DISTILL, origin=DISTILLED, parameters=1_000,
            worker_seconds=SECONDS,
        )  # fmt: skip
        ledger.commit("trials", [trial])
        row = replace(
            peer, trial_id=name, recipe_hash="d", role=DISTILLED, val_accuracy=1.0, test_accuracy=1.0,
            correct=peer.test_count, predict_images_per_second=500.0, members=json.dumps({taught: 1.0}),
            model_path="models/tiny_vit-distilled" if peer.seed else None,
        )  # fmt: skip
        ledger.commit("confirmed", [row])
    return folder


def priced(trials: pa.Table) -> pa.Table:
    """The trials at a cost of 1 each."""
    place = trials.column_names.index("cost")
    return trials.set_column(place, trials.schema.field("cost"), pa.array([1.0] * len(trials)))


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return load_tables(with_student(tmp_path / "study"))


def test_it_is_no_final_model_and_changes_no_answer(tmp_path: Path) -> None:
    without = load_study(write_study(tmp_path / "without", SMALL).root)
    study = load_study(with_student(tmp_path / "study").root)
    assert study.final_models == without.final_models and without.distillates == ()
    assert study.best().sentence == without.best().sentence
    assert contrast(study, without).difference.value == 0
    assert study.leaderboard()["role"].to_pylist()[-1] == DISTILLED


def test_it_is_measured_against_teacher_and_peer(tables: Tables) -> None:
    models = final_models(tables, ACCURACY)
    (found,) = find_distillates(tables, models, ())
    assert found.model.seeds == (0, 1) and found.model.test.value == 1.0 and found.members == 1
    assert found.teacher is not None and found.peer is not None
    teacher = models[0].trial_ids[:1]
    assert found.teacher.model.trial_ids == teacher and found.teacher.difference is not None
    assert found.teacher.difference == compare(tables.predictions, ["d0", "d1"], teacher)
    assert found.peer.model == next(model for model in models if model.backbone == "tiny_vit")
    assert found.peer.difference == compare(tables.predictions, ["d0", "d1"], found.peer.model.trial_ids)
    assert found.teacher.difference.value > 0 and found.model.milliseconds == 2.0


def test_the_sentence_tells_it_all(tables: Tables) -> None:
    models = final_models(tables, ACCURACY)
    (found,) = find_distillates(tables, models, (), Limits(latency_ms=1.0))
    said = distillate_sentence(found)
    assert said.startswith(f"tiny_vit distilled from {models[0].backbone} ({models[0].role}, seed 0) has 100.0% [")
    assert "A picture took 2 ms (its teacher" in said and "over the limit (2 ms a picture)" in said
    assert "no candidate for the answer. It is in models/tiny_vit-distilled." in said
    assert said.replace(" ", "") not in "".join(leaderboard_lines(tables, ACCURACY)).replace(" ", "")
    within = distillate_sentence(find_distillates(tables, models, ())[0])
    assert within.replace(" ", "") in "".join(leaderboard_lines(tables, ACCURACY)).replace(" ", "")


def test_an_ensemble_is_named_as_the_teacher(tmp_path: Path) -> None:
    folder = with_student(tmp_path / "study", "e1")
    tables = load_tables(folder)
    first, second = [row for row in confirmed_rows(tables.confirmed) if row.seed == 0 and row.role == "best"][:2]
    members = json.dumps({first.trial_id: 0.5, second.trial_id: 0.5})
    mean = replace(first, trial_id="e1", recipe_hash="e1", backbone=ENSEMBLE, role=ENSEMBLE, members=members)
    own = [row for row in prediction_rows(tables.predictions) if row.trial_id == first.trial_id]
    ledger = Ledger.open(folder.ledger)
    ledger.commit("predictions", [replace(row, trial_id="e1") for row in own])
    ledger.commit("confirmed", [mean])
    tables = load_tables(folder)
    later = find_afterwards(tables, final_models(tables, ACCURACY))
    assert [model.role for model in later.models] == [ENSEMBLE, DISTILLED] and len(later.sentences) == 2
    (found,) = later.distillates
    assert teacher_text(found) == "the ensemble of 2 final models"
    assert found.teacher is not None and found.teacher.model == later.ensembles[0].model


def test_a_teacher_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    tables = load_tables(with_student(tmp_path / "study", "gone"))
    (found,) = find_distillates(tables, final_models(tables, ACCURACY), ())
    assert found.teacher is None and "from a teacher that is not recorded here" in distillate_sentence(found)


def test_what_it_took_is_no_part_of_the_studys_budget_or_bill(tmp_path: Path) -> None:
    prices = replace(SMALL, test_pictures=6)
    without, tables = (
        load_tables(folder)
        for folder in (write_study(tmp_path / "without", prices), with_student(tmp_path / "study", plan=prices))
    )
    assert used_seconds(trial_rows(tables.trials), {}) == used_seconds(trial_rows(without.trials), {}) > 0
    bill = bill_of(priced(tables.trials))
    assert bill == bill_of(priced(without.trials)) and bill is not None and bill.cost == len(without.trials)
    (found,) = find_distillates(tables, final_models(tables, ACCURACY), ())
    assert run_costs(tables, [found.model])[0].longest_seconds is not None, "but it is told with its own"
