"""Where nobody reads any more what a command prints: in `raytl list STUDY | head`, `head` has all that it wants."""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from typing import IO

UNREAD = 141  # the exit code of a command whose reader has gone, after the shells' 128 + SIGPIPE


def silence_unread() -> bool:
    """Whether standard output or standard error has lost its reader; what is yet to be printed there goes nowhere."""
    unread = [stream for stream in (sys.stdout, sys.stderr) if _is_unread(stream)]
    for stream in unread:
        silence(stream)
    return bool(unread)


def silence(stream: IO[str]) -> None:
    """Sends what is printed there, and what waits to be, to nowhere: else Python complains when it ends."""
    with suppress(OSError, ValueError):  # closed, or not the system's
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def _is_unread(stream: IO[str] | None) -> bool:
    with suppress(OSError, ValueError, AttributeError):
        end = select.poll()
        end.register(stream.fileno(), 0)  # type: ignore[union-attr]
        return any(state & select.POLLERR for _, state in end.poll(0))
    return False
