"""A folder that gets its name when it is whole, and folders that one process at a time may write to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from raytl.errors import StorageError
from raytl.locks import try_lock

FETCHING, UNPACKING, WRITING = PREFIXES = (".fetching-", ".unpacking-", ".writing-")
_LOCK = ".lock"


class _BusyError(StorageError):
    """A folder that another process holds."""


@contextmanager
def draft_of(target: Path, prefix: str = FETCHING) -> Iterator[Path]:
    """A folder beside `target`, in which its content is made; removed at the end, whatever happens.

    It holds a lock, so what is to get the name `target` is a folder within it. What killed processes left of drafts
    beside `target` is removed first; drafts of living ones stay.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    with ExitStack() as stack:
        draft = _held_draft(target, prefix, stack)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes drafts in `folder` that no living process works on."""
    for prefix in PREFIXES:
        for left in folder.glob(f"{prefix}*"):
            _remove_free(left)


def _held_draft(target: Path, prefix: str, stack: ExitStack) -> Path:
    """A draft that this process holds until the stack is closed."""
    while True:
        draft = Path(tempfile.mkdtemp(prefix=f"{prefix}{target.name}-", dir=target.parent))
        # Until it is held it looks like one that was left: another process may just be taking it away.
        with suppress(_BusyError, FileNotFoundError), ExitStack() as trial:
            trial.enter_context(_held_or_gone(draft))
            if (draft / _LOCK).exists():
                stack.push(trial.pop_all())
                return draft


@contextmanager
def _held_or_gone(draft: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(held(draft))
        except StorageError:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        yield


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process; the kernel lets go of it however the process dies.

    Raises:
        StorageError: another process holds it, or its disk has no locks.
    """
    with (folder / _LOCK).open("a") as file:
        if not try_lock(file, "use a folder on a disk of this machine"):
            raise _BusyError(f"{folder}: another process writes there; wait for it, or stop it")
        yield


def _remove_free(left: Path) -> None:
    try:
        with held(left):
            shutil.rmtree(left, ignore_errors=True)
    except (StorageError, OSError):
        return  # it is in use, or gone, or not ours to remove
