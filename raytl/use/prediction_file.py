"""Predictions as a table in a file: CSV, Parquet or JSON, written while they are made, whole or not at all.

One row for each picture: `path`, `predicted`, `probability`, a column `p_<class>` for each class (in JSON one mapping
`probabilities`), and `problem`, which says why a picture could not be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from raytl.errors import ConfigError, StorageError
from raytl.results.folder import draft_of, sync_folder
from raytl.steps import reached
from raytl.use.predict import Prediction


class Rows(Protocol):
    """What takes predictions, some at a time."""

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Writes a row for each."""

    def close(self) -> None:
        """Writes what belongs at the end."""


def check_kind(path: Path) -> None:
    """Refuses a file that is no table of ours by its name.

    Raises:
        ConfigError: naming the kinds that there are.
    """
    if path.suffix.lower() not in _KINDS:
        *others, last = _KINDS
        raise ConfigError(
            f"{path}: the ending {path.suffix!r} says no kind of table; give a name that ends in "
            f"{', '.join(others)} or {last}"
        )


@contextmanager
def prediction_file(path: Path, classes: Sequence[str]) -> Iterator[Rows]:
    """Takes predictions within the block; at its end the file is there, whole, in the place of one before.

    Where the block raises, `path` is as it was. No more than what is added at once is held in memory.

    Raises:
        ConfigError: a name whose ending says no kind of table.
        StorageError: where the file cannot be written.
    """
    check_kind(path)
    temporary = draft_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            rows = _KINDS[path.suffix.lower()](file, classes)
            try:
                yield rows
            finally:
                rows.close()  # before the file, whatever happens
            file.flush()
            os.fsync(file.fileno())
        reached("predictions written")
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}); free the place, or give another file"
        ) from error
    finally:
        with suppress(OSError):  # its folder may be none
            temporary.unlink(missing_ok=True)


class _Table:
    """Rows by Arrow; `opened` makes the writer of one kind of file."""

    def __init__(self, opened: Callable[[BinaryIO, pa.Schema], _ArrowWriter], file: BinaryIO, classes: Sequence[str]):
        self._classes = classes
        self._schema = pa.schema(
            [
                ("path", pa.string()),
                ("predicted", pa.string()),
                ("probability", pa.float32()),
                *((f"p_{label}", pa.float32()) for label in classes),
                ("problem", pa.string()),
            ]
        )
        self._writer = opened(file, self._schema)

    def add(self, predictions: Sequence[Prediction]) -> None:
        rows = [[each.probabilities.get(label) for label in self._classes] for each in predictions]
        columns = [
            [_text(each.path) for each in predictions],
            [each.predicted for each in predictions],
            [_sure(each) for each in predictions],
            *([row[place] for row in rows] for place in range(len(self._classes))),
            [each.problem for each in predictions],
        ]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.table(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


class _ArrowWriter(Protocol):
    def write_table(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class _Json:
    """A list with one object for each picture, a line each."""

    def __init__(self, file: BinaryIO, classes: Sequence[str]):
        self._file, self._before = file, "[\n"

    def add(self, predictions: Sequence[Prediction]) -> None:
        for each in predictions:
            row = {
                "path": _text(each.path),
                "predicted": each.predicted,
                "probability": _sure(each),
                "probabilities": each.probabilities,
                "problem": each.problem,
            }
            self._file.write(f"{self._before}{json.dumps(row, ensure_ascii=False)}".encode())
            self._before = ",\n"

    def close(self) -> None:
        self._file.write(b"[]\n" if self._before == "[\n" else b"\n]\n")


def _csv(file: BinaryIO, classes: Sequence[str]) -> Rows:
    return _Table(pyarrow.csv.CSVWriter, file, classes)


def _parquet(file: BinaryIO, classes: Sequence[str]) -> Rows:
    return _Table(pyarrow.parquet.ParquetWriter, file, classes)


_KINDS: dict[str, Callable[[BinaryIO, Sequence[str]], Rows]] = {".csv": _csv, ".parquet": _parquet, ".json": _Json}


def _sure(prediction: Prediction) -> float | None:
    return None if prediction.predicted is None else prediction.probabilities[prediction.predicted]


def _text(path: Path) -> str:
    """A path as UTF-8; bytes of a name that are none are replaced, as tables hold text."""
    return os.fsencode(path).decode("utf-8", "replace")
