"""Sheets of a study say what its tables say."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from raytl.limits import NO_LIMITS
from raytl.metric import METRICS
from raytl.recipe import FIELD_NAMES
from raytl.results.facts import final_models
from raytl.results.folder import StudyFolder
from raytl.results.run_sheets import EPOCH_FIGURES, FAILED, FINAL, FINISHED, STUDY, RunSheet, run_sheets
from raytl.results.tables import Tables, load_tables
from tests.studies import Plan, write_study

PLAN = Plan(backbones=("tiny_vit", "tiny_resnet"), trials=3, epochs=3, seeds=2, test_pictures=12, train_pictures=24)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    made = write_study(tmp_path / "flowers", PLAN)
    made.report.write_text("<p>report</p>")
    card = made.models / "tiny_vit" / "README.md"
    card.parent.mkdir(parents=True)
    card.write_text("# card")
    return made


@pytest.fixture
def tables(folder: StudyFolder) -> Tables:
    return load_tables(folder)


def by_key(folder: StudyFolder, tables: Tables) -> dict[str, RunSheet]:
    sheets = run_sheets(folder, tables)
    found = {sheet.key: sheet for sheet in sheets}
    assert len(found) == len(sheets)
    return found


def asked(question: str, tables: Tables) -> list[Any]:
    trials, epochs, confirmed = tables.trials, tables.epochs, tables.confirmed  # DuckDB finds them by name
    assert len(trials) and len(epochs) and len(confirmed)
    return duckdb.execute(question).fetchall()


def test_each_trial_has_a_sheet_with_its_recipe_and_how_it_ended(folder: StudyFolder, tables: Tables) -> None:
    sheets = by_key(folder, tables)
    rows = asked("select trial_id, stage, status, backbone, recipe_lr, recipe_freeze_depth from trials", tables)
    assert {key for key, sheet in sheets.items() if sheet.tags["stage"] not in (STUDY, FINAL)} == {
        row[0] for row in rows
    }
    for trial_id, stage, status, backbone, lr, depth in rows:
        sheet = sheets[trial_id]
        told = {"trial_id": trial_id, "stage": stage, "status": status, "backbone": backbone}
        assert told.items() <= sheet.tags.items() and set(sheet.params) == set(FIELD_NAMES)
        assert float(sheet.params["lr"]) == lr and int(sheet.params["freeze_depth"]) == depth
        assert sheet.status == (FAILED if status == "diverged" else FINISHED)


def test_every_figure_of_every_epoch_is_there_once(folder: StudyFolder, tables: Tables) -> None:
    sheets = by_key(folder, tables)
    found = [
        (key, figure.step, figure.name, figure.value)
        for key, sheet in sheets.items()
        for figure in sheet.figures
        if figure.name in EPOCH_FIGURES and sheet.tags["stage"] != FINAL
    ]
    columns = ", ".join(EPOCH_FIGURES)
    question = f"unpivot (select trial_id, epoch, {columns} from epochs) on {columns} into name figure value number"
    assert sorted(found) == sorted(asked(question, tables))


def test_final_models_have_means_intervals_and_their_card(folder: StudyFolder, tables: Tables) -> None:
    sheets = by_key(folder, tables)
    finals = [sheet for sheet in sheets.values() if sheet.tags["stage"] == FINAL]
    models = final_models(tables, METRICS["val_accuracy"], NO_LIMITS)
    question = "select backbone, role, avg(test_accuracy), avg(test_loss) from confirmed group by all"
    means = {row[:2]: row[2:] for row in asked(question, tables)}
    assert len(finals) == len(means) == len(models)
    for sheet, model in zip(finals, models, strict=True):
        values = {figure.name: figure.value for figure in sheet.figures}
        own = means[sheet.tags["backbone"], sheet.tags["role"]]
        assert (values["test_accuracy"], values["test_loss"]) == pytest.approx(own)
        assert (values["test_accuracy_low"], values["test_accuracy_high"]) == (model.test.low, model.test.high)
        assert {figure.step for figure in sheet.figures} == {2} and "seed" not in sheet.params
        children = [key for key, each in sheets.items() if each.parent == sheet.key]
        assert sorted(children) == sorted(model.trial_ids)
    cards = [path for sheet in finals for path in sheet.files]
    assert cards == [folder.models / "tiny_vit" / "README.md"]
    assert sheets[STUDY].files == (folder.report,) and "tiny_vit" in sheets[STUDY].tags["answer"]


def test_test_figures_of_a_seed_are_on_its_own_sheet(folder: StudyFolder, tables: Tables) -> None:
    sheets = by_key(folder, tables)
    for trial_id, role, accuracy in asked("select trial_id, role, test_accuracy from confirmed", tables):
        values = {figure.name: figure.value for figure in sheets[trial_id].figures}
        assert values["test_accuracy"] == accuracy and sheets[trial_id].tags["role"] == role


def test_a_digest_changes_with_a_figure_a_text_and_a_file(folder: StudyFolder, tables: Tables) -> None:
    sheet = by_key(folder, tables)[STUDY]
    assert by_key(folder, tables)[STUDY].digest == sheet.digest
    assert replace(sheet, tags={**sheet.tags, "answer": "other"}).digest != sheet.digest
    before = sheet.digest
    folder.report.write_text("<p>another</p>")
    assert sheet.digest != before
    trial = next(each for each in run_sheets(folder, tables) if each.figures)
    changed = replace(trial.figures[0], value=math.nextafter(trial.figures[0].value, 2))
    assert replace(trial, figures=(changed, *trial.figures[1:])).digest != trial.digest


def test_texts_hold_no_secrets(folder: StudyFolder, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "canary-secret-1")
    folder.study_json.write_text(folder.study_json.read_text().replace("raytl search", "x canary-secret-1"))
    assert "canary-secret-1" in str(folder.read_study()["command"])
    sheets = run_sheets(folder, tables)
    assert "canary-secret-1" not in str(sheets) and "<redacted>" in sheets[0].tags["command"]
