"""A study for other tools: five flat tables as CSV files, or in a SQL database.

`models`, `trainings`, `epochs`, `tests` and `predictions`; every row names its study (its folder), so that
several share a database. Times are UTC; probabilities are JSON text, from class to number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import sqlalchemy as sql
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from raytl.errors import ConfigError, StorageError
from raytl.redaction import redacted
from raytl.results.folder import write_atomically
from raytl.results.tables import Tables

NAME_LENGTH = 190  # chosen: MySQL indexes texts of at most so many characters of four bytes
CHUNK_ROWS = 5000  # chosen: at most some megabytes in flight
DRIVERS = "install its driver, such as psycopg for postgresql+psycopg:// or pymysql for mysql+pymysql://"
ADDRESSES = "write sqlite:///FILE, postgresql+psycopg://HOST/NAME or mysql+pymysql://HOST/NAME"

EPOCH_COLUMNS = (
    "trial_id", "backbone", "stage", "epoch", "started_at", "ended_at", "train_loss", "train_accuracy", "val_loss",
    "val_accuracy", "val_macro_f1", "lr", "images_per_second", "is_best",
)  # fmt: skip

Content = Mapping[str, pa.Table]


def exchange_tables(name: str, study: Mapping[str, Any], tables: Tables) -> Content:
    """The five tables; `name` is what their rows call the study, `study` the content of its `study.json`."""
    owners = tables.trials.select(["trial_id", "backbone", "stage"])
    epochs = tables.epochs.join(owners, "trial_id").sort_by([("trial_id", "ascending"), ("epoch", "ascending")])
    content = {
        "models": _models(study, tables),
        "trainings": tables.trials.drop_columns(["study", "commit_number"]),
        "epochs": epochs.select(list(EPOCH_COLUMNS)),
        "tests": tables.confirmed.drop_columns(["commit_number"]),
        "predictions": _predictions(study["classes"], tables),
    }
    return {each: _with_study(table, name) for each, table in content.items()}


def write_csv(folder: Path, content: Content) -> list[Path]:
    """Writes `<table>.csv` for each table and returns the files.

    Raises:
        StorageError: where a file cannot be written.
    """
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in content.items():
            buffer = BytesIO()
            pyarrow.csv.write_csv(table, buffer)
            paths.append(folder / f"{name}.csv")
            write_atomically(paths[-1], buffer.getvalue(), f"csv of {name}")
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written ({error.strerror}); free it, or give another folder"
        ) from error
    return paths


def write_sql(url: str, content: Content) -> None:
    """Puts the tables into a database, in one transaction; rows that the same study left there are replaced.

    Raises:
        ConfigError: an address that is not understood, or whose driver is not installed.
        StorageError: where the database refuses, or holds another study of the same name.
    """
    with _said_plainly(url):
        engine = sql.create_engine(url)
        try:
            with engine.begin() as connection:
                _check(connection, content)
                _check_own(connection, url, content)
                for name, table in content.items():
                    _replace(connection, name, table)
        finally:
            engine.dispose()


@contextmanager
def _said_plainly(url: str) -> Iterator[None]:
    try:
        yield
    except NoSuchModuleError as error:
        raise ConfigError(f"sql {redacted(url)!r}: {error}; {ADDRESSES}") from error
    except ModuleNotFoundError as error:
        raise ConfigError(f"sql {redacted(url)!r}: {error}; {DRIVERS}") from error
    except sql.exc.ArgumentError as error:
        raise ConfigError(f"sql {redacted(url)!r}: not the address of a database; {ADDRESSES}") from error
    except SQLAlchemyError as error:
        said = redacted(str(error.__cause__ or error).splitlines()[0])
        raise StorageError(
            f"sql {redacted(url)!r}: {said}; nothing was changed there; mend it or give another"
        ) from error


def _check(connection: sql.Connection, content: Content) -> None:
    """Refuses a database that has tables of these names and other columns, before anything is made there."""
    known = sql.inspect(connection)
    problems = []
    for name in set(content) & set(known.get_table_names()):
        there = {column["name"] for column in known.get_columns(name)}
        if lacking := sorted(set(content[name].column_names) - there):
            problems.append(
                f"table {name} of the database has no column {', '.join(lacking)}: it is another program's, or an "
                "older version's; give another database, or drop the table"
            )
    if problems:
        raise StorageError(*problems)


def _check_own(connection: sql.Connection, url: str, content: Content) -> None:
    """Refuses rows of the same name that are not this study's: a study keeps all its trials, so all there are its."""
    table = content["trainings"]
    if not table.num_rows or "trainings" not in sql.inspect(connection).get_table_names():
        return
    name, own = table["study"][0].as_py(), set(table["trial_id"].to_pylist())
    there = sql.table("trainings", sql.column("study"), sql.column("trial_id"))
    rows = connection.execute(sql.select(there.c.trial_id).where(there.c.study == name)).scalars()
    if foreign := sorted(set(rows) - own):
        raise StorageError(
            f"sql {redacted(url)!r}: holds another study that is called {name!r}, with {len(foreign):,} trials that "
            f"this one has not, such as {foreign[0]}; nothing was changed there: rename this study's folder, give "
            f"another database, or delete the rows of study {name!r} from its tables if nobody needs them"
        )


