"""The prefix store: computed once, never half there, bounded, and only where it pays."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raytl.train.prefix_entry import FACTS_BYTES, ROWS, Draft
from raytl.train.prefix_store import Activations, PrefixStore
from tests.prefixes import BATCH, KEY, PLENTY, Clock, Source, built, bytes_in, numbered
from tests.prefixes import ROWS as COUNT

ALL = np.arange(COUNT)
ONE_BYTES = COUNT * 6 * 4 + FACTS_BYTES


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> PrefixStore:
    return PrefixStore(tmp_path / "store", PLENTY, clock)


def only(entries: object) -> Activations:
    """The single entry of a decision."""
    assert isinstance(entries, list) and len(entries) == 1
    return entries[0]


def test_what_was_computed_is_read_from_then_on(store: PrefixStore, clock: Clock) -> None:
    source = Source(clock)
    assert store.get(KEY) is None
    entry = only(built(store, KEY, source).entries)
    torch.testing.assert_close(entry.batch(ALL[::-1].copy()), source.values[0].flip(0), rtol=0, atol=0)
    assert source.calls == 3
    assert built(store, KEY, source).entries is not None
    found = PrefixStore(store.folder, PLENTY).get(KEY)
    assert found is not None and torch.equal(found.batch(ALL), source.values[0])
    assert source.calls == 3
    assert [path.name for path in store.folder.iterdir()] == [KEY.name]


def test_several_depths_are_captured_in_one_pass(store: PrefixStore, clock: Clock) -> None:
    source = Source(clock, widths=(6, 3, 1))
    keys = [replace(KEY, depth=depth) for depth in (1, 2, 3)]
    decision = store.build(keys, COUNT, source, BATCH, 10)
    assert decision.entries is not None and source.calls == 3
    for entry, values in zip(decision.entries, source.values, strict=True):
        assert torch.equal(entry.batch(ALL), values)


def test_only_missing_depths_are_written(store: PrefixStore, clock: Clock) -> None:
    source = Source(clock, widths=(6, 3))
    keys = [replace(KEY, depth=depth) for depth in (1, 2)]
    assert store.build(keys[:1], COUNT, Source(clock), BATCH, 10).entries is not None
    inode = (store.folder / keys[0].name / ROWS).stat().st_ino
    decision = store.build(keys, COUNT, source, BATCH, 10)
    assert decision.entries is not None
    assert torch.equal(decision.entries[1].batch(ALL), source.values[1])
    assert (store.folder / keys[0].name / ROWS).stat().st_ino == inode


def test_batches_are_copies(store: PrefixStore, clock: Clock) -> None:
    source = Source(clock)
    entry = only(built(store, KEY, source).entries)
    entry.batch(ALL).zero_()
    assert torch.equal(entry.batch(ALL), source.values[0])
    found = store.get(KEY)
    assert found is not None and torch.equal(found.batch(ALL), source.values[0])


@pytest.mark.parametrize("size", [0, 100, COUNT * 24])
def test_damaged_entries_are_removed_and_built_again(size: int, store: PrefixStore, clock: Clock) -> None:
    source = Source(clock)
    assert built(store, KEY, source).entries is not None
    path = store.folder / KEY.name / ROWS
    data = path.read_bytes()
    path.write_bytes(data[:size] if size < len(data) else data[:-1] + bytes([data[-1] ^ 1]))
    assert store.get(KEY) is None
    assert not (store.folder / KEY.name).exists()
    entry = only(built(store, KEY, source).entries)
    assert torch.equal(entry.batch(ALL), source.values[0])
    assert source.calls == 6


class _Crash(BaseException):
    """Stands for a process that ends at this place."""


@pytest.mark.parametrize("step", ["append", "seal", "publish"])
def test_a_build_that_breaks_off_leaves_nothing(
    step: str, store: PrefixStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise _Crash

    with monkeypatch.context() as patch, pytest.raises(_Crash):
        patch.setattr(Draft, step, crash)
        built(store, KEY, Source(clock))
    assert list(store.folder.iterdir()) == []
    assert built(store, KEY, Source(clock)).entries is not None


@pytest.mark.parametrize("step", ["append", "seal", "publish"])
def test_what_a_killed_process_left_is_not_read_and_goes(
    step: str, store: PrefixStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process removes nothing, and its locks are gone."""

    def crash(*_: object) -> None:
        raise _Crash

    with monkeypatch.context() as patch, pytest.raises(_Crash):
        patch.setattr(Draft, step, crash)
        patch.setattr(Draft, "discard", lambda draft: os.close(draft._file))
        built(store, KEY, Source(clock))
    assert len(list(store.folder.iterdir())) == 1
    assert store.get(KEY) is None
    assert built(store, KEY, Source(clock)).entries is not None
    assert [path.name for path in store.folder.iterdir()] == [KEY.name]


