"""Lock files: one holder at a time, nothing left behind, and errors that say what to do."""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raytl.errors import StorageError
from raytl.train.prefix_lock import locked, still_named, writing


def test_one_holder_at_a_time_and_no_file_left(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(25):
            with locked(tmp_path / "lock"):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.0002)
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert most == [1] * 100
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_released_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path / "lock"):
        raise RuntimeError
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"), locked(tmp_path / "nowhere" / "lock"):
        pass


def test_a_lock_that_is_refused_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def refuse(file: int, _: int) -> None:
        opened.append(file)
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StorageError, match="No locks available"), locked(tmp_path / "lock"):
        pass
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_a_full_disk_is_told_with_the_bytes_needed(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"the disk is full, 1,234 bytes needed; make room"), writing(tmp_path, 1234):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_replaced_file_is_no_longer_the_named_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    with path.open() as file:
        assert still_named(path, file.fileno())
        path.unlink()
        assert not still_named(path, file.fileno())
        path.touch()
        assert not still_named(path, file.fileno())
