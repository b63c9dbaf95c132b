"""Runs sent to an MLflow tracking store: a SQL database by its address, or an HTTP server.

What is there already is not sent again: a run bears the key and the digest of its sheet, the digest last of all, so
that a run that was sent by half is known and completed.
"""

from __future__ import annotations

import importlib.util
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from raytl.errors import ConfigError, StorageError
from raytl.extras import install_hint
from raytl.noise import setting, shown
from raytl.redaction import redacted
from raytl.results.run_sheets import FINAL, RUNNING, STUDY, RunSheet

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY, DIGEST, PARENT = "raytl.key", "raytl.digest", "mlflow.parentRunId"
MOST_FIGURES, MOST_TEXTS = 800, 90  # chosen: MLflow takes 1,000 figures, 100 texts, and 1,000 of both in a batch
MOST_CHARACTERS = 5000  # of a tag; what every version of MLflow takes
PAGE = 1000
THREADS = 8  # chosen: a server answers several at once; a SQLite file is written by one
# Nothing is told to MLflow's makers; nothing but the result is printed.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",
}
RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}  # chosen: 15 s until it is said that no server answers, not 4 min
ADDRESSES = "write sqlite:///FILE, postgresql+psycopg://HOST/NAME or http://HOST:PORT"


@dataclass(frozen=True)
class Sent:
    """How many runs came new, were brought up to date, and were there already."""

    new: int
    changed: int
    same: int


def check_mlflow() -> None:
    """Whether MLflow is installed.

    Raises:
        ConfigError: naming the command that installs it.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise ConfigError(f"--mlflow needs mlflow-skinny, which is not installed; {install_hint('mlflow')}")


def send_runs(uri: str, experiment: str, sheets: Sequence[RunSheet]) -> Sent:
    """Makes the store's experiment of that name hold these runs, each once.

    Raises:
        ConfigError: MLflow is not installed, or an address that it does not understand.
        StorageError: the store cannot be reached, refuses, or holds another study of that name.
    """
    check_mlflow()
    with setting(ENVIRONMENT | {name: text for name, text in RETRIES.items() if name not in os.environ}):
        from mlflow import MlflowClient

        with shown(False), _said_plainly(uri):
            client = MlflowClient(tracking_uri=uri)
            return _send(client, _experiment(client, uri, experiment), sheets, 1 if _is_file(uri) else THREADS)


def _send(client: MlflowClient, experiment_id: str, sheets: Sequence[RunSheet], threads: int) -> Sent:
    known = {run.data.tags[KEY]: run for run in _runs(client, experiment_id) if KEY in run.data.tags}
    names = {key: run.info.run_id for key, run in known.items()}
    _check_own(known, sheets)

    def send(sheet: RunSheet) -> str:
        run, digest = known.get(sheet.key), sheet.digest
        if run is not None and run.data.tags.get(DIGEST) == digest:
            return "same"
        tags = {KEY: sheet.key} | ({PARENT: names[sheet.parent]} if sheet.parent else {})
        filled = run or client.create_run(experiment_id, _milliseconds(sheet.begin), tags, sheet.name)
        names[sheet.key] = filled.info.run_id
        _fill(client, filled, sheet, tags | {DIGEST: digest})
        return "changed" if run else "new"

    outcomes: Counter[str] = Counter()
    with ThreadPoolExecutor(threads) as pool:
        for has_parent in (False, True):
            outcomes.update(pool.map(send, [each for each in sheets if bool(each.parent) == has_parent]))
    return Sent(outcomes["new"], outcomes["changed"], outcomes["same"])


def _check_own(known: Mapping[str, Run], sheets: Sequence[RunSheet]) -> None:
    """Refuses runs of another study: one keeps all its trials, so each there has a sheet; final models may change."""
    kept = {sheet.key for sheet in sheets}
    foreign = sorted(key for key in known if key not in kept and key != STUDY and not key.startswith(f"{FINAL} "))
    if foreign:
        name = next((sheet.name for sheet in sheets if sheet.key == STUDY), "this study")
        raise StorageError(
            f"mlflow: the store's experiment {name!r} holds another study of this name, with {len(foreign):,} trials "
            f"that this one has not, such as {foreign[0]}; nothing was changed there: rename this study's folder, give "
            "another store, or delete that experiment for good if nobody needs it"
        )


def _fill(client: MlflowClient, run: Run, sheet: RunSheet, tags: Mapping[str, str]) -> None:
    """All that a sheet says and the run lacks; of a batch MLflow writes tags last."""
    from mlflow.entities import Metric, Param, RunTag

    name = run.info.run_id
    for path in sheet.files:
        client.log_artifact(name, str(path))
    if sheet.status == RUNNING:
        client.update_run(name, status=RUNNING)
    else:
        client.set_terminated(name, sheet.status, _milliseconds(sheet.end))
    there = _figures_there(client, run)
    figures = [
        Metric(each.name, each.value, _milliseconds(each.at), each.step)
        for each in sheet.figures
        if (each.name, each.step, repr(each.value)) not in there
    ]
    params = [Param(key, text) for key, text in sheet.params.items() if key not in run.data.params]
    texts = [RunTag(key, text[:MOST_CHARACTERS]) for key, text in {**sheet.tags, **tags}.items()]
    assert max(len(texts), len(params)) <= MOST_TEXTS, "a recipe's fields and a sheet's tags fit one batch"
    batches = [figures[first : first + MOST_FIGURES] for first in range(0, len(figures), MOST_FIGURES)] or [[]]
    for batch in batches[:-1]:
        client.log_batch(name, metrics=batch)
    client.log_batch(name, metrics=batches[-1], params=params, tags=texts)


def _figures_there(client: MlflowClient, run: Run) -> set[tuple[str, int, str]]:
    """What an earlier sending brought; a run that was just made has nothing."""
    return {
        (name, each.step, repr(each.value))
        for name in run.data.metrics
        for each in client.get_metric_history(run.info.run_id, name)
    }


def _runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        return str(client.create_experiment(name, _files_folder(uri, name)))
    if found.lifecycle_stage != "active":
        raise StorageError(
            f"mlflow {redacted(uri)!r}: experiment {name!r} was deleted there; restore it, or delete it for good with "
            "`mlflow gc`"
        )
    return str(found.experiment_id)


def _files_folder(uri: str, name: str) -> str | None:
    """Where files go: beside a SQLite file, not where the command happens to be typed; else as the store says."""
    if not _is_file(uri):
        return None
    database = make_url(uri).database
    return (Path(database).absolute().parent / "mlruns" / name).as_uri() if database else None


def _is_file(uri: str) -> bool:
    return uri.startswith("sqlite:")


def _milliseconds(at: datetime | None) -> int:
    """Since 1970, as MLflow counts; 0 where it is not known."""
    return 0 if at is None else math.floor(at.timestamp() * 1000)


@contextmanager
def _said_plainly(uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"mlflow {redacted(uri)!r}: {error}; install it, or {ADDRESSES}") from error
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise _problem(uri, error) from error


def _problem(uri: str, error: Exception) -> ConfigError | StorageError:
    said = redacted((str(error).splitlines() or [type(error).__name__])[0])
    if type(error).__name__.startswith("Unsupported") or "maintenance mode" in said:  # the latter of folders
        return ConfigError(f"mlflow {redacted(uri)!r}: {said}; {ADDRESSES}")
    return StorageError(
        f"mlflow {redacted(uri)!r}: {said}; what was sent is kept there: mend it and type the command again, which "
        "sends nothing twice"
    )