def test_an_error_while_computing_is_passed_on(store: PrefixStore) -> None:
    def fail(rows: np.ndarray) -> Iterator[Tensor]:
        raise FileNotFoundError("pixels.bin")
        yield

    with pytest.raises(FileNotFoundError):
        store.build([KEY], COUNT, fail, BATCH, 10)
    assert list(store.folder.iterdir()) == []


def test_what_does_not_pay_is_not_stored_and_not_tried_again(store: PrefixStore, clock: Clock) -> None:
    source = Source(clock, seconds=0.0)
    for _ in range(2):
        decision = store.build([KEY], COUNT, source, BATCH, 50)
        assert decision.entries is None
        assert "behind stage 2 of some_net (32 px, in view 1) are not stored: computing takes 0 ms" in decision.reason
        assert "does not pay for 50 uses" in decision.reason
    assert source.calls == 3
    assert list(store.folder.iterdir()) == []


def test_one_use_never_pays_and_the_next_call_may_still_decide_otherwise(store: PrefixStore, clock: Clock) -> None:
    source = Source(clock)
    assert store.build([KEY], COUNT, source, BATCH, 1).entries is None
    assert store.build([KEY], COUNT, source, BATCH, 1.5).entries is not None


def test_a_depth_that_pays_is_stored_though_another_does_not(store: PrefixStore, clock: Clock) -> None:
    keys = [replace(KEY, depth=depth) for depth in (0, 1)]
    source = Source(clock, widths=(6, 3))

    def free_then_dear(rows: np.ndarray) -> Iterator[Tensor]:
        yield source.values[0][rows]
        clock.now += 1
        yield source.values[1][rows]

    decision = store.build(keys, COUNT, free_then_dear, BATCH, 10)
    assert decision.entries is None and "behind stage 0" in decision.reason and "behind stage 1" not in decision.reason
    stored = store.get(keys[1])
    assert store.get(keys[0]) is None
    assert stored is not None and torch.equal(stored.batch(ALL), source.values[1])


def test_what_can_never_fit_is_told_and_takes_nothing_away(tmp_path: Path, clock: Clock) -> None:
    store = PrefixStore(tmp_path, ONE_BYTES, clock)
    assert built(store, numbered(0), Source(clock)).entries is not None
    decision = built(store, numbered(1), Source(clock, widths=(7,)))
    assert decision.entries is None
    assert decision.reason.endswith(f"{ONE_BYTES + 40:,} bytes do not fit into the cache's {ONE_BYTES:,}")
    assert store.get(numbered(0)) is not None


def test_entries_go_in_order_of_value_and_never_those_in_use(tmp_path: Path, clock: Clock) -> None:
    store = PrefixStore(tmp_path, 3 * ONE_BYTES, clock)
    held = only(built(store, numbered(0), Source(clock, seconds=1.0)).entries)  # the least valuable, but in use
    for number, seconds in ((1, 3.0), (2, 2.0)):
        assert built(store, numbered(number), Source(clock, seconds)).entries is not None
    assert built(store, numbered(3), Source(clock, seconds=9.0)).entries is not None
    assert [store.get(numbered(number)) is not None for number in range(4)] == [True, True, False, True]
    assert len(held) == COUNT


def test_where_all_are_in_use_nothing_is_stored_until_one_is_let_go(tmp_path: Path, clock: Clock) -> None:
    store, source = PrefixStore(tmp_path, ONE_BYTES, clock), Source(clock)
    held = only(built(store, numbered(0), Source(clock)).entries)
    assert "do not fit" in built(store, numbered(1), source).reason
    assert len(held) == COUNT
    del held
    assert built(store, numbered(1), source).entries is not None
    assert store.get(numbered(0)) is None


def test_of_several_depths_the_most_valuable_that_fit_are_stored(tmp_path: Path, clock: Clock) -> None:
    store = PrefixStore(tmp_path, ONE_BYTES, clock)
    keys = [replace(KEY, depth=depth) for depth in (1, 2)]
    decision = store.build(keys, COUNT, Source(clock, widths=(6, 3)), BATCH, 10)
    assert decision.entries is None and "behind stage 1" in decision.reason
    assert [store.get(key) is not None for key in keys] == [False, True]


