"""Whether the head of the cluster still answers: Ray's client waits a minute without a word, then ends the process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from raytl.stops import abandon

LOOK_SECONDS = 2.0  # chosen: between two looks, and how long one may take; twenty of them before a head counts as lost
LOST_SECONDS = 40.0  # chosen: a head that is restarted may come back; within a minute somebody should know


@contextmanager
def heard(host: str, port: int, lost: Callable[[str], None] = abandon) -> Iterator[None]:
    """Within the block, `lost` is called with a sentence once nobody has answered at `host:port` for long.

    Nothing can be asked of Ray any more by then, so the process is ended from another thread than the one that waits.
    """
    done = threading.Event()
    thread = threading.Thread(target=_watch, args=(host, port, done, lost), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `ray://host:port` or `host:port`; brackets of IPv6 are taken off."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return host.strip("[]"), int(port)


def _watch(host: str, port: int, done: threading.Event, lost: Callable[[str], None]) -> None:
    heard_at = time.monotonic()
    while not done.wait(LOOK_SECONDS):
        if _answers(host, port):
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at >= LOST_SECONDS:
            lost(f"the head of the Ray cluster at {host}:{port} has not answered for {LOST_SECONDS:.0f} s")
            return


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), LOOK_SECONDS).close()
    except OSError:
        return False
    return True
