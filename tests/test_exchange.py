"""The tables that other tools get: what is in them, and that a database is changed whole or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from raytl.cli import main
from raytl.errors import ConfigError, StorageError
from raytl.results.exchange import Content, exchange_tables, write_csv, write_sql
from raytl.results.folder import StudyFolder
from raytl.results.schemas import to_table
from raytl.results.tables import Tables, load_tables, prediction_rows
from tests.studies import Plan, write_study

PLAN = Plan(trials=3, epochs=2, seeds=2, test_pictures=12, train_pictures=24)
DEFAULT = {"image_size": 64, "weights": "pretrained"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    made = write_study(tmp_path_factory.mktemp("studies") / "flowers", PLAN)
    values: dict[str, Any] = dict(made.read_study())
    backbones = {name: {**each, "default": DEFAULT} for name, each in values["backbones"].items()}
    made.write_study({**values, "backbones": backbones, "classes": list(PLAN.classes)})
    return made


@pytest.fixture(scope="module")
def tables(folder: StudyFolder) -> Tables:
    return load_tables(folder)


@pytest.fixture(scope="module")
def content(folder: StudyFolder, tables: Tables) -> Content:
    return exchange_tables("flowers", folder.read_study(), tables)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[tuple[str, sqlite3.Connection]]:
    connection = sqlite3.connect(tmp_path / "studies.db")
    yield f"sqlite:///{tmp_path}/studies.db", connection
    connection.close()


def test_csv_files_say_what_the_tables_say(content: Content, tables: Tables, tmp_path: Path) -> None:
    paths = write_csv(tmp_path / "csv", content)
    assert [path.stem for path in paths] == ["models", "trainings", "epochs", "tests", "predictions"]
    read = {path.stem: duckdb.read_csv(str(path)).arrow().read_all().to_pylist() for path in paths}
    assert [row["backbone"] for row in read["models"]] == list(PLAN.backbones)
    assert {(row["image_size"], row["weights"], row["stages"]) for row in read["models"]} == {(64, "pretrained", 6)}
    epochs = {(row["trial_id"], row["epoch"]): row for row in tables.epochs.to_pylist()}
    assert len(read["epochs"]) == len(epochs)
    for row in read["epochs"]:
        known = epochs[row["trial_id"], row["epoch"]]
        assert row["study"] == "flowers" and row["is_best"] == known["is_best"]
        assert row["val_loss"] == pytest.approx(known["val_loss"])
        assert row["ended_at"] == known["ended_at"]
    tests = {row["trial_id"]: row["test_accuracy"] for row in tables.confirmed.to_pylist()}
    assert {row["trial_id"]: row["test_accuracy"] for row in read["tests"]} == pytest.approx(tests)
    assert len(read["trainings"]) == tables.trials.num_rows
    owners = {row["trial_id"]: row["backbone"] for row in tables.trials.to_pylist()}
    assert len(read["predictions"]) == tables.predictions.num_rows
    for row, known in zip(read["predictions"], tables.predictions.to_pylist(), strict=True):
        told = row["probabilities"] if isinstance(row["probabilities"], dict) else json.loads(row["probabilities"])
        assert list(told.values()) == pytest.approx(known["probabilities"], abs=1e-6)
        assert list(told) == list(PLAN.classes) and row["backbone"] == owners[row["trial_id"]]
        assert row["is_correct"] == (known["label"] == known["predicted"])


def test_predictions_whose_figures_a_kill_kept_from_being_recorded_are_left_out(
    content: Content, folder: StudyFolder, tables: Tables
) -> None:
    orphan = to_table("predictions", [replace(prediction_rows(tables.predictions)[0], trial_id="killed")], 999)
    more = replace(tables, predictions=pa.concat_tables([tables.predictions, orphan]))
    assert exchange_tables("flowers", folder.read_study(), more)["predictions"].equals(content["predictions"])
    empty = replace(tables, predictions=tables.predictions.slice(0, 0))
    assert exchange_tables("flowers", folder.read_study(), empty)["predictions"].num_rows == 0


def counts(connection: sqlite3.Connection) -> dict[tuple[str, str], int]:
    names = ("models", "trainings", "epochs", "tests", "predictions")
    return {
        (name, study): count
        for name in names
        for study, count in connection.execute(f"select study, count(*) from {name} group by study")
    }


def test_a_database_holds_several_studies_and_each_once(
    content: Content, folder: StudyFolder, tables: Tables, database: tuple[str, sqlite3.Connection]
) -> None:
    url, connection = database
    for name in ("flowers", "other", "flowers"):
        write_sql(url, exchange_tables(name, folder.read_study(), tables))
    expected = {(name, study): table.num_rows for name, table in content.items() for study in ("flowers", "other")}
    assert counts(connection) == expected
    query = "select backbone, avg(test_accuracy) from tests where study = 'other' group by backbone"
    by_hand: dict[str, list[float]] = {}
    for row in tables.confirmed.to_pylist():
        by_hand.setdefault(row["backbone"], []).append(row["test_accuracy"])
    means = {backbone: pytest.approx(sum(each) / len(each)) for backbone, each in by_hand.items()}
    assert dict(connection.execute(query).fetchall()) == means
    ((begun,),) = connection.execute("select min(started_at) from epochs where study = 'flowers'").fetchall()
    assert begun == min(tables.epochs["started_at"].to_pylist()).strftime("%Y-%m-%d %H:%M:%S.%f")


def test_another_study_of_the_same_name_is_not_overwritten(
    content: Content, database: tuple[str, sqlite3.Connection]
) -> None:
    """Two folders may be called alike; a study that has grown is still the one that was sent."""
    url, connection = database
    grown = {**content, "trainings": content["trainings"].slice(2)}
    write_sql(url, grown)
    write_sql(url, content)
    before = counts(connection)
    ids = pa.array([f"other{index}" for index in range(content["trainings"].num_rows)])
    place = content["trainings"].schema.get_field_index("trial_id")
    other = {**content, "trainings": content["trainings"].set_column(place, "trial_id", ids)}
    said = rf"holds another study that is called 'flowers', with {len(ids)} trials that this one has not, such as \w+; "
    with pytest.raises(StorageError, match=said + "nothing was changed there: rename this study's folder"):
        write_sql(url, other)
    assert counts(connection) == before


def test_a_database_that_refuses_in_the_middle_is_as_it_was(
    content: Content, database: tuple[str, sqlite3.Connection]
) -> None:
    url, connection = database
    write_sql(url, content)
    before = counts(connection)
    connection.execute("create trigger full before insert on predictions begin select raise(abort, 'disk full'); end")
    connection.commit()
    with pytest.raises(StorageError, match="disk full; nothing was changed there"):
        write_sql(url, content)
    assert counts(connection) == before


def test_a_table_of_another_program_is_refused_and_kept(
    content: Content, database: tuple[str, sqlite3.Connection]
) -> None:
    url, connection = database
    connection.execute("create table epochs (study text, year integer)")
    connection.commit()
    with pytest.raises(StorageError, match="table epochs of the database has no column backbone, ended_at"):
        write_sql(url, content)
    assert connection.execute("select name from sqlite_master where type = 'table'").fetchall() == [("epochs",)]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "not the address of a database; write sqlite:///FILE"),
        ("strange://host/x", "dialects:strange; write sqlite:///FILE"),
        ("postgresql+pg8000://me:canary-secret@host/x", "install its driver"),
    ],
)
def test_an_address_that_is_not_understood_is_refused_without_its_secret(content: Content, url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        write_sql(url, content)
    assert "canary-secret" not in str(caught.value)


def test_a_folder_or_file_that_cannot_be_written_is_named(content: Content, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/csv: cannot be written"):
        write_csv(tmp_path / "file" / "csv", content)
    with pytest.raises(StorageError, match="unable to open database file"):
        write_sql(f"sqlite:///{tmp_path}/nowhere/x.db", content)


def test_the_command_says_what_it_wrote(
    folder: StudyFolder, tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["results", str(folder.root), "--csv", str(tmp_path / "csv"), "--sql", f"sqlite:///{tmp_path}/x.db"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path}/csv/epochs.csv: {tables.epochs.num_rows} rows" in said
    assert f"x.db: rows of this study are now models 3, trainings {tables.trials.num_rows}, " in said
    assert main(["results", str(folder.root)]) == 2
    assert "Give --csv FOLDER, --sql URL or --mlflow URI" in capsys.readouterr().err
