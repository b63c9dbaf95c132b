"""One writer per study folder: the lock that a search holds while it runs."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from raytl.errors import StorageError
from raytl.locks import try_lock
from raytl.results.folder import StudyFolder

LOCK = ".lock"


def check_free(folder: StudyFolder) -> None:
    """Refuses a folder that another process writes to, before anything is imported or made.

    Raises:
        StorageError: another process holds it, which is named; or its disk has no locks.
    """
    path = folder.root / LOCK
    try:
        is_there = path.is_file()
    except OSError as error:
        raise StorageError(
            f"{folder.root}: cannot be looked into ({error.strerror or error}); give a folder that can be written "
            "with --out"
        ) from error
    if is_there:
        with _opened(path) as file:
            _take(file, folder)


@contextmanager
def locked(folder: StudyFolder) -> Iterator[None]:
    """Holds a folder that `create` made for this process; the kernel lets go of it however the process dies.

    Raises:
        StorageError: another process holds it, which is named; or the folder cannot be written or locked.
    """
    with _opened(folder.root / LOCK) as file:
        _take(file, folder)
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": _now()}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be opened ({error.strerror or error}); mend the folder") from error


def _take(file: TextIO, folder: StudyFolder) -> None:
    if not try_lock(file, "give a folder on a disk of this machine with --out"):
        file.seek(0)
        raise StorageError(
            f"{folder.root}: {_owner(file.read())} writes to this study; wait for it, stop it, or give another folder "
            "with --out"
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _owner(text: str) -> str:
    try:
        said = json.loads(text)
        return f"process {said['pid']} on {said['host']} (since {said['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
