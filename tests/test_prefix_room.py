"""Making room: the least valuable go first, held ones never, what dead processes left goes anyway."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raytl.train.prefix import PrefixKey
from raytl.train.prefix_entry import DRAFT, FACTS, FACTS_BYTES, ROWS, Draft, open_entry
from raytl.train.prefix_room import Kept, choose_evicted, draft_bytes, kept_entries, make_room, remove_entry
from raytl.train.prefix_rows import layout_of
from tests.prefixes import numbered

ENTRIES = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 5), st.integers(0, 5)), max_size=12)


def entry(folder: Path, key: PrefixKey, seconds: float, rows: int = 4) -> Path:
    """An entry of `rows` rows of 400 bytes that took `seconds`."""
    values = torch.zeros(rows, 100)
    draft = Draft(folder, key, layout_of(values), rows)
    draft.append(layout_of(values).encode(values), seconds)
    draft.seal()
    draft.publish()
    return folder / key.name


@given(entries=ENTRIES, too_many=st.integers(-5, 400))
def test_the_lowest_values_go_and_no_more_than_needed(entries: list[tuple[int, int, int]], too_many: int) -> None:
    kept = [Kept(Path(str(i)), size, float(value), made) for i, (size, value, made) in enumerate(entries)]
    chosen = choose_evicted(kept, too_many)
    if chosen is None:
        assert sum(each.bytes for each in kept) < too_many
        return
    left = [each for each in kept if each not in chosen]
    assert sum(each.bytes for each in chosen) >= too_many
    assert all((one.value, one.made_ns) <= (other.value, other.made_ns) for one in chosen for other in left)
    assert sum(each.bytes for each in chosen[:-1]) < too_many or not chosen


def test_what_was_cheap_to_compute_goes_first_older_ones_before_newer(tmp_path: Path) -> None:
    paths = [entry(tmp_path, numbered(i), seconds) for i, seconds in enumerate([9.0, 1.0, 5.0, 1.0])]
    one = 1600 + FACTS_BYTES
    assert {each.path for each in kept_entries(tmp_path)} == set(paths)
    assert make_room(tmp_path, 4 * one, one)
    assert [path.exists() for path in paths] == [True, False, True, True]
    assert make_room(tmp_path, 4 * one, 2 * one)
    assert [path.exists() for path in paths] == [True, False, True, False]


def test_nothing_goes_where_it_would_not_be_enough(tmp_path: Path) -> None:
    path = entry(tmp_path, numbered(0), 1.0)
    assert not make_room(tmp_path, 10_000, 10_001)
    assert path.exists()


def test_an_exclusive_lock_is_asked_of_a_file_that_is_open_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As NFS demands it (flock(2), "NFS details"), where a lock of a file opened for reading alone gives EBADF."""
    locked, modes = fcntl.flock, list[int]()

    def flock(file: int, operation: int) -> None:
        mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if operation & fcntl.LOCK_EX:
            modes.append(mode)
        if operation & fcntl.LOCK_EX and mode == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        locked(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    path = entry(tmp_path, numbered(0), 1.0)
    assert make_room(tmp_path, 2000, 2000) and not path.exists()
    assert modes and os.O_RDONLY not in modes


def test_what_another_user_has_stored_is_not_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = entry(tmp_path, numbered(0), 1.0), os.open

    def refuse(name: Path, flags: int) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return opened(name, flags)

    monkeypatch.setattr("raytl.train.prefix_room.os.open", refuse)
    assert not make_room(tmp_path, 2000, 2000) and path.exists()


def test_what_is_held_stays_until_it_is_let_go(tmp_path: Path) -> None:
    path = entry(tmp_path, numbered(0), 1.0)
    held = open_entry(path, numbered(0))
    assert held is not None
    assert not make_room(tmp_path, 8000, 8000)
    copy = held.to("cpu")
    del held
    assert make_room(tmp_path, 8000, 8000)
    assert not path.exists() and len(copy) == 4


def test_a_removed_entry_is_still_read_by_who_has_it(tmp_path: Path) -> None:
    path = entry(tmp_path, numbered(0), 1.0)
    held = open_entry(path, numbered(0))
    remove_entry(path)
    assert held is not None and held.batch(torch.arange(4).numpy()).tolist() == [[0.0] * 100] * 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lost", [ROWS, FACTS])
def test_an_entry_that_has_lost_a_file_goes_first(lost: str, tmp_path: Path) -> None:
    broken, whole = (entry(tmp_path, numbered(i), 1.0) for i in range(2))
    (broken / lost).unlink()
    assert make_room(tmp_path, 12_000, 6000)
    assert (broken.exists(), whole.exists()) == (False, True)


def test_drafts_of_the_living_count_and_those_of_the_dead_go(tmp_path: Path) -> None:
    layout = layout_of(torch.zeros(1, 100))
    alive = Draft(tmp_path, numbered(0), layout, 50)
    dead = tmp_path / f"{DRAFT}dead"
    gone = tmp_path / ".gone-1"
    for folder in (dead, gone):
        folder.mkdir()
        (folder / ROWS).write_bytes(b"x" * 100)
    assert draft_bytes(tmp_path) == 50 * 400 + FACTS_BYTES
    assert not dead.exists() and not gone.exists()
    alive.discard()
    assert draft_bytes(tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9)), min_size=1, max_size=6), limit=st.integers(1, 8)
)
def test_never_above_the_limit(
    sizes: list[tuple[int, int]], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("room")
    limit_bytes = limit * 10_000
    for number, (rows, seconds) in enumerate(sizes):
        before = {each.path: each.value for each in kept_entries(folder)}
        if make_room(folder, limit_bytes, rows * 400 + FACTS_BYTES):
            entry(folder, numbered(number), float(seconds), rows)
        after = {each.path for each in kept_entries(folder)}
        lost = [value for path, value in before.items() if path not in after]
        assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= limit_bytes
        assert all(before[path] >= max(lost, default=0.0) for path in after & before.keys())
