"""What processes that share a prefix store agree on through its file system: locks, and errors that say what to do."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raytl.errors import StorageError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path`, which exists only while somebody holds or awaits it.

    Raises:
        StorageError: where it cannot be made.
    """
    while True:
        with writing(path, 0):
            file = _opened_and_locked(path)
        if still_named(path, file):
            break
        os.close(file)  # its last holder has removed it: what we have locked is no longer the lock
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _opened_and_locked(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except BaseException:
        os.close(file)
        raise
    return file


def still_named(path: Path, file: int) -> bool:
    """Whether the open `file` is still the one that `path` names."""
    try:
        return path.stat().st_ino == os.fstat(file).st_ino
    except FileNotFoundError:
        return False


@contextmanager
def writing(path: Path, need_bytes: int) -> Iterator[None]:
    """Turns the system's errors into one that says what to do.

    Raises:
        StorageError: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        problem = f"the disk is full, {need_bytes:,} bytes needed" if full else f"cannot be written ({error})"
        raise StorageError(f"{path}: {problem}; make room, or name another folder for the cache") from error
