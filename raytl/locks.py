"""Locks on files that the kernel lets go of however their owner dies."""

from __future__ import annotations

import fcntl
from typing import IO, Any

from raytl.errors import StorageError


def try_lock(file: IO[Any], remedy: str) -> bool:
    """Locks an open file for this process, or says that another one has locked it.

    Raises:
        StorageError: its disk has no locks, as some network disks have none; `remedy` says what to do.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StorageError(
            f"{file.name}: cannot be locked ({error.strerror or error}), so two processes could write there at once; "
            f"mount the disk with locks (flock), or {remedy}"
        ) from error
    return True