def _replace(connection: sql.Connection, name: str, table: pa.Table) -> None:
    target = sql.Table(name, sql.MetaData(), *(_column(field) for field in table.schema))
    target.create(connection, checkfirst=True)
    if table.num_rows:
        connection.execute(target.delete().where(target.c.study == table["study"][0].as_py()))
    for batch in table.to_batches(CHUNK_ROWS):
        connection.execute(target.insert(), [_naive(row) for row in batch.to_pylist()])


def _column(field: pa.Field) -> sql.Column[Any]:
    kinds: dict[pa.DataType, Any] = {
        pa.int64(): sql.BigInteger,
        pa.float64(): sql.Double,
        pa.bool_(): sql.Boolean,
        pa.string(): sql.Text,
    }
    kind = sql.String(NAME_LENGTH) if field.name in ("study", "trial_id") else kinds.get(field.type, sql.DateTime)
    return sql.Column(field.name, kind, index=field.name == "study")


def _naive(row: Mapping[str, Any]) -> dict[str, Any]:
    """Times without their zone, which not every database keeps."""
    return {name: value.replace(tzinfo=None) if hasattr(value, "tzinfo") else value for name, value in row.items()}


def _models(study: Mapping[str, Any], tables: Tables) -> pa.Table:
    known: dict[str, int] = {}
    for backbone, parameters in zip(
        tables.trials["backbone"].to_pylist(), tables.trials["parameters"].to_pylist(), strict=True
    ):
        known.setdefault(backbone, parameters)
    rows = [
        {
            "backbone": name,
            "parameters": known.get(name),
            "stages": len(values["stages"]),
            "image_size": values["default"]["image_size"],
            "weights": values["default"]["weights"],
        }
        for name, values in study["backbones"].items()
    ]
    kinds = {
        "backbone": pa.string(),
        "parameters": pa.int64(),
        "stages": pa.int64(),
        "image_size": pa.int64(),
        "weights": pa.string(),
    }
    return pa.Table.from_pylist(rows, schema=pa.schema(list(kinds.items())))


def _predictions(classes: list[str], tables: Tables) -> pa.Table:
    """Without those of a model that was killed before its figures were recorded: they come again with its figures."""
    owners = [table.select(["trial_id", "backbone"]).to_pylist() for table in (tables.confirmed, tables.trials)]
    backbones = {row["trial_id"]: row["backbone"] for rows in owners for row in rows}  # ensembles are no trials
    predictions = tables.predictions.filter(pc.field("trial_id").isin(list(backbones)))
    rows = predictions["probabilities"].to_pylist()
    texts = [json.dumps({label: round(float(p), 6) for label, p in zip(classes, row, strict=True)}) for row in rows]
    columns: dict[str, Any] = {name: predictions[name] for name in ("trial_id", "seed", "path", "label", "predicted")}
    columns["backbone"] = pa.array([backbones[name] for name in predictions["trial_id"].to_pylist()], pa.string())
    columns["is_correct"] = pc.equal(predictions["label"], predictions["predicted"])
    columns["probability"] = pa.array([max(row) for row in rows], pa.float64())
    columns["probabilities"] = pa.array(texts, pa.string())
    return pa.table(columns)


def _with_study(table: pa.Table, name: str) -> pa.Table:
    return table.add_column(0, "study", pa.repeat(pa.scalar(name), table.num_rows)).replace_schema_metadata(None)
