"""A study's tables, and the questions asked of them, against DuckDB, which knows nothing of raytl."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytl.errors import StorageError
from raytl.metric import METRICS, Metric
from raytl.recipe import Recipe
from raytl.results.folder import StudyFolder
from raytl.results.ledger import Ledger
from raytl.results.schemas import TABLES, TrialRow, schema, to_table
from raytl.results.tables import (
    Tables,
    best_trial_per_backbone,
    compact,
    confirmed_rows,
    epoch_rows,
    first_epochs,
    is_ranked,
    latest_trials,
    leaderboard,
    learning_curve,
    load_tables,
    prediction_rows,
    trial_rows,
)
from tests.rows import START, confirmed_row, epoch_row, picture_row, prediction_row, trial_row


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    made = StudyFolder(tmp_path / "study")
    made.create()
    return made


def random_trials(count: int, seed: int = 0) -> list[TrialRow]:
    """Trials of all stages and statuses, with few distinct figures so that ties abound, some null or NaN."""
    draw = random.Random(seed)
    return [
        trial_row(
            trial_id=f"t{index}",
            backbone=draw.choice(["a", "b", "c"]),
            stage=draw.choice(["probe", "search", "search", "confirm"]),
            status=draw.choice(["completed", "stopped", "diverged", "failed", "running"]),
            started_at=START + timedelta(seconds=draw.randrange(10**6)),
            val_accuracy=draw.choice([None, math.nan, 0.5, 0.6, 0.7]),
            val_macro_f1=draw.choice([None, 0.5, 0.6]),
            val_loss=draw.choice([0.1, 0.2, 0.3]),
        )
        for index in range(count)
    ]


def tables_of(trials: list[TrialRow]) -> Tables:
    empty = {name: schema(name).empty_table() for name in TABLES}
    return Tables(**{**empty, "trials": to_table("trials", trials, 1)})


def test_a_trials_last_row_counts_in_the_order_of_first_rows() -> None:
    rows = [
        trial_row(trial_id="b"),
        trial_row(trial_id="a"),
        trial_row(trial_id="b", status="completed"),
        trial_row(trial_id="c"),
        trial_row(trial_id="a", status="stopped"),
    ]
    latest = latest_trials(to_table("trials", rows, 1))
    seen = list(zip(latest["trial_id"].to_pylist(), latest["status"].to_pylist(), strict=True))
    assert seen == [("b", "completed"), ("a", "stopped"), ("c", "running")]


def test_an_epochs_first_row_counts() -> None:
    rows = [
        epoch_row(trial_id=trial_id, epoch=epoch, attempt=attempt)
        for trial_id, epoch, attempt in [("a", 1, 1), ("b", 1, 1), ("a", 2, 1), ("a", 1, 2), ("b", 2, 2), ("a", 2, 2)]
    ]
    first = first_epochs(to_table("epochs", rows, 1)).to_pylist()
    seen = [(row["trial_id"], row["epoch"], row["attempt"]) for row in first]
    assert seen == [("a", 1, 1), ("b", 1, 1), ("a", 2, 1), ("b", 2, 2)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), max_size=12), st.integers(0, 12))
def test_rows_are_settled_as_a_dict_would(keys: list[tuple[str, int]], cut: int) -> None:
    """Its first assignments for epochs, its last ones for trials, both in the order of first keys."""
    rows = [epoch_row(trial_id=name, epoch=epoch, train_loss=float(at)) for at, (name, epoch) in enumerate(keys)]
    table = pa.concat_tables([to_table("epochs", rows[:cut], 1), to_table("epochs", rows[cut:], 2)])
    first: dict[tuple[str, int], float] = {}
    last: dict[str, float] = {}
    for at, (name, epoch) in enumerate(keys):
        first.setdefault((name, epoch), float(at))
        last[name] = float(at)
    assert first_epochs(table)["train_loss"].to_pylist() == list(first.values())
    assert latest_trials(table)["train_loss"].to_pylist() == list(last.values())


def test_repeated_rows_are_settled_when_a_study_is_loaded(folder: StudyFolder) -> None:
    ledger = Ledger.open(folder.ledger)
    ledger.commit("confirmed", [confirmed_row(), confirmed_row(trial_id="t1")])
    ledger.commit("confirmed", [confirmed_row(model_path="models/tiny_a")])
    ledger.commit("predictions", [prediction_row(predicted="a"), prediction_row(path="a/1.jpg")])
    ledger.commit("predictions", [prediction_row(predicted="b"), prediction_row(trial_id="t1")])
    ledger.commit("data", [picture_row(), picture_row(path="a/1.jpg")])
    ledger.commit("data", [picture_row(status="bad"), picture_row(path="a/1.jpg")])
    tables = load_tables(folder)
    assert tables.confirmed["model_path"].to_pylist() == ["models/tiny_a", None]
    assert tables.predictions["predicted"].to_pylist() == ["a", "b", "b"]
    assert tables.data["status"].to_pylist() == ["bad", "ok"]


def test_a_picture_that_the_last_scan_did_not_find_is_no_longer_counted(folder: StudyFolder) -> None:
    ledger = Ledger.open(folder.ledger)
    ledger.commit("data", [picture_row(path=path) for path in ("a/1.jpg", "a/2.jpg")])
    ledger.commit("epochs", [epoch_row()])
    ledger.commit("data", [picture_row(path=path) for path in ("a/2.jpg", "a/3.jpg")])
    assert load_tables(folder).data["path"].to_pylist() == ["a/2.jpg", "a/3.jpg"]
    compact(folder)
    shutil.rmtree(folder.ledger)
    assert load_tables(folder).data["path"].to_pylist() == ["a/2.jpg", "a/3.jpg"]


def test_rows_come_back_as_they_were() -> None:
    trials = [trial_row(), trial_row(trial_id="t1", val_loss=0.5, recipe=Recipe(backbone="b", unfreeze_epoch=2))]
    epochs = [epoch_row(), epoch_row(epoch=2, train_accuracy=0.5, checkpoint="c")]
    assert trial_rows(to_table("trials", trials, 1)) == trials
    assert epoch_rows(to_table("epochs", epochs, 1)) == epochs
    assert confirmed_rows(to_table("confirmed", [confirmed_row()], 1)) == [confirmed_row()]
    assert prediction_rows(to_table("predictions", [prediction_row()], 1)) == [prediction_row()]


def test_columns_younger_than_a_row_take_their_defaults() -> None:
    old = to_table("trials", [trial_row(split=3)], 1)
    for name in ("split", "recipe_views"):
        place = old.column_names.index(name)
        old = old.set_column(place, old.schema.field(name).with_nullable(True), pa.nulls(1, pa.int64()))
    assert trial_rows(old) == [trial_row(split=0)]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_the_leaderboard_is_that_of_a_plain_sort(metric: Metric) -> None:
    trials = random_trials(300)
    kept = [
        trial
        for trial in trials
        if trial.stage != "confirm"
        and trial.status in ("completed", "stopped")
        and (value := getattr(trial, metric.name)) is not None
        and math.isfinite(value)
    ]
    expected = sorted(kept, key=lambda trial: (*metric.key(trial), trial.started_at, trial.trial_id))
    ranked = leaderboard(tables_of(trials), metric)["trial_id"].to_pylist()
    assert ranked == [trial.trial_id for trial in expected]
    assert {trial.trial_id for trial in trials if trial.stage != "confirm" and is_ranked(trial, metric)} == set(ranked)


REFERENCE = """
import json, sys
import duckdb
folder, metric, order = sys.argv[1:]
found = duckdb.sql(f'''
    select backbone, trial_id from '{folder}/trials.parquet'
    where stage in ('probe', 'search') and status in ('completed', 'stopped') and isfinite({metric})
    qualify row_number() over (partition by backbone order by {metric} {order}, val_loss, started_at, trial_id) = 1
''').fetchall()
assert not any(name.startswith(('raytl', 'pyarrow')) for name in sys.modules)
print(json.dumps(dict(found)))
"""


def ask_duckdb(script: str, *arguments: str) -> object:
    command = [sys.executable, "-I", "-c", script, *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_duckdb_names_the_same_best_trials(folder: StudyFolder, metric: Metric) -> None:
    ledger = Ledger.open(folder.ledger)
    ledger.commit("trials", [trial_row(trial_id=f"t{index}", status="running") for index in range(200)])
    for trial in random_trials(200, seed=1):
        ledger.commit("trials", [trial])
    compact(folder)
    best = best_trial_per_backbone(load_tables(folder), metric)
    ours = dict(zip(best["backbone"].to_pylist(), best["trial_id"].to_pylist(), strict=True))
    assert ours == ask_duckdb(REFERENCE, str(folder.tables), metric.name, "desc" if metric.maximize else "asc")
    assert len(ours) == 3


def test_a_learning_curve_is_one_trials_epochs_in_order() -> None:
    rows = [epoch_row(trial_id=name, epoch=epoch) for name, epoch in [("a", 2), ("b", 1), ("a", 3), ("a", 1)]]
    empty = tables_of([])
    tables = Tables(empty.trials, to_table("epochs", rows, 1), empty.confirmed, empty.predictions, empty.data)
    assert learning_curve(tables, "a")["epoch"].to_pylist() == [1, 2, 3]
    assert learning_curve(tables, "none").num_rows == 0


def test_all_five_tables_are_written_even_when_empty(folder: StudyFolder) -> None:
    compact(folder)
    for name in TABLES:
        table = pq.read_table(folder.tables / f"{name}.parquet")
        assert table.schema.equals(schema(name), check_metadata=True)
        assert table.num_rows == 0
    assert leaderboard(load_tables(folder), METRICS["val_loss"]).num_rows == 0


def test_tables_alone_are_enough_to_read_a_study(folder: StudyFolder) -> None:
    ledger = Ledger.open(folder.ledger)
    ledger.commit("trials", random_trials(20))
    ledger.commit("epochs", [epoch_row(epoch=epoch) for epoch in range(1, 5)])
    ledger.commit("predictions", [prediction_row()])
    compact(folder)
    from_ledger = load_tables(folder)
    shutil.rmtree(folder.ledger)
    from_tables = load_tables(folder)
    for name in TABLES:
        left, right = getattr(from_ledger, name), getattr(from_tables, name)
        assert left.schema.equals(right.schema, check_metadata=True)
        assert repr(left.to_pylist()) == repr(right.to_pylist())  # repr: NaN is equal to itself


def test_a_folder_with_neither_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="neither a ledger nor tables"):
        load_tables(StudyFolder(tmp_path))


def test_damaged_ledger_files_are_told_with_the_tables(folder: StudyFolder) -> None:
    ledger = Ledger.open(folder.ledger)
    ledger.commit("epochs", [epoch_row()])
    ledger.commit("epochs", [epoch_row(epoch=2)])
    next(folder.ledger.glob("00000001-*")).write_bytes(b"")
    tables = load_tables(folder)
    assert tables.epochs["epoch"].to_pylist() == [2]
    assert len(tables.problems) == 1


def many_epochs(trial_count: int, epoch_count: int) -> pa.Table:
    """The epochs of a large study, made by repeating one row."""
    rows = trial_count * epoch_count
    one = to_table("epochs", [epoch_row()], 1).take(pa.array(np.zeros(rows, dtype=np.int64)))
    names = np.char.add("t", np.repeat(np.arange(trial_count), epoch_count).astype(str))
    epochs = np.tile(np.arange(1, epoch_count + 1), trial_count)
    columns = {"trial_id": pa.array(names, pa.string()), "epoch": pa.array(epochs)}
    for name, values in columns.items():
        one = one.set_column(one.column_names.index(name), one.schema.field(name), values)
    return one


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_questions_are_answered_without_pandas(folder: StudyFolder) -> None:
    """Arrow imports it for many a small conversion, which takes longer than to read a large study."""
    ledger = Ledger.open(folder.ledger)
    ledger.commit("trials", [trial_row(trial_id="t1")])
    ledger.commit("epochs", [epoch_row(trial_id="t1"), epoch_row(trial_id="t1", epoch=2)])
    ledger.commit("trials", [trial_row(trial_id="t1", status="completed", val_accuracy=0.5)])
    ask = """
