"""A driver on paper: what it records is what was simulated, and it stops what successive halving by hand stops."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytl.results.folder import StudyFolder
from raytl.results.ledger import Ledger
from raytl.results.recorder import Recorder
from raytl.results.tables import Tables, load_tables

sys.path.append(str(Path(__file__).parents[1] / "experiments" / "benchmarks"))  # as scripts they import bare names

import effort
import halving
import simulation
from gathering import gathered
from paper import EPOCHS
from simulated import METRIC
from simulation import gone_on, history, problems, run_on_paper

NODES, TRIALS = 6, 40


def whole(root: Path, searcher: str, trials: int = TRIALS) -> tuple[Tables, effort.Meter]:
    """A search from nothing, each row a commit of its own."""
    meter = effort.Meter()
    folder = run_on_paper(searcher, NODES, trials, root, meter, lambda begun, recorder: True)
    return load_tables(folder), meter


@pytest.mark.parametrize("searcher", ["random", "hyperopt"])
def test_the_record_is_what_was_simulated(tmp_path: Path, searcher: str) -> None:
    tables, meter = whole(tmp_path / "one", searcher)
    assert problems(tables, TRIALS, meter.results) == []
    assert meter.suggestions >= TRIALS and meter.seconds > meter.disk_seconds > 0
    statuses = tables.trials["status"].to_pylist()
    assert set(statuses) == {"completed", "stopped"}, "ASHA has something to decide"
    again, _ = whole(tmp_path / "again", searcher)
    names = ("trial_id", "status", "epochs_run")
    assert [again.trials[name] for name in names] == [tables.trials[name] for name in names]


def test_gathered_rows_are_those_of_single_commits(tmp_path: Path) -> None:
    single, _ = whole(tmp_path / "single", "random")
    ended = history(NODES, TRIALS, tmp_path / "gathered")
    many = load_tables(StudyFolder(tmp_path / "gathered" / "whole"))
    assert (ended.trials, ended.epochs, ended.problems) == (TRIALS, single.epochs.num_rows, [])
    assert ended.ledger_files < 10
    for name in ("trial_id", "epoch", METRIC):
        assert many.epochs[name].to_pylist() == single.epochs[name].to_pylist()
    assert Ledger.commit.__qualname__ == "Ledger.commit"


def test_what_was_gathered_before_an_error_is_left_to_nobody(tmp_path: Path) -> None:
    original = Ledger.commit
    with pytest.raises(RuntimeError), gathered():
        raise RuntimeError("as a kill")
    assert Ledger.commit is original


def test_a_search_is_gone_on_from_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "MARKS", (20,))
    monkeypatch.setattr(simulation, "MORE", 5)
    history(NODES, TRIALS, tmp_path)
    before = load_tables(StudyFolder(tmp_path / "20"))
    open_trials = before.trials["status"].to_pylist().count("running")
    assert before.trials.num_rows == 20 and open_trials > 0
    mark = gone_on("random", NODES, 20, tmp_path / "20")
    after = load_tables(StudyFolder(tmp_path / "20"))
    begun = after.trials.num_rows - 20 + open_trials
    assert begun >= NODES + 5
    assert after.epochs.slice(0, before.epochs.num_rows).equals(before.epochs)
    rows = zip(*(after.epochs[name].to_pylist() for name in ("trial_id", "epoch", METRIC)), strict=True)
    columns = (after.trials[name].to_pylist() for name in ("trial_id", "status", "epochs_run"))
    stopped = {name: run for name, status, run in zip(*columns, strict=True) if status == "stopped"}
    assert halving.stops(rows, EPOCHS, 3) == stopped, "the rungs were rebuilt"
    assert mark.epochs_per_second > 0 and 0 < mark.disk_share < 1 and mark.peak_bytes >= mark.base_bytes


def test_a_record_that_says_otherwise_is_found(tmp_path: Path) -> None:
    tables, meter = whole(tmp_path, "random", 20)
    assert problems(tables, 21, meter.results + 1) == [
        f"{meter.results} epochs recorded, {meter.results + 1} simulated",
        "20 trials, 21 asked for",
    ]
    names = tables.epochs.column_names
    worse = tables.epochs.set_column(names.index(METRIC), METRIC, [[1.0 / (n + 1) for n in range(meter.results)]])
    assert "other trials stopped than by hand" in problems(replace(tables, epochs=worse), 20, meter.results)


def test_halving_by_hand() -> None:
    rows = [("a", 1, 0.5), ("b", 1, 0.4), ("c", 1, 0.6), ("d", 1, 0.53), ("a", 2, 0.1), ("a", 3, 0.1), ("c", 3, 0.0)]
    assert halving.stops(rows, 9, 3) == {"b": 1, "d": 1, "c": 3}
    assert halving.stops([("a", 9, 0.9), ("b", 9, 0.1)], 9, 3) == {}


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_quantiles_are_those_of_numpy(count: int) -> None:
    values = sorted(random.Random(count).random() for _ in range(count))
    assert halving.quantile(values, 2 / 3) == pytest.approx(np.quantile(values, 2 / 3))


def test_effort_is_processor_time_and_waits_for_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    meter = effort.Meter()
    monkeypatch.setattr("os.fsync", lambda descriptor: time.sleep(0.02))
    with meter.running():
        with meter.result():
            Ledger.open(tmp_path).commit("trials", [])
        with meter.suggestion():
            time.sleep(0.05)  # waits for something else
    assert (meter.results, meter.suggestions) == (1, 1)
    assert meter.result_seconds >= meter.disk_seconds >= 0.04
    assert meter.suggest_seconds < 0.05
    meter.reset()
    assert meter == effort.Meter(_sync_began=meter._sync_began)


def test_a_clock_without_linux_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(effort, "SCHEDULING", tmp_path / "none")
    begin = time.perf_counter()
    assert begin <= effort.undisturbed() <= time.perf_counter()


def test_a_killed_search_leaves_its_open_trials(tmp_path: Path) -> None:
    def until(begun: int, recorder: Recorder) -> bool:
        return begun < 10

    folder = run_on_paper("random", NODES, TRIALS, tmp_path, effort.Meter(), until)
    assert load_tables(folder).trials["status"].to_pylist().count("running") == NODES
