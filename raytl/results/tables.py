"""A study's tables: read from the ledger, compacted to Parquet, and asked the questions a report asks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raytl.errors import StorageError
from raytl.metric import Metric
from raytl.money import price_problems
from raytl.recipe import Recipe
from raytl.results.folder import StudyFolder, write_atomically
from raytl.results.ledger import LedgerView, read_ledger
from raytl.results.schemas import (
    PROBE,
    SEARCH,
    TABLES,
    ConfirmedRow,
    EpochRow,
    PictureRow,
    PredictionRow,
    TrialRow,
    conform,
)
from raytl.results.usage import with_costs, with_costs_of

RANKED_STAGES = (PROBE, SEARCH)  # a confirmation trains a ranked recipe again: it does not compete with it
RANKED_STATUSES = ("completed", "stopped")


def is_ranked(row: TrialRow, metric: Metric) -> bool:
    """Whether the trial ended well, with a finite figure: one that was stopped before its first epoch has none."""
    return row.status in RANKED_STATUSES and metric.measured(row)


@dataclass(frozen=True)
class Tables:
    """The five tables of a study, each fact once: see `settle` for which of several rows counts.

    `problems` has a sentence for each ledger file that could not be read.
    """

    trials: pa.Table
    epochs: pa.Table
    confirmed: pa.Table
    predictions: pa.Table
    data: pa.Table
    problems: tuple[str, ...] = ()


def load_tables(folder: StudyFolder) -> Tables:
    """The tables of a study, from its ledger, or from `tables/` where only these were kept.

    Raises:
        StorageError: neither can be read.
    """
    prices = _prices(folder)
    if folder.ledger.is_dir():
        return priced(settle(read_ledger(folder.ledger)), prices)
    try:
        kept = {name: conform(name, pq.read_table(folder.tables / f"{name}.parquet")) for name in TABLES}
        return priced(Tables(**kept), prices)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{folder.root}: neither a ledger nor tables can be read ({error})") from error


def compact(folder: StudyFolder) -> None:
    """Writes `tables/*.parquet` from the ledger, all five even when empty.

    Raises:
        StorageError: the ledger cannot be read or the tables not written.
    """
    tables = priced(settle(read_ledger(folder.ledger)), _prices(folder))
    try:
        folder.tables.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder.tables}: cannot be made ({error})") from error
    for name in TABLES:
        sink = pa.BufferOutputStream()
        pq.write_table(getattr(tables, name), sink, compression="zstd")
        write_atomically(folder.tables / f"{name}.parquet", sink.getvalue().to_pybytes(), f"table of {name}")


def priced(tables: Tables, prices: Mapping[str, float]) -> Tables:
    """The tables with what each trial cost at `prices` (by type of machine, for an hour of it); nulls without."""
    trials = with_costs(tables.trials, prices)
    return replace(tables, trials=trials, confirmed=with_costs_of(tables.confirmed, trials))


def settle(view: LedgerView) -> Tables:
    """Decides between rows about the same thing, which resuming may bring.

    A trial's, a final model's and a picture's last row counts (what is known grew: how it ended, where it was
    saved); an epoch's and a prediction's first one counts (what was measured stands, the test set is read once).
    Pictures are those of the last commit: each has all that its scan found, and what it lacks is no longer used.
    """
    return Tables(
        trials=latest_trials(view.tables["trials"]),
        epochs=first_epochs(view.tables["epochs"]),
        confirmed=_last(view.tables["confirmed"], "trial_id"),
        predictions=_first(view.tables["predictions"], "trial_id", "path"),
        data=_last(_newest(view.tables["data"]), "path"),
        problems=view.problems,
    )


def latest_trials(table: pa.Table) -> pa.Table:
    """The last row of each trial, in the order in which the trials first appeared."""
    return _last(table, "trial_id")


def first_epochs(table: pa.Table) -> pa.Table:
    """The first row of each (trial, epoch), in commit order."""
    return _first(table, "trial_id", "epoch")


def leaderboard(tables: Tables, metric: Metric) -> pa.Table:
    """Trials that ended with a finite metric, best first; ties: lower validation loss, then the earlier start.

    Final models are left out, and so are running, diverged and failed trials.
    """
    columns = (tables.trials[name].to_pylist() for name in ("stage", "status", metric.name))
    wanted = [
        stage in RANKED_STAGES and status in RANKED_STATUSES and value is not None and math.isfinite(value)
        for stage, status, value in zip(*columns, strict=True)
    ]
    ranked = tables.trials.take(_arrow(np.flatnonzero(wanted)))
    order = "descending" if metric.maximize else "ascending"
    return ranked.sort_by(
        [(metric.name, order), ("val_loss", "ascending"), ("started_at", "ascending"), ("trial_id", "ascending")]
    )


def best_trial_per_backbone(tables: Tables, metric: Metric) -> pa.Table:
    """The first row of each backbone in the leaderboard, best backbone first."""
    return _first(leaderboard(tables, metric), "backbone")


def learning_curve(tables: Tables, trial_id: str) -> pa.Table:
    """The epochs of one trial in order; empty where none is known."""
    names = tables.epochs["trial_id"].combine_chunks().dictionary_encode()
    number = {name: at for at, name in enumerate(names.dictionary.to_pylist())}.get(trial_id, -1)
    return tables.epochs.take(_arrow(np.flatnonzero(np.from_dlpack(names.indices) == number))).sort_by("epoch")


def trial_rows(trials: pa.Table) -> list[TrialRow]:
    """The rows of `trials` as they were before they became Arrow.

    Raises:
        ConfigError: a row holds no recipe that can be run.
    """
    return [TrialRow(**_known(TrialRow, row), recipe=recipe_of(row)) for row in trials.to_pylist()]


def epoch_rows(epochs: pa.Table) -> list[EpochRow]:
    """The rows of `epochs` as they were before they became Arrow."""
    return [EpochRow(**_known(EpochRow, row)) for row in epochs.to_pylist()]


def confirmed_rows(confirmed: pa.Table) -> list[ConfirmedRow]:
    """The rows of `confirmed` as they were before they became Arrow."""
    return [ConfirmedRow(**_known(ConfirmedRow, row)) for row in confirmed.to_pylist()]


def prediction_rows(predictions: pa.Table) -> list[PredictionRow]:
    """The rows of `predictions` as they were before they became Arrow."""
    return [PredictionRow(**_known(PredictionRow, row)) for row in predictions.to_pylist()]


def picture_rows(data: pa.Table) -> list[PictureRow]:
    """The rows of `data` as they were before they became Arrow."""
    return [PictureRow(**_known(PictureRow, {**row, "label": row["class"]})) for row in data.to_pylist()]


def recipe_of(row: Mapping[str, Any]) -> Recipe:
    """The recipe in one row of `trials` (as from `to_pylist`).

    Raises:
        ConfigError: the row holds no recipe that can be run.
    """
    recipe = {name.removeprefix("recipe_"): value for name, value in row.items() if name.startswith("recipe_")}
    return Recipe(**_known(Recipe, recipe))


def _prices(folder: StudyFolder) -> Mapping[str, float]:
    """The prices that `study.json` holds: those that were given last."""
    prices = folder.read_spec().get("prices") if folder.study_json.exists() else None
    return prices if isinstance(prices, dict) and not price_problems(prices) else {}


def _known(kind: type, row: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `row` for a dataclass; columns younger than the row are null and take their defaults."""
    return {
        item.name: row[item.name]
        for item in fields(kind)
        if item.name in row and (row[item.name] is not None or str(item.type).endswith("| None"))
    }


