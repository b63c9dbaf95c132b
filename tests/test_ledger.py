"""The ledger: what was committed is read back once, in order, whatever happens between two steps."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC
from itertools import count
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytl.errors import StorageError
from raytl.results import ledger as module
from raytl.results import schemas
from raytl.results.ledger import Ledger, read, read_ledger
from raytl.results.schemas import TABLES, EpochRow, PictureRow, PredictionRow, Row, schema, to_table
from raytl.steps import listening
from tests.faults import Killed, largest_file
from tests.rows import epoch_row, trial_row


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments after few commits, so that short tests see many."""
    monkeypatch.setattr(module, "LOOSE_LIMIT", 3)
    monkeypatch.setattr(module, "SEGMENT_LIMIT", 2)


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process wrote stays; fsync guards against power cuts only, and a busy disk makes it slow."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def epochs_in(folder: Path) -> list[int]:
    return read(folder, "epochs")["epoch"].to_pylist()


def commit_epochs(ledger: Ledger, numbers: Sequence[int]) -> None:
    for number in numbers:
        ledger.commit("epochs", [epoch_row(epoch=number)])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_new_ledger_is_five_empty_tables(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "ledger")
    view = read_ledger(tmp_path / "ledger")
    assert {name: table.num_rows for name, table in view.tables.items()} == dict.fromkeys(TABLES, 0)
    assert all(table.schema.equals(schema(name), check_metadata=True) for name, table in view.tables.items())
    assert view.problems == ()


def test_commits_are_numbered_across_tables_and_openings(tmp_path: Path) -> None:
    first = Ledger.open(tmp_path)
    assert [first.commit("trials", [trial_row()]), first.commit("epochs", [epoch_row(), epoch_row(epoch=2)])] == [1, 2]
    second = Ledger.open(tmp_path)
    assert second.commit("epochs", [epoch_row(epoch=3)]) == 3
    assert read(tmp_path, "trials")["commit_number"].to_pylist() == [1]
    assert read(tmp_path, "epochs")["commit_number"].to_pylist() == [2, 2, 3]
    assert second.removed_files == 0


