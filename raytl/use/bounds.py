"""What a request may ask of a server: bounds that are checked before anything is done, and the room for all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MEGABYTE = 1_000_000
RETRY_SECONDS = 1  # chosen: a full queue of small pictures is worked off in about that time


@dataclass(frozen=True)
class Bounds:
    """Bounds of one request, and of all that are served at once; all of them chosen."""

    most_bytes: int = 20 * MEGABYTE  # of a request's body; a telephone's picture has 2 to 12
    most_pictures: int = 16
    most_pixels: int = 50_000_000  # 150 MB as RGB; a header that says more is refused before anything is decoded
    body_seconds: float = 30.0  # a body that comes more slowly would keep others out
    answer_seconds: float = 60.0
    most_requests: int = 64  # at once, those whose bodies are under way included
    most_held_bytes: int = 512 * MEGABYTE  # of all bodies together


class RefusedError(Exception):
    """A request that is not answered as it asks: an HTTP status, and the value, the rule and the remedy."""

    def __init__(self, status: int, problem: str, retry_seconds: int | None = None) -> None:
        self.status, self.problem, self.retry_seconds = status, problem, retry_seconds
        super().__init__(problem)

    @classmethod
    def busy(cls, what: str) -> RefusedError:
        """What one is told who should come again soon."""
        return cls(503, f"{what}; send the request again after {RETRY_SECONDS} s", RETRY_SECONDS)


class Room:
    """How many requests, and how many bytes of bodies, are held at once. For one event loop: it takes no lock."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._requests = self._bytes = 0

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for one request, given back after the block.

        Raises:
            RefusedError: 503 where as many requests are held as may be.
        """
        if self._requests >= self._bounds.most_requests:
            raise RefusedError.busy(f"requests that are waiting: {self._requests}, as many as may")
        place = Place(self)
        self._requests += 1
        try:
            yield place
        finally:
            self._requests -= 1
            self._bytes -= place.held_bytes

    def hold(self, count: int) -> None:
        """Counts `count` more bytes.

        Raises:
            RefusedError: 503 where the bodies of all requests together would be too large.
        """
        if self._bytes + count > self._bounds.most_held_bytes:
            raise RefusedError.busy(f"waiting pictures take {self._bytes / MEGABYTE:.0f} MB, as much as may")
        self._bytes += count


class Place:
    """What one request holds of a room."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.held_bytes = 0

    def hold(self, count: int) -> None:
        """Takes `count` more bytes of the room; raises as `Room.hold`."""
        self._room.hold(count)
        self.held_bytes += count