@settings(max_examples=15, deadline=None)
@given(
    entries=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 9)), min_size=1, max_size=7),
    limit=st.integers(1, 60_000),
)
def test_never_above_the_limit_and_the_most_valuable_survive(
    entries: list[tuple[int, int]], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a list of (value, age) in memory."""
    clock, folder = Clock(), tmp_path_factory.mktemp("store")
    store = PrefixStore(folder, limit, clock)
    expected: dict[int, tuple[float, int]] = {}  # number -> value, bytes
    for number, (width, seconds) in enumerate(entries):
        need = COUNT * width * 4 + FACTS_BYTES
        decision = built(store, numbered(number), Source(clock, float(seconds), (width,)))
        assert (decision.entries is not None) == (need <= limit)
        del decision
        while need <= limit < need + sum(size for _, size in expected.values()):
            del expected[min(expected, key=lambda each: (expected[each][0], each))]
        if need <= limit:
            expected[number] = (seconds / width, need)
        assert bytes_in(folder) <= limit
        assert {number for number in range(len(entries)) if store.get(numbered(number)) is not None} == set(expected)


@pytest.mark.parametrize("deep", [False, True])
def test_of_two_that_race_one_computes_and_both_read(deep: bool, tmp_path: Path) -> None:
    """Threads with a store of their own lock each other out as processes do: a lock belongs to an open file."""
    sources = [Source(Clock(), widths=(6, 3)[: 1 + deep]) for _ in range(2)]
    keys = [replace(KEY, depth=depth) for depth in (1, 2)][: 1 + deep]

    def slow(source: Source, rows: np.ndarray) -> Iterator[Tensor]:
        time.sleep(0.01)
        yield from source(rows)

    def run(source: Source) -> list[Tensor]:
        store = PrefixStore(tmp_path, PLENTY, source.clock)
        decision = store.build(keys, COUNT, lambda rows: slow(source, rows), BATCH, 10)
        assert decision.entries is not None
        return [entry.batch(ALL) for entry in decision.entries]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, sources)
    assert sorted(source.calls for source in sources) == [0, 3]
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def _build_in_a_process(folder: Path, calls: Path) -> None:
    clock = Clock()
    source = Source(clock)

    def slow(rows: np.ndarray) -> Iterator[Tensor]:
        with calls.open("a") as file:
            file.write("x")
        time.sleep(0.05)
        yield from source(rows)

    decision = PrefixStore(folder, PLENTY, clock).build([KEY], COUNT, slow, BATCH, 10)
    assert torch.equal(only(decision.entries).batch(ALL), source.values[0])


def test_of_two_processes_one_computes_and_both_read(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    calls = tmp_path / "calls"
    workers = [context.Process(target=_build_in_a_process, args=(tmp_path / "store", calls)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert calls.read_text() == "xxx"


def test_a_process_that_holds_an_entry_keeps_it_from_going(tmp_path: Path, clock: Clock) -> None:
    store = PrefixStore(tmp_path / "store", ONE_BYTES, clock)
    assert built(store, numbered(0), Source(clock)).entries is not None
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()

    def hold() -> None:
        entry = PrefixStore(store.folder, ONE_BYTES).get(numbered(0))
        ready.set()
        done.wait(60)
        assert entry is not None

    worker = context.Process(target=hold)
    worker.start()
    assert ready.wait(60)
    assert "do not fit" in built(store, numbered(1), Source(clock)).reason
    done.set()
    worker.join(60)
    assert worker.exitcode == 0
    assert built(store, numbered(1), Source(clock)).entries is not None


def test_a_folder_that_cannot_be_made_is_a_reason_not_an_error(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").touch()
    decision = built(PrefixStore(tmp_path / "file" / "store", PLENTY, clock), KEY, Source(clock))
    assert decision.entries is None and "name another folder for the cache" in decision.reason


def test_a_full_disk_is_a_reason_and_leaves_nothing(
    store: PrefixStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    source = Source(clock)
    decision = built(store, KEY, source)
    assert decision.entries is None and "the disk is full" in decision.reason
    assert list(store.folder.iterdir()) == []
    monkeypatch.undo()
    assert built(store, KEY, source).entries is not None


def test_keys_of_two_passes_and_no_pictures(store: PrefixStore, clock: Clock) -> None:
    with pytest.raises(ValueError, match="several passes"):
        store.build([KEY, replace(KEY, view=2)], COUNT, Source(clock), BATCH, 10)
    assert store.build([KEY], 0, Source(clock), BATCH, 10).reason == "there are no pictures"


def own_memory_bytes() -> int:
    """What this process holds that is no file."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux how much memory a process holds")
def test_reading_activations_takes_no_memory_of_its_own(tmp_path: Path, clock: Clock) -> None:
    """They are pages of their file, which the kernel may drop: what bounds the disk bounds the memory, too."""
    store = PrefixStore(tmp_path / "store", 1_000_000_000, clock)
    wide = Source(clock, widths=(1_000_000,))  # ten pictures have 40 MB
    entry = only(built(store, KEY, wide).entries)
    entry.batch(ALL[:1])
    begin = own_memory_bytes()
    total = sum(float(entry.batch(ALL[row : row + 1]).double().sum()) for row in ALL)
    grown = own_memory_bytes() - begin
    assert total == pytest.approx(float(wide.values[0].double().sum()), rel=1e-6)
    assert grown < entry.bytes / 2, "one picture at a time, its copy in double precision included"
