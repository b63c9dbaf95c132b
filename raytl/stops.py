"""Ctrl-C and SIGTERM: the first lets a run end in order, which is said at once; the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130  # the exit code of an interrupted command, after the shells' 128 + SIGINT
STOPS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_SECONDS = 0.5  # chosen: how long the second signal lets the first words be finished; a lock may hold them up
_running: list[Callable[[], str]] = []  # the last words of the commands that run, the innermost last
_before_exit: list[Callable[[], object]] = []


@contextmanager
def orderly(last_words: Callable[[], str], first_words: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Within the block the first of these signals raises KeyboardInterrupt in the main thread.

    `first_words()` are said as soon as the signal is there, even while the main thread waits in a library. A further
    signal prints `last_words()` and ends the process with exit code 130; what a study has recorded stands, since every
    commit is whole. Outside the main thread, where Python takes no signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    spoken = threading.Event()
    stop = _Stop(last_words, spoken)
    before = {number: signal.signal(number, stop) for number in STOPS}
    _running.append(last_words)
    try:
        with _announced(first_words, spoken):
            yield
    finally:
        _running.remove(last_words)
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


def before_exit(action: Callable[[], object]) -> Callable[[], None]:
    """Has `action` done before a process is ended at once, such as showing the cursor again; returns how to undo it.

    It may be called in a signal handler and from any thread: it must not wait for a lock.
    """
    _before_exit.append(action)
    return lambda: _before_exit.remove(action) if action in _before_exit else None


def abandon(reason: str) -> None:
    """Ends the process at once, from any thread, with a reason and the command's last words; exit code 130.

    For when what the main thread waits for will not come.
    """
    words = _running[-1]() if _running else ""
    _exit_at_once(f"raytl: {reason}\n{words}")


def _exit_at_once(words: str) -> None:
    """Past all buffers and locks: the main thread may hold them."""
    for action in _before_exit:
        with suppress(OSError, ValueError):
            action()
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, RuntimeError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    with suppress(OSError):
        os.write(2, f"{words.rstrip()}\n".encode())
    os._exit(INTERRUPTED)


@contextmanager
def _announced(words: Callable[[], str], spoken: threading.Event) -> Iterator[None]:
    """Prints `words()` to standard error from a thread of its own when the first of these signals comes.

    Python's own handler has to wait until the main thread is back from whatever library it is in; the byte that the
    interpreter writes for each signal (`signal.set_wakeup_fd`) comes at once.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_announce, args=(reading, words, spoken), name="raytl-stops", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)  # the thread reads to the end, so that it has spoken before the last words
        thread.join()
        os.close(reading)


def _announce(reading: int, words: Callable[[], str], spoken: threading.Event) -> None:
    while read := os.read(reading, 1):
        if read[0] not in STOPS or spoken.is_set():
            continue
        if text := words():
            with suppress(OSError, ValueError):
                print(text, file=sys.stderr, flush=True)
        spoken.set()


class _Stop:
    def __init__(self, last_words: Callable[[], str], spoken: threading.Event) -> None:
        self._last_words, self._spoken = last_words, spoken
        self._asked = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            self._spoken.wait(PATIENCE_SECONDS)
            _exit_at_once(self._last_words())
        self._asked = True
        raise KeyboardInterrupt
