"""A budget of worker-hours ends a search at the trial that uses it up, counts on after a kill, and may be raised.

The whole command line runs in a fork, without Ray. What was used is added up from the ledger's commits by hand.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from raytl.results.folder import StudyFolder
from raytl.results.ledger import read
from raytl.results.tables import load_tables
from raytl.results.usage import amount
from tests.forked import KILL, Ended, Fault, Forks
from tests.pictures import write_classes

pytestmark = pytest.mark.slow

SEARCH = "--backbones plain_cnn --weights none --image-size 16 --policy flat --scheduler none --searcher random "
SEARCH += "--epochs 3 --confirm-seeds 1 --set precision=fp32 --set batch_size=8 --cache-gb 0"
PRICE = 3.6  # a thousandth for each second on the whole machine, which the fake one gives to one trial
SEARCH_SHARE = 0.6


@pytest.fixture(scope="module")
def forks() -> Forks:
    return Forks()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("pictures"), {"a": 20, "b": 20})


def run(forks: Forks, root: Path, words: list[str], fault: Fault | None = None) -> Ended:
    return forks.run(root / "command.log", words, {"RAYTL_CACHE": str(root / "cache")}, fault)


def search(
    forks: Forks, pictures: Path, root: Path, more: str, fault: Fault | None = None
) -> tuple[Ended, StudyFolder]:
    words = ["search", str(pictures), "--out", str(root / "study"), *SEARCH.split(), *more.split()]
    return run(forks, root, words, fault), StudyFolder(root / "study")


def commits(folder: StudyFolder) -> list[dict[str, Any]]:
    """Rows of trials and epochs of the search, in the order in which they were committed."""
    trials = [row for row in read(folder.ledger, "trials").to_pylist() if row["stage"] == "search"]
    names = {row["trial_id"] for row in trials}
    epochs = [row for row in read(folder.ledger, "epochs").to_pylist() if row["trial_id"] in names]
    return sorted([*trials, *epochs], key=lambda row: int(row["commit_number"]))


def used_with_each_epoch(folder: StudyFolder) -> tuple[list[float], float]:
    """Seconds that the search has used, with each epoch that is committed, and in the end; one trial runs at a time.

    A budget may also be used up between the last epoch of a trial and its end.
    """
    over, carried, own, used = 0.0, 0.0, 0.0, []
    begun = None
    for row in commits(folder):
        if "epoch" in row:
            assert begun is not None
            own = max(0.0, (row["ended_at"] - begun).total_seconds())
            used.append(over + carried + own)
        elif row["status"] == "running" and row["resumed_at"] is None:
            begun, carried, own = row["started_at"], 0.0, 0.0
        elif row["status"] == "running":
            begun, carried, own = row["resumed_at"], carried + own, 0.0
        else:
            since = row["resumed_at"] or row["started_at"]
            whole = carried + (row["ended_at"] - since).total_seconds()
            assert row["worker_seconds"] == pytest.approx(whole, abs=1e-5)
            over, carried, own = over + row["worker_seconds"], 0.0, 0.0
    return used, over


def limit_seconds(hours: float) -> float:
    return hours * 3600 * SEARCH_SHARE


def test_a_search_ends_with_the_epoch_that_uses_its_share_up(forks: Forks, pictures: Path, tmp_path: Path) -> None:
    hours = 0.0003
    ended, folder = search(forks, pictures, tmp_path, f"--trials 200 --budget-hours {hours:.4f} --price {PRICE}")
    assert ended.code == 0, ended.said
    (*before, _), whole = used_with_each_epoch(folder)
    assert all(used < limit_seconds(hours) for used in before) and whole >= limit_seconds(hours)
    trials = [row for row in load_tables(folder).trials.to_pylist() if row["stage"] == "search"]
    assert {row["status"] for row in trials[:-1]} <= {"completed"}
    *_, stopped = trials
    if stopped["status"] == "stopped":
        assert (
            stopped["reason"] == f"the search's share of --budget-hours was used up after epoch {stopped['epochs_run']}"
        )
    said = f"{200 - len(trials)} trials are left out: the search's share of --budget-hours is used up"
    assert len(trials) < 200 and said in ended.said and "worker-hours used (--budget-hours)" in ended.said
    assert load_tables(folder).confirmed.num_rows >= 2, "final models have what was kept back"
    check_costs(folder, ended)


def check_costs(folder: StudyFolder, ended: Ended) -> None:
    """The cost by DuckDB, from start and end of trials that were begun once, is in the tables and on the console."""
    [row] = duckdb.execute(
        f"select sum(epoch(ended_at) - epoch(started_at)) * {PRICE} / 3600, sum(cost), "
        "sum(cost) filter (where stage = 'confirm'), count(*) filter (where node_type != 'node' or node_share != 1) "
        f"from '{folder.tables}/trials.parquet'"
    ).fetchall()
    spans, cost, confirm, elsewhere = row
    assert cost == pytest.approx(spans, rel=1e-3) and 0 < confirm < cost and elsewhere == 0
    told = " ".join(ended.said.split())
    assert f"the study cost {amount(cost)}, of which the confirmation {amount(confirm)}" in told


def test_a_killed_search_goes_on_counting_where_it_was(forks: Forks, pictures: Path, tmp_path: Path) -> None:
    hours = 0.0015
    more = f"--trials 200 --budget-hours {hours:.4f}"
    fault = Fault(KILL, "commit of epochs in its folder", 2)
    ended, folder = search(forks, pictures, tmp_path, more, fault)
    assert ended.code == -9, ended.said
    time.sleep(2.0)  # time in which nobody works must not count
    resumed = run(forks, tmp_path, ["resume", str(folder.root)])
    assert resumed.code == 0, resumed.said
    (*before, _), whole = used_with_each_epoch(folder)
    assert all(used < limit_seconds(hours) for used in before) and whole >= limit_seconds(hours)
    [again] = [row for row in load_tables(folder).trials.to_pylist() if row["resumed_at"] is not None]
    assert (again["resumed_at"] - again["started_at"]).total_seconds() > 2.0
    assert again["worker_seconds"] < (again["ended_at"] - again["started_at"]).total_seconds() - 2.0
    assert resumed.said.count("trials are left out") == 1 and len(before) > 1


def test_a_trial_that_had_used_the_budget_up_when_it_was_killed_ends_there(
    forks: Forks, pictures: Path, tmp_path: Path
) -> None:
    """A raised budget then lets the search go on, and is what counts from then on."""
    fault = Fault(KILL, "commit of epochs in its folder", 1)
    ended, folder = search(forks, pictures, tmp_path, "--trials 3 --budget-hours 0.000001", fault)
    assert ended.code == -9, ended.said
    assert run(forks, tmp_path, ["resume", str(folder.root)]).code == 0
    [first] = [row for row in load_tables(folder).trials.to_pylist() if row["stage"] == "search"]
    assert (first["status"], first["epochs_run"]) == ("stopped", 1) and "--budget-hours" in first["reason"]
    [epoch] = [row for row in commits(folder) if "epoch" in row]
    assert first["worker_seconds"] == pytest.approx((epoch["ended_at"] - first["started_at"]).total_seconds())
    raised = run(
        forks, tmp_path, ["resume", str(folder.root), "--budget-hours", "1", "--price", "node=2", "--price", "1"]
    )
    assert raised.code == 0, raised.said
    trials = [row for row in load_tables(folder).trials.to_pylist() if row["stage"] == "search"]
    assert trials[0] | {"cost": None} == first and [row["status"] for row in trials[1:]] == ["completed"] * 2
    assert trials[0]["cost"] == pytest.approx(first["worker_seconds"] / 3600 * 2)
    spec = folder.read_study()["spec"]
    assert isinstance(spec, dict) and (spec["budget_hours"], spec["prices"]) == (1.0, {"node": 2.0, "*": 1.0})


def test_a_price_of_a_machine_that_is_not_there_is_refused(forks: Forks, pictures: Path, tmp_path: Path) -> None:
    ended, folder = search(forks, pictures, tmp_path, "--price gpu=3")
    assert ended.code == 2 and not folder.root.exists(), ended.said
    assert "--price gpu=3: no machine is of the type 'gpu'; the types here are node" in ended.said


def test_a_dry_run_tells_worker_hours_and_cost(forks: Forks, pictures: Path, tmp_path: Path) -> None:
    ended, _ = search(forks, pictures, tmp_path, "--trials 2 --price 3 --dry-run")
    assert ended.code == 0 and " worker-hours (" in ended.said and " at 3 each" in ended.said, ended.said
