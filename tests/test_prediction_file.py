"""Predictions in files: read back by other libraries, whole or not at all, in bounded memory."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from raytl.errors import ConfigError, StorageError
from raytl.use.predict import Prediction
from raytl.use.prediction_file import check_kind, prediction_file

CLASSES = ("ant, red", 'b"ee')
GOOD = Prediction(Path("x/a,1.png"), 'b"ee', {"ant, red": 0.25, 'b"ee': 0.75})
BAD = Prediction(Path("x/ü.png"), None, {}, "empty file")
KINDS = (".csv", ".parquet", ".json")


def written(path: Path) -> Path:
    """A good row, a bad one, and a good one, added in two parts."""
    with prediction_file(path, CLASSES) as rows:
        rows.add([GOOD, BAD])
        rows.add([GOOD])
    return path


def test_csv_is_read_by_pythons_own_reader(tmp_path: Path) -> None:
    with written(tmp_path / "new" / "p.csv").open(newline="", encoding="utf-8") as file:
        header, good, bad, again = csv.reader(file)
    assert header == ["path", "predicted", "probability", "p_ant, red", 'p_b"ee', "problem"]
    assert good == again == ["x/a,1.png", 'b"ee', "0.75", "0.25", "0.75", ""]
    assert bad == ["x/ü.png", "", "", "", "", "empty file"]


def test_parquet_is_read_by_pandas(tmp_path: Path) -> None:
    table = pd.read_parquet(written(tmp_path / "p.parquet"))
    assert list(table.columns) == ["path", "predicted", "probability", "p_ant, red", 'p_b"ee', "problem"]
    assert table["probability"].tolist()[::2] == [0.75, 0.75] and table["probability"].isna().tolist()[1]
    assert table["problem"].fillna("").tolist() == ["", "empty file", ""]
    assert str(table["p_ant, red"].dtype) == "float32"


def test_json_has_a_mapping(tmp_path: Path) -> None:
    good, bad, _ = json.loads(written(tmp_path / "p.json").read_text("utf-8"))
    assert good == {
        "path": "x/a,1.png", "predicted": 'b"ee', "probability": 0.75, "problem": None,
        "probabilities": {"ant, red": 0.25, 'b"ee': 0.75},
    }  # fmt: skip
    assert bad == {
        "path": "x/ü.png", "predicted": None, "probability": None, "probabilities": {}, "problem": "empty file"
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_without_rows_is_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"p{kind}"
    with prediction_file(path, CLASSES):
        pass
    if kind == ".json":
        assert json.loads(path.read_text()) == []
    else:
        assert len(pd.read_csv(path) if kind == ".csv" else pq.read_table(path)) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_leaves_the_file_as_it_was(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"p{kind}"
    path.write_text("before")

    def fail() -> None:
        with prediction_file(path, CLASSES) as rows:
            rows.add([GOOD])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["p.txt", "p", "p.csv.gz"])
def test_other_endings_are_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.csv, \.parquet or \.json"):
        check_kind(Path(name))


def test_capital_endings_are_endings(tmp_path: Path) -> None:
    assert written(tmp_path / "p.CSV").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/p\.csv: cannot be written"):
        written(tmp_path / "file" / "p.csv")
