"""A data set written as a table: CSV or Parquet with the columns path, label and, if wanted, split and group."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from raytl.errors import DataError

LISTING_SUFFIXES = (".csv", ".parquet")
_NEEDED = ("path", "label")

_WANTED = (*_NEEDED, "split", "group")


class Entry(NamedTuple):
    """One row; an empty or absent value is None."""

    path: str | None
    label: str | None
    split: str | None
    group: str | None


def read_listing(source: Path) -> list[Entry]:
    """The rows of a table.

    Values are read as text, so that the label 007 stays 007.

    Raises:
        DataError: where the file cannot be read, lacks a column or has no row.
    """
    try:
        table = _read(source)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source}: cannot be read as {source.suffix}: {error}") from error
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        have = ", ".join(table.column_names) or "none"
        raise DataError(f"{source}: lacks the column {' and '.join(missing)}; it has {have}")
    if table.num_rows == 0:
        raise DataError(f"{source}: has no row; one row per picture is needed")
    return [Entry(*values) for values in zip(*(_texts(table, name) for name in _WANTED), strict=True)]


def _read(source: Path) -> pa.Table:
    if source.suffix.lower() == ".parquet":
        table = pa.parquet.read_table(source)
        return table.select([name for name in _WANTED if name in table.column_names])
    text = pa.csv.ConvertOptions(column_types=dict.fromkeys(_WANTED, pa.string()), strings_can_be_null=False)
    return pa.csv.read_csv(source, convert_options=text, parse_options=pa.csv.ParseOptions(newlines_in_values=True))


def _texts(table: pa.Table, name: str) -> list[str | None]:
    if name not in table.column_names:
        return [None] * table.num_rows
    return [None if value is None or value == "" else str(value) for value in table[name].to_pylist()]