def test_a_commit_never_changes_an_earlier_file(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    commit_epochs(ledger, range(3))
    before = files(tmp_path)
    commit_epochs(ledger, range(3))
    assert files(tmp_path).items() >= before.items()
    assert len(files(tmp_path)) == 6


def test_files_are_plain_arrow_to_other_tools(tmp_path: Path) -> None:
    commit_epochs(Ledger.open(tmp_path), range(5))
    paths = sorted(tmp_path.glob("*-epochs-*.arrow"))
    assert pyarrow.dataset.dataset(paths, format="ipc").to_table()["epoch"].to_pylist() == list(range(5))


texts = st.text(st.characters(codec="utf-8"), max_size=8)
floats = st.floats(allow_nan=False)
times = st.datetimes(timezones=st.just(UTC))
epoch_rows = st.builds(
    EpochRow,
    trial_id=texts,
    epoch=st.integers(1, 2**40),
    attempt=st.integers(1, 9),
    started_at=times,
    ended_at=times,
    train_loss=floats,
    train_accuracy=st.none() | floats,
    val_loss=floats,
    val_accuracy=floats,
    val_macro_f1=floats,
    lr=floats,
    images_per_second=floats,
    is_best=st.booleans(),
    checkpoint=st.none() | texts,
)
prediction_rows = st.builds(
    PredictionRow,
    trial_id=texts,
    seed=st.integers(0, 99),
    path=texts,
    label=texts,
    predicted=texts,
    probabilities=st.lists(st.floats(0, 1, width=32), max_size=4),
)
picture_rows = st.builds(
    PictureRow,
    path=texts,
    label=texts,
    split=st.none() | texts,
    width=st.none() | st.integers(1, 9),
    height=st.none() | st.integers(1, 9),
    sha256=st.none() | texts,
    status=texts,
    reason=st.none() | texts,
)
commits = st.one_of(
    st.tuples(st.just("epochs"), st.lists(epoch_rows, max_size=3)),
    st.tuples(st.just("predictions"), st.lists(prediction_rows, max_size=3)),
    st.tuples(st.just("data"), st.lists(picture_rows, max_size=3)),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(commits, max_size=12), st.integers(1, 4), st.integers(1, 3))
def test_any_rows_are_read_back_once_and_in_order(
    history: list[tuple[str, list[Row]]], loose_limit: int, segment_limit: int
) -> None:
    expected: dict[str, list[dict[str, object]]] = {"epochs": [], "predictions": [], "data": []}
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOOSE_LIMIT", loose_limit)
        patch.setattr(module, "SEGMENT_LIMIT", segment_limit)
        patch.setattr("os.fsync", lambda descriptor: None)
        ledger = Ledger.open(Path(name))
        for table, rows in history:
            number = ledger.commit(table, rows)
            expected[table] += to_table(table, rows, number).to_pylist()
        view = read_ledger(Path(name))
    assert {table: view.tables[table].to_pylist() for table in expected} == expected
    assert view.problems == ()


def test_small_commits_are_rolled_into_few_files(tmp_path: Path, small_limits: None, no_fsync: None) -> None:
    ledger = Ledger.open(tmp_path)
    commit_epochs(ledger, range(100))
    assert epochs_in(tmp_path) == list(range(100))
    assert len(files(tmp_path)) <= module.LOOSE_LIMIT + module.SEGMENT_LIMIT
    assert read(tmp_path, "epochs")["commit_number"].to_pylist() == list(range(1, 101))


def committed_until_killed(folder: Path, kill_at: int) -> tuple[int, int]:
    """Commits 14 epochs and is killed at a step; returns how many commits returned and how many steps were taken."""
    steps = count(1)

    def step(name: str) -> None:
        if next(steps) == kill_at:
            raise Killed(name)

    done = 0
    with listening(step), suppress(Killed):
        ledger = Ledger.open(folder)
        for number in range(14):
            ledger.commit("epochs", [epoch_row(epoch=number)])
            done = number + 1
    return done, next(steps) - 1


def test_killed_between_any_two_steps_nothing_is_lost_or_doubled(
    tmp_path: Path, small_limits: None, no_fsync: None
) -> None:
    _, step_count = committed_until_killed(tmp_path / "whole", 0)
    assert step_count >= 60
    for kill_at in range(1, step_count + 1):
        folder = tmp_path / str(kill_at)
        done, _ = committed_until_killed(folder, kill_at)
        kept = epochs_in(folder)
        assert kept in (list(range(done)), list(range(done + 1))), kill_at
        ledger = Ledger.open(folder)
        commit_epochs(ledger, range(len(kept), 14))
        view = read_ledger(folder)
        assert view.tables["epochs"]["epoch"].to_pylist() == list(range(14)), kill_at
        assert view.problems == ()
        assert not list(folder.glob(".tmp-*"))


def test_a_temporary_file_left_by_a_kill_is_removed_and_counted(tmp_path: Path) -> None:
    def kill(name: str) -> None:
        if name == "commit of epochs synced":
            raise Killed

    with listening(kill), pytest.raises(Killed):
        Ledger.open(tmp_path).commit("epochs", [epoch_row()])
    assert len(list(tmp_path.glob(".tmp-*"))) == 1
    assert epochs_in(tmp_path) == []
    assert Ledger.open(tmp_path).removed_files == 1
    assert list(tmp_path.iterdir()) == []


def damage_cases(data: bytes) -> dict[str, bytes]:
    """A file cut short at several lengths and with one bit flipped at every 7th byte."""
    cuts = {f"cut to {length}": data[:length] for length in (0, 1, len(data) // 2, len(data) - 1)}
    flips = {f"flipped at {at}": data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :] for at in range(0, len(data), 7)}
    return cuts | flips


def test_f10_every_damage_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    commit_epochs(Ledger.open(tmp_path), range(3))
    path = sorted(tmp_path.iterdir())[1]
    data = path.read_bytes()
    for case, damaged in damage_cases(data).items():
        path.write_bytes(damaged)
        view = read_ledger(tmp_path)
        assert view.tables["epochs"]["epoch"].to_pylist() == [0, 2], case
        assert [path.name in problem for problem in view.problems] == [True], case
    assert len(files(tmp_path)) == 3


def test_opening_sets_damaged_files_aside_and_never_reuses_their_number(tmp_path: Path) -> None:
    commit_epochs(Ledger.open(tmp_path), range(3))
    last = sorted(tmp_path.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-9])
    ledger = Ledger.open(tmp_path)
    assert (tmp_path / "_damaged" / last.name).is_file()
    assert [last.name in problem for problem in ledger.problems] == [True]
    again = Ledger.open(tmp_path)
    assert again.commit("epochs", [epoch_row(epoch=9)]) == 4
    view = read_ledger(tmp_path)
    assert view.tables["epochs"]["epoch"].to_pylist() == [0, 1, 9]
    assert [last.name in problem for problem in view.problems] == [True]


def test_a_file_damaged_under_the_writer_does_not_spoil_a_segment(tmp_path: Path, small_limits: None) -> None:
    ledger = Ledger.open(tmp_path)
    commit_epochs(ledger, range(3))
    victim = sorted(tmp_path.iterdir())[1]
    victim.write_bytes(b"")
    commit_epochs(ledger, range(3, 6))
    assert epochs_in(tmp_path) == [0, 2, 3, 4, 5]
    assert [victim.name in problem for problem in read_ledger(tmp_path).problems] == [True]
    assert ledger.problems == read_ledger(tmp_path).problems


def test_a_damaged_segment_gives_way_to_commits_not_yet_removed(tmp_path: Path, small_limits: None) -> None:
    def kill(name: str) -> None:
        if name == "segment of epochs in its folder":
            raise Killed

    with listening(kill), pytest.raises(Killed):
        commit_epochs(Ledger.open(tmp_path), range(30))
    [segment] = tmp_path.glob("*-*-epochs-*.arrow")
    assert epochs_in(tmp_path) == [0, 1, 2, 3]
    segment.write_bytes(segment.read_bytes()[:-1])
    assert epochs_in(tmp_path) == [0, 1, 2, 3]
    Ledger.open(tmp_path)
    assert epochs_in(tmp_path) == [0, 1, 2, 3]


def test_a_full_disk_loses_no_commit_and_writing_goes_on_once_there_is_room(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    commit_epochs(ledger, range(2))
    with largest_file(500), pytest.raises(StorageError, match="bytes needed"):
        commit_epochs(ledger, [2])
    assert epochs_in(tmp_path) == [0, 1]
    commit_epochs(ledger, [2])
    assert epochs_in(tmp_path) == [0, 1, 2]
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_row_that_does_not_fit_is_refused_and_uses_no_number(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    with pytest.raises(ValueError, match="null"):
        ledger.commit("epochs", [epoch_row(val_loss=None)])
    assert files(tmp_path) == {}
    assert ledger.commit("epochs", [epoch_row()]) == 1


def test_columns_younger_than_a_file_are_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_epochs(Ledger.open(tmp_path), range(2))
    wider = schema("epochs").append(pa.field("energy_joules", pa.float64()))
    monkeypatch.setattr(schemas, "schema", lambda table: wider if table == "epochs" else schema(table))
    rows = read(tmp_path, "epochs")
    assert rows["energy_joules"].to_pylist() == [None, None]
    assert rows["epoch"].to_pylist() == [0, 1]


def test_an_absent_ledger_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        read_ledger(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_beside_the_writer_sees_a_whole_past(tmp_path: Path, small_limits: None, no_fsync: None) -> None:
    ledger = Ledger.open(tmp_path)
    done = 0

    def write() -> None:
        nonlocal done
        for number in range(200):
            ledger.commit("epochs", [epoch_row(epoch=number)])
            done = number + 1

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        before = done
        seen = epochs_in(tmp_path)
        assert seen == list(range(len(seen)))
        assert len(seen) >= before
    writer.join()
    assert epochs_in(tmp_path) == list(range(200))


def test_a_listing_overtaken_by_a_segment_is_taken_again(
    tmp_path: Path, small_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit_epochs(Ledger.open(tmp_path), range(4))
    assert len(files(tmp_path)) == 1
    (tmp_path / "other").mkdir()
    Ledger.open(tmp_path / "other").commit("epochs", [epoch_row(epoch=0)])
    listing = module._list
    overtaken = [listing(tmp_path / "other")]  # names a listing had met before the segment took their rows
    monkeypatch.setattr(module, "_list", lambda folder: overtaken.pop() if overtaken else listing(folder))
    assert epochs_in(tmp_path) == [0, 1, 2, 3]
    assert overtaken == []


WRITER = """
import sys
from pathlib import Path
from itertools import count
from raytl.results import ledger
from tests.rows import epoch_row
ledger.LOOSE_LIMIT = 8
writer = ledger.Ledger.open(Path(sys.argv[1]))
for number in count():
    writer.commit("epochs", [epoch_row(epoch=number)])
    print(number, flush=True)
"""


def run_and_kill(folder: Path, is_enough: Callable[[int], bool]) -> int:
    """Runs a writer in its own process and kills it while it writes; returns how many commits it told of."""
    root = Path(__file__).parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(root)},
    )
    assert process.stdout
    told = 0
    for line in process.stdout:
        told = int(line) + 1
        if is_enough(told):
            process.kill()
    process.wait()
    return told


@pytest.mark.parametrize("least", [3, 20, 57])
def test_a_killed_process_loses_no_commit_it_told_of(tmp_path: Path, least: int) -> None:
    told = run_and_kill(tmp_path, lambda done: done >= least)
    seen = epochs_in(tmp_path)
    assert told >= least
    assert seen in (list(range(told)), list(range(told + 1)))
