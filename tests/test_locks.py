"""Locks on files: one holder at a time, and disks that have none."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from raytl.errors import StorageError
from raytl.locks import try_lock


def test_one_of_two_holders_has_the_lock_until_it_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as first, path.open("w") as second:
        assert try_lock(first, "wait") and not try_lock(second, "wait")
        fcntl.flock(first, fcntl.LOCK_UN)
        assert try_lock(second, "wait")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_said_with_the_file_and_the_remedy(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (tmp_path / "lock").open("w") as file, pytest.raises(StorageError) as caught:
        try_lock(file, "give another folder with --out")
    assert all(part in str(caught.value) for part in (file.name, "no locks here", "give another folder with --out"))
