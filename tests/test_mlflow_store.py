"""Runs in an MLflow store: MLflow's own client reads back what the tables say, and each run is there once."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest

from raytl.cli import main
from raytl.errors import ConfigError, StorageError
from raytl.recipe import FIELD_NAMES
from raytl.results import mlflow_store
from raytl.results.folder import StudyFolder
from raytl.results.mlflow_store import DIGEST, ENVIRONMENT, Sent, send_runs
from raytl.results.run_sheets import EPOCH_FIGURES, RunSheet, run_sheets
from raytl.results.tables import load_tables
from tests.studies import Plan, write_study

PLAN = Plan(backbones=("tiny_vit",), trials=2, epochs=2, seeds=2, roles=("best",), test_pictures=12, train_pictures=24)


def test_without_mlflow_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"mlflow-skinny, which is not installed; type pip install '.\[mlflow\]'"):
        send_runs("sqlite:///x.db", "a", [])


@pytest.fixture(scope="module")
def installed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, text in ENVIRONMENT.items():
            patch.setenv(name, text)
        pytest.importorskip("mlflow", reason="MLflow is not installed: pip install '.[mlflow]'")
        yield


@pytest.fixture(scope="module")
def store(installed: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all tests, each with experiments of its own: MLflow takes seconds to make one."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/runs.db"


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> StudyFolder:
    made = write_study(tmp_path / request.node.name, PLAN)
    made.report.write_text("<p>report</p>")
    card = made.models / "tiny_vit" / "README.md"
    card.parent.mkdir(parents=True)
    card.write_text("# card")
    return made


def runs(store: str, experiment: str) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert len({run.data.tags["raytl.key"] for run in found}) == len(found), "each once"
    return {run.data.tags["raytl.key"]: run for run in found}


def history(store: str, experiment: str) -> list[tuple[str, int, str, float]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    return sorted(
        (key, each.step, name, each.value)
        for key, run in runs(store, experiment).items()
        if run.data.tags["stage"] not in ("study", "final")
        for name in run.data.metrics
        if name in EPOCH_FIGURES
        for each in client.get_metric_history(run.info.run_id, name)
    )


def artifacts(store: str, run: Any) -> list[str]:
    from mlflow import MlflowClient

    return [each.path for each in MlflowClient(tracking_uri=store).list_artifacts(run.info.run_id)]


@pytest.mark.slow
def test_the_command_sends_a_study_once_and_mlflow_gives_it_back(
    store: str, folder: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    name, tables = folder.root.name, load_tables(folder)
    trials, epochs = tables.trials, tables.epochs  # DuckDB finds them by name
    total = len(trials) + 2  # the study and one final model
    assert main(["results", str(folder.root), "--mlflow", store]) == 0
    assert capsys.readouterr() == (
        f"{store}: experiment {name}: {total} runs new, 0 brought up to date, 0 as they were\n", "",
    )  # fmt: skip
    found, columns = runs(store, name), ", ".join(EPOCH_FIGURES)
    assert len(epochs)
    told = duckdb.execute(f"unpivot (select trial_id, epoch, {columns} from epochs) on {columns}").fetchall()
    assert history(store, name) == sorted(told)
    for trial_id, lr, status in duckdb.execute("select trial_id, recipe_lr, status from trials").fetchall():
        run = found[trial_id]
        assert float(run.data.params["lr"]) == lr and run.data.tags["status"] == status
        assert set(run.data.params) == set(FIELD_NAMES)
        assert run.info.status == ("FAILED" if status == "diverged" else "FINISHED")
    (final,) = [run for run in found.values() if run.data.tags["stage"] == "final"]
    values = final.data.metrics
    assert values["test_accuracy_low"] <= values["test_accuracy"] <= values["test_accuracy_high"]
    assert artifacts(store, final) == ["README.md"] and artifacts(store, found["study"]) == ["report.html"]
    children = [run for run in found.values() if run.data.tags.get("mlflow.parentRunId") == final.info.run_id]
    assert len(children) == PLAN.seeds
    assert main(["results", str(folder.root), "--mlflow", store]) == 0
    assert f"0 runs new, 0 brought up to date, {total} as they were" in capsys.readouterr().out
    assert len(runs(store, name)) == total and history(store, name) == sorted(told)


@pytest.mark.slow
def test_new_trials_are_added_and_what_was_sent_by_half_is_completed(store: str, folder: StudyFolder) -> None:
    """A run without a digest stands for one whose sending was interrupted; another trial had not been begun."""
    from mlflow import MlflowClient

    sheets = run_sheets(folder, load_tables(folder))
    last, half = (
        sheets[-1],
        next(sheet for sheet in sheets if sheet.key not in ("study", sheets[-1].key) and sheet.figures),
    )
    begun = replace(half, status="RUNNING", figures=half.figures[:3])
    assert send_runs(store, "grown", [*sheets[:1], begun]) == Sent(2, 0, 0)
    client = MlflowClient(tracking_uri=store)
    client.delete_tag(runs(store, "grown")[half.key].info.run_id, DIGEST)
    assert send_runs(store, "grown", sheets) == Sent(len(sheets) - 2, 1, 1)
    run = runs(store, "grown")[half.key]
    sent = [
        (name, each.step, each.value)
        for name in run.data.metrics
        for each in client.get_metric_history(run.info.run_id, name)
    ]
    assert sorted(sent) == sorted((each.name, each.step, each.value) for each in half.figures)
    assert run.info.status == half.status and last.key in runs(store, "grown")


@pytest.mark.slow
def test_another_study_of_the_same_name_gets_no_runs_into_its_experiment(store: str, folder: StudyFolder) -> None:
    first, *rest = run_sheets(folder, load_tables(folder))
    last, name = rest[-1], folder.root.name
    send_runs(store, "alike", [first, replace(rest[0], key="final of before"), replace(last, parent=None)])
    before = {key: run.data.tags for key, run in runs(store, "alike").items()}
    said = rf"experiment '{name}' holds another study of this name, with 1 trials .*{last.key}; nothing was changed"
    with pytest.raises(StorageError, match=said):
        send_runs(store, "alike", [replace(first, tags={}), *rest[:-1]])
    assert {key: run.data.tags for key, run in runs(store, "alike").items()} == before


@pytest.mark.slow
def test_many_epochs_go_in_several_batches(store: str, folder: StudyFolder) -> None:
    sheet = next(each for each in run_sheets(folder, load_tables(folder)) if each.figures)
    figures = tuple(replace(sheet.figures[0], step=step, value=step / 7) for step in range(1900))
    send_runs(store, "long", [replace(sheet, figures=figures, parent=None)])
    from mlflow import MlflowClient

    (run,) = runs(store, "long").values()
    found = MlflowClient(tracking_uri=store).get_metric_history(run.info.run_id, figures[0].name)
    assert sorted((each.step, each.value) for each in found) == [(each.step, each.value) for each in figures]


class Refusing(BaseHTTPRequestHandler):
    """A server that lets nobody in."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_store_that_refuses_is_named_without_its_secret(installed: None) -> None:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(StorageError, match="sends nothing twice") as caught:
            send_runs(f"http://me:canary-secret@127.0.0.1:{server.server_port}", "a", [])
    finally:
        server.shutdown()
        server.server_close()
    assert "canary-secret" not in str(caught.value) and "403" in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "said"),
    [("nonsense://a", "sqlite:///FILE"), ("file:///a", "sqlite:///FILE"), ("postgresql+pg8000://a/b", "pg8000")],
)
def test_an_address_that_is_not_understood_is_refused(uri: str, said: str, installed: None) -> None:
    with pytest.raises(ConfigError, match=said):
        send_runs(uri, "a", [])


def test_nothing_is_told_to_anybody_else_and_the_environment_is_as_before(
    installed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    seen: list[object] = []

    def send(*_: object) -> Sent:
        from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY

        seen.append((os.environ["DO_NOT_TRACK"], MLFLOW_DISABLE_TELEMETRY.get()))
        return Sent(0, 0, 0)

    sheets: list[RunSheet] = []
    monkeypatch.setattr(mlflow_store, "_send", send)
    monkeypatch.setattr(mlflow_store, "_experiment", lambda *_: "1")
    send_runs("http://127.0.0.1:9", "a", sheets)
    assert seen == [("true", True)] and not ENVIRONMENT.keys() & os.environ.keys()
