"""Named moments between two writes, at which a test can end the process or refuse the next write.

A real run has no listener, and `reached` does nothing. The idea is that of fail points as FreeBSD's kernel has them
(fail(9)): what must be survivable between two writes is named where it happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str], None]
_listeners: list[Listener] = []


def reached(step: str) -> None:
    """Says that the process has come to `step`; a listener may raise, as a disk does or a kill."""
    for listener in _listeners:
        listener(step)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block `listener` is called with each step that this process reaches, in any thread."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
