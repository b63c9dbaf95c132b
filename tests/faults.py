"""Faults for tests: a kill between two steps, and a disk that is full."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the package catches it, so nothing is tidied up."""


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Makes the kernel refuse longer files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
