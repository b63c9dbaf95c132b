"""Ctrl-C and SIGTERM: the first lets a run end in order, the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # the exit code of an interrupted command, after the shells' 128 + SIGINT
STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def orderly(last_words: Callable[[], str]) -> Iterator[None]:
    """Within the block the first of these signals raises KeyboardInterrupt in the main thread.

    While that is under way, a further one prints `last_words()` and ends the process with exit code 130; what a study
    has recorded stands, since every commit is whole. Outside the main thread, where Python takes no signals, nothing
    changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stop = _Stop(last_words)
    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def unchanged() -> Iterator[None]:
    """Keeps the handlers of these signals as they are, whatever a library does to them within the block."""
    before = {number: signal.getsignal(number) for number in STOPS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class _Stop:
    def __init__(self, last_words: Callable[[], str]) -> None:
        self._last_words = last_words
        self._asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            print(self._last_words(), file=sys.stderr, flush=True)
            os._exit(INTERRUPTED)
        self._asked = True
        raise KeyboardInterrupt