import sys
from pathlib import Path
from raytl.metric import METRICS
from raytl.results.folder import StudyFolder
from raytl.results.tables import best_trial_per_backbone, leaderboard, learning_curve, load_tables
tables = load_tables(StudyFolder(Path(sys.argv[1])))
for found in (leaderboard, best_trial_per_backbone):
    print(found(tables, METRICS["val_accuracy"])["trial_id"].to_pylist())
print(learning_curve(tables, "t1")["epoch"].to_pylist(), "pandas" in sys.modules)
"""
    command = [sys.executable, "-c", ask, str(folder.root)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == ["['t1']", "['t1']", "[1, 2] False"]


@pytest.mark.slow
def test_ten_thousand_trials_of_fifty_epochs_are_asked_in_half_a_second() -> None:
    empty = tables_of(random_trials(10_000))
    epochs = many_epochs(10_000, 50)
    tables = Tables(empty.trials, epochs, empty.confirmed, empty.predictions, empty.data)
    metric = METRICS["val_accuracy"]
    twice = pa.concat_tables([empty.trials, empty.trials])
    taken = {
        "latest trials": seconds(lambda: latest_trials(twice)),
        "first epochs": seconds(lambda: first_epochs(epochs)),
        "leaderboard": seconds(lambda: leaderboard(tables, metric)),
        "best per backbone": seconds(lambda: best_trial_per_backbone(tables, metric)),
        "learning curve": seconds(lambda: learning_curve(tables, "t7777")),
    }
    print({name: f"{value * 1000:.0f} ms" for name, value in taken.items()})
    assert max(taken.values()) < 0.5, taken
