"""One entry on disk: whole under its key, or noticed to be anything else."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raytl.errors import StorageError
from raytl.train.prefix_entry import (
    FACTS,
    FACTS_BYTES,
    ROWS,
    SPARE_BYTES,
    DamagedEntryError,
    Draft,
    entry_bytes,
    open_entry,
)
from raytl.train.prefix_rows import RowLayout, layout_of
from tests.prefixes import KEY

VALUES = torch.randn(10, 4, 3, 3, generator=torch.Generator().manual_seed(1)).contiguous(
    memory_format=torch.channels_last
)
LAYOUT = layout_of(VALUES)


def write(folder: Path) -> Path:
    """An entry of VALUES, written in two parts."""
    draft = Draft(folder, KEY, LAYOUT, len(VALUES))
    draft.append(LAYOUT.encode(VALUES[:7]), 2.0)
    draft.append(LAYOUT.encode(VALUES[7:]), 0.5)
    assert open_entry(folder / KEY.name, KEY) is None
    draft.seal()
    assert open_entry(folder / KEY.name, KEY) is None
    draft.publish()
    return folder / KEY.name


def test_what_was_appended_is_what_is_read(tmp_path: Path) -> None:
    path = write(tmp_path)
    entry = open_entry(path, KEY)
    assert entry is not None
    torch.testing.assert_close(entry.batch(np.array([9, 0, 8])), VALUES[[9, 0, 8]], rtol=0, atol=0)
    assert (path / ROWS).stat().st_size == VALUES.numel() * 4
    assert sum(file.stat().st_size for file in path.iterdir()) <= entry_bytes(LAYOUT, 10)
    facts = json.loads((path / FACTS).read_text())
    assert (facts["seconds"], facts["count"], facts["key"]["backbone"]) == (2.5, 10, "some_net")


def test_a_map_cannot_be_written_to(tmp_path: Path) -> None:
    entry = open_entry(write(tmp_path), KEY)
    assert entry is not None and isinstance(entry._rows, np.ndarray)
    with pytest.raises(ValueError, match="read-only"):
        entry._rows[0] = 0


def _flip(path: Path) -> None:
    data = bytearray((path / ROWS).read_bytes())
    data[17] ^= 4
    (path / ROWS).write_bytes(data)


def _change(path: Path, name: str, value: object) -> None:
    facts = json.loads((path / FACTS).read_text())
    (path / FACTS).write_text(json.dumps({**facts, name: value}))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": _flip,
    "rows cut short": lambda path: os.truncate(path / ROWS, 100),
    "no rows at all": lambda path: os.truncate(path / ROWS, 0),
    "rows too long": lambda path: os.truncate(path / ROWS, 5000),
    "rows missing": lambda path: (path / ROWS).unlink(),
    "facts missing": lambda path: (path / FACTS).unlink(),
    "facts cut short": lambda path: os.truncate(path / FACTS, 40),
    "facts of another kind": lambda path: (path / FACTS).write_text("[]"),
    "facts of another version": lambda path: _change(path, "version", 0),
    "facts with a field too many": lambda path: _change(path, "color", "red"),
    "another key": lambda path: _change(path, "key", {"backbone": "other"}),
    "another count": lambda path: _change(path, "count", 9),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed(damage: str, tmp_path: Path) -> None:
    path = write(tmp_path)
    assert open_entry(path, KEY) is not None
    DAMAGES[damage](path)
    with pytest.raises(DamagedEntryError):
        open_entry(path, KEY)


def test_a_key_with_the_same_name_is_not_enough(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(DamagedEntryError, match="names another key"):
        open_entry(path, replace(KEY, weights="others"))


def test_a_checksum_is_taken_once_per_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls = write(tmp_path), []
    digest = hashlib.file_digest

    def counting(file: BufferedReader, name: str) -> object:
        calls.append(name)
        return digest(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    assert all(open_entry(path, KEY) is not None for _ in range(3))
    assert len(calls) == 1


def test_space_is_taken_before_anything_is_computed(tmp_path: Path) -> None:
    draft = Draft(tmp_path, KEY, LAYOUT, 1000)
    (folder,) = tmp_path.iterdir()
    state = (folder / ROWS).stat()
    assert state.st_size == 1000 * LAYOUT.row_bytes
    assert state.st_blocks * 512 >= state.st_size
    draft.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    layout = RowLayout((1 << 40,), "float32", False)
    with pytest.raises(StorageError, match=r"make room, or name another folder"):
        Draft(tmp_path, KEY, layout, 1 << 20)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("short", "fits"), [(0, True), (1, False)])
def test_the_last_of_a_disk_is_left_to_others(
    short: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10 * LAYOUT.row_bytes + SPARE_BYTES - short
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    if fits:
        assert open_entry(write(tmp_path), KEY) is not None
        return
    with pytest.raises(StorageError, match=f"the disk is full, {entry_bytes(LAYOUT, 10):,} bytes needed"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_file_systems_that_cannot_reserve_space_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: int, start: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert open_entry(write(tmp_path), KEY) is not None


def test_facts_fit_the_bytes_that_are_counted_for_them(tmp_path: Path) -> None:
    steps = ("crop", "flip", "jitter", "affine", "zoom", "blur", "randaugment")
    every = "+".join(f"{name}:0.12345678901,0.12345678901" for name in steps)
    key = replace(KEY, backbone="n" * 100, augment=every)
    draft = Draft(tmp_path, key, LAYOUT, 1)
    draft.append(LAYOUT.encode(VALUES[:1]), 1.0)
    draft.seal()
    draft.publish()
    assert (tmp_path / key.name / FACTS).stat().st_size <= FACTS_BYTES