def _newest(table: pa.Table) -> pa.Table:
    return table.filter(pc.equal(table["commit_number"], pc.max(table["commit_number"])))


def _first(table: pa.Table, *keys: str) -> pa.Table:
    codes = _identities(table, keys)
    if _distinct(codes) == len(codes):
        return table  # a copy of a large study's epochs would take longer than to read them
    first = np.zeros(_distinct(codes), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of equal codes NumPy keeps what is assigned last
    return table.take(_arrow(first))


def _last(table: pa.Table, key: str) -> pa.Table:
    codes = _identities(table, (key,))
    last = np.zeros(_distinct(codes), dtype=np.int64)
    last[codes] = np.arange(len(codes))
    return table.take(_arrow(last))


def _distinct(codes: np.ndarray) -> int:
    return int(codes.max(initial=-1)) + 1


def _identities(table: pa.Table, keys: tuple[str, ...]) -> np.ndarray:
    """One integer per row, equal where all `keys` are equal, counted from 0 in the order of first appearance."""

    def paired(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return _codes(_arrow(left * (right.max(initial=0) + 1) + right))

    return reduce(paired, [_codes(table[key].combine_chunks()) for key in keys])


def _codes(column: pa.Array) -> np.ndarray:
    return np.from_dlpack(column.dictionary_encode(null_encoding="encode").indices).astype(np.int64)


def _arrow(numbers: np.ndarray) -> pa.Array:
    """The int64 numbers, as they lie. `pa.array` would import pandas, which takes as long as to read a large study."""
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, pa.py_buffer(numbers)])
