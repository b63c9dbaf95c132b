"""Ensembles in the tables of a study: told after the models, against the answer, and never the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from raytl.limits import Limits
from raytl.metric import METRICS
from raytl.results.contrast import contrast
from raytl.results.ensembles import ensemble_models, ensemble_sentence, find_ensembles, runs_text
from raytl.results.exchange import exchange_tables
from raytl.results.facts import FinalModel, final_models
from raytl.results.folder import StudyFolder
from raytl.results.leaderboard import leaderboard_lines
from raytl.results.ledger import Ledger
from raytl.results.loaded import load_study
from raytl.results.outcomes import compare
from raytl.results.report import report_page
from raytl.results.schemas import ENSEMBLE
from raytl.results.tables import Tables, confirmed_rows, load_tables, prediction_rows
from tests.studies import Plan, write_study

ACCURACY = METRICS["val_accuracy"]
SMALL = Plan(backbones=("tiny_vit", "tiny_resnet"), trials=2, epochs=2, seeds=2)


def with_ensemble(root: Path, plan: Plan = SMALL) -> StudyFolder:
    """A study and an ensemble of two of its runs that is right on every picture and perfect on validation."""
    folder = write_study(root, plan)
    tables = load_tables(folder)
    first, second = [row for row in confirmed_rows(tables.confirmed) if row.seed == 0 and row.role == "best"][:2]
    own = [row for row in prediction_rows(tables.predictions) if row.trial_id == first.trial_id]
    right = [replace(row, trial_id="e1", seed=0, predicted=row.label) for row in own]
    row = replace(
        first, trial_id="e1", recipe_hash="e1", backbone=ENSEMBLE, role=ENSEMBLE, freeze_depth=0, val_accuracy=1.0,
        val_loss=0.0, test_accuracy=1.0, correct=first.test_count, predict_images_per_second=50.0,
        model_path="models/ensemble", members=json.dumps({first.trial_id: 0.25, second.trial_id: 0.75}),
    )  # fmt: skip
    ledger = Ledger.open(folder.ledger)
    ledger.commit("predictions", right)
    ledger.commit("confirmed", [row])
    return folder


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return load_tables(with_ensemble(tmp_path / "study"))


@pytest.fixture
def models(tables: Tables) -> tuple[FinalModel, ...]:
    return final_models(tables, ACCURACY)


def test_it_is_no_final_model_and_changes_no_answer(tmp_path: Path) -> None:
    without = load_study(write_study(tmp_path / "without", SMALL).root)
    study = load_study(with_ensemble(tmp_path / "study").root)
    assert study.final_models == without.final_models
    assert study.best().sentence == without.best().sentence
    assert contrast(study, without).difference.value == 0
    assert [model.role for model in ensemble_models(study.ensembles)] == [ENSEMBLE]
    assert study.leaderboard()["role"].to_pylist()[-1] == ENSEMBLE
    assert without.ensembles == ()


def test_what_it_is_made_of_and_what_it_costs(tables: Tables, models: tuple[FinalModel, ...]) -> None:
    (found,) = find_ensembles(tables, models)
    assert [(part.backbone, part.role, part.weight) for part in found.parts] == [
        ("tiny_resnet", "best", 0.75),
        ("tiny_vit", "best", 0.25),
    ]
    assert found.model.parameters == 2 * 250_000 and found.model.milliseconds == 20.0
    assert found.model.test.value == 1.0 and 0.9 < found.model.test.low < 1.0
    assert found.rival == models[0]
    lead = compare(tables.predictions, ["e1"], models[0].trial_ids)
    assert found.difference is not None
    assert (found.difference.value, found.difference.low, found.difference.high) == pytest.approx(
        (lead.value, lead.low, lead.high)
    )
    (slow,) = find_ensembles(tables, models, Limits(latency_ms=10.0))
    assert slow.model.over == "20 ms a picture"


def test_it_is_told_in_a_sentence(tables: Tables, models: tuple[FinalModel, ...]) -> None:
    (found,) = find_ensembles(tables, models)
    said = ensemble_sentence(found)
    assert said.startswith("The ensemble of 2 final models (tiny_resnet, best, seed 0: 0.75; tiny_vit, best, seed 0:")
    assert "against the answer (tiny_vit, best)" in said and "it flatters" in said
    assert "A picture takes 20 ms (the answer: 0.5 ms), the weights 2.0 MB (1.0 MB)." in said
    assert said.endswith("It is in models/ensemble.")
    assert runs_text(models[0]) == "mean of 2 runs" and runs_text(found.model) == "seed 0"


def test_its_line_follows_the_models_and_its_sentence_the_answer(tables: Tables) -> None:
    lines = leaderboard_lines(tables, ACCURACY)
    row = next(index for index, line in enumerate(lines) if line.split()[:2] == [ENSEMBLE, ENSEMBLE])
    assert row == 1 + len(final_models(tables, ACCURACY)) and " – " in lines[row] and "100.0% [" in lines[row]
    text = " ".join(lines)
    assert text.index("Best is tiny_vit") < text.index("The ensemble of 2 final models")
    assert max(map(len, lines)) <= 100


def test_the_report_shows_it_and_does_not_count_it(tmp_path: Path) -> None:
    folder = with_ensemble(tmp_path / "study")
    page = report_page(folder.root, folder.read_study(), load_tables(folder))
    assert page.count("The ensemble of 2 final models") == 1
    assert "12 final models" in page and "An ensemble stands last" in page


def test_other_tools_get_its_predictions_under_its_name(tmp_path: Path) -> None:
    folder = with_ensemble(tmp_path / "study")
    stage = {"stages": ["a"], "default": {"image_size": 64, "weights": "none"}}
    study = {**folder.read_study(), "classes": list(SMALL.classes), "backbones": {"tiny_vit": stage}}
    content = exchange_tables("study", study, load_tables(folder))
    own = [row for row in content["predictions"].to_pylist() if row["trial_id"] == "e1"]
    assert len(own) == SMALL.test_pictures and {row["backbone"] for row in own} == {ENSEMBLE}
    assert all(row["is_correct"] for row in own)


def test_without_predictions_it_has_no_interval_and_says_why(tables: Tables, models: tuple[FinalModel, ...]) -> None:
    kept = [row["trial_id"] != "e1" for row in tables.predictions.to_pylist()]
    lacking = replace(tables, predictions=tables.predictions.filter(kept))
    (found,) = find_ensembles(lacking, models)
    assert found.difference is None and "no predictions are recorded" in (found.problem or "")
    assert "not compared with the answer" in ensemble_sentence(found)
    assert found.model.test.value == 1.0 and found.model.problem
