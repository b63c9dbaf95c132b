"""The columns of a study's tables, each table one dataclass; Arrow schemas are derived from them.

Accuracies are fractions between 0 and 1; times are UTC; a value that does not exist is null, never 0.
Other tools read these columns by name: columns may be added, never renamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from functools import cache

import pyarrow as pa

from raytl.recipe import FIELD_TYPES, Recipe

SCHEMA_VERSION = 1
ENSEMBLE = "ensemble"  # the role, and the name in the place of a backbone's, of a mean of several final models
# The stages of trials, in a study's order; those of the last learn from a final model or an ensemble.
PROBE, SEARCH, CONFIRM, DISTILL = "probe", "search", "confirm", "distill"
DISTILLED = "distilled"  # the origin of these, and their role among final models
SPLITS = ("train", "val", "test")
SCORELESS = ("failed", "diverged")  # statuses, each with a reason: epochs are kept, but rank nowhere
AFTERWARDS = (ENSEMBLE, DISTILLED)  # roles of what is made of a study's final models when they have been tested


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial; a later row of the same `trial_id` replaces an earlier one (running, then how it ended).

    `status` is running, completed, stopped (by the scheduler or a used-up time), diverged or failed; the three `val_`
    values are those of `best_epoch`. The `cv_` values are those of a cross-validation inside the training set, which
    the best heads get where the validation set is small, over `cv_count` pictures. `frozen_fraction` is the share of
    one picture's forward operations that are frozen; `stored_bytes` is what the trial read of what these had made of
    pictures. `worker_seconds` is for how long workers were held for it, times their number, all attempts together
    (heads that trained together share theirs alike); of a trial under way, in the attempts before the one that began at
    `resumed_at`. Each worker held the share `node_share` of a machine of the type `node_type`. `cost` follows from
    these and the prices given last: tables have it, the ledger does not. `taken_over` names the trial of the search
    that was the same work, and whose epochs and checkpoint became this final model's.
    """

    study: str
    trial_id: str
    recipe_hash: str
    tune_trial_id: str | None
    stage: str
    backbone: str
    status: str
    reason: str | None = None
    started_at: datetime
    ended_at: datetime | None = None
    seconds: float | None = None
    epochs_run: int = 0
    attempts: int = 1
    best_epoch: int | None = None
    val_accuracy: float | None = None
    val_macro_f1: float | None = None
    val_loss: float | None = None
    cv_accuracy: float | None = None
    cv_macro_f1: float | None = None
    cv_loss: float | None = None
    cv_count: int | None = None
    freeze_depth: int
    frozen_fraction: float | None = None
    trainable_parameters: int | None = None
    parameters: int | None = None
    images_per_second: float | None = None
    peak_memory_bytes: int | None = None
    stored_bytes: int | None = None
    worker_count: int = 1
    node: str | None = None
    split: int = 0
    origin: str = "searcher"
    precision_used: str | None = None
    resumed_at: datetime | None = None
    worker_seconds: float | None = None
    node_type: str | None = None
    node_share: float | None = None
    cost: float | None = None
    taken_over: str | None = None
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One epoch of one trial; epochs count from 1. `train_accuracy` is null where labels were mixed."""

    trial_id: str
    epoch: int
    attempt: int = 1
    started_at: datetime
    ended_at: datetime
    train_loss: float
    train_accuracy: float | None
    val_loss: float
    val_accuracy: float
    val_macro_f1: float
    lr: float
    images_per_second: float
    is_best: bool
    checkpoint: str | None = None


@dataclass(frozen=True, kw_only=True)
class ConfirmedRow:
    """One final model: a recipe trained again under one seed, and its only reading of the test set.

    `role` says why it was trained: `best` (of the backbone), `head` (the best head alone, where more than a head is
    best) or `probe` (linear, all stages frozen); in a study with a design, the cell's levels. Under the role `ensemble`
    stands a mean of final models: `members` is JSON, from their trial ids to their weights, its figures are of their
    recorded probabilities, its seconds sums over them, and its depth is 0. Under the role `distilled`
    stands a student, and `members` names its one teacher, a final model or an ensemble. `cost` is that of its trial.
    """

    trial_id: str
    recipe_hash: str
    backbone: str
    role: str
    seed: int
    split: int
    freeze_depth: int
    val_accuracy: float
    val_macro_f1: float
    val_loss: float
    test_accuracy: float
    test_macro_f1: float
    test_loss: float
    test_auc: float | None
    test_count: int
    correct: int
    train_seconds: float
    predict_images_per_second: float
    model_path: str | None = None
    members: str | None = None
    cost: float | None = None


@dataclass(frozen=True, kw_only=True)
class PredictionRow:
    """One test picture seen by one final model; `label` and `predicted` are class names."""

    trial_id: str
    seed: int
    path: str
    label: str
    predicted: str
    probabilities: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class PictureRow:
    """One picture file. `status` is ok, bad (left out, `reason` says why) or suspect (kept unless told otherwise).

    `brightness`, `contrast` and `sharpness` are those of `raytl.data.looks.Look`.
    """

    path: str
    label: str = field(metadata={"column": "class"})
    split: str | None
    width: int | None
    height: int | None
    sha256: str | None
    status: str
    reason: str | None = None
    group: str | None = None
    brightness: float | None = None
    contrast: float | None = None
    sharpness: float | None = None


Row = TrialRow | EpochRow | ConfirmedRow | PredictionRow | PictureRow
TABLES: dict[str, type[Row]] = {
    "trials": TrialRow,
    "epochs": EpochRow,
    "confirmed": ConfirmedRow,
    "predictions": PredictionRow,
    "data": PictureRow,
}

_ARROW = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "datetime": pa.timestamp("us", tz="UTC"),
    "Sequence[float]": pa.list_(
        pa.field("element", pa.float32())
    ),  # the name of items in Parquet, so that both files agree
}


@cache
def schema(table: str) -> pa.Schema:
    """The Arrow schema of a table by name, with the schema version in its metadata.

    Every table has `commit_number`: the ledger commit that brought the row.
    """
    columns = [
        column for item in fields(TABLES[table]) for column in _columns(item.name, str(item.type), item.metadata)
    ]
    columns.append(pa.field("commit_number", pa.int64()))
    return pa.schema(columns, metadata={"raytl_schema_version": str(SCHEMA_VERSION), "raytl_table": table})


def to_table(table: str, rows: Iterable[Row], commit_number: int) -> pa.Table:
    """Rows of one kind as an Arrow table under the table's schema.

    Raises:
        ValueError: a value that must exist is null, or a time has no time zone.
    """
    values = [{**_flat(row), "commit_number": commit_number} for row in rows]
    content = pa.Table.from_pylist(values, schema=schema(table))
    nulls = [name for name, column in zip(content.column_names, content.columns, strict=True) if column.null_count]
    problems = [
        f"{table}.{name}: null, but must have a value" for name in nulls if not content.schema.field(name).nullable
    ]
    problems += [f"{table}.{name}: {value} has no time zone; give UTC" for name, value in _naive_times(values)]
    if problems:
        raise ValueError("\n".join(problems))
    return content


def empty_table(table: str) -> pa.Table:
    """No rows, in one chunk. Arrow's own would import pandas, which takes as long as to read a large study."""
    return pa.table([pa.nulls(0, item.type) for item in schema(table)], schema=schema(table))


def conform(table: str, rows: pa.Table) -> pa.Table:
    """Rows written by another version under today's columns: those added since are null, those unknown left out."""
    wanted = schema(table)
    if rows.schema.equals(wanted, check_metadata=True):
        return rows
    columns = [
        rows[item.name].cast(item.type) if item.name in rows.column_names else pa.nulls(len(rows), item.type)
        for item in wanted
    ]
    return pa.table(columns, schema=wanted)


def _naive_times(values: list[dict[str, object]]) -> list[tuple[str, datetime]]:
    """Times that Arrow would take for UTC without asking."""
    items = (item for row in values for item in row.items())
    return [(name, value) for name, value in items if isinstance(value, datetime) and value.tzinfo is None]


def _columns(name: str, kind: str, metadata: Mapping[str, str]) -> list[pa.Field]:
    if kind == "Recipe":
        return [_column(f"recipe_{name}", kind) for name, kind in FIELD_TYPES.items()]
    return [_column(metadata.get("column", name), kind)]


def _column(name: str, kind: str) -> pa.Field:
    return pa.field(name, _ARROW[kind.removesuffix(" | None")], nullable=kind.endswith("| None"))


def _flat(row: Row) -> dict[str, object]:
    values = asdict(row)
    recipe = values.pop("recipe", {})
    values |= {f"recipe_{name}": value for name, value in recipe.items()}
    renames = {item.name: item.metadata["column"] for item in fields(row) if "column" in item.metadata}
    return {renames.get(name, name): value for name, value in values.items()}
