"""Whether a machine keeps decoded pictures: in a store where it has room, else they are decoded as they are read.

Runs are the same either way (`raytl.data.pixels`); a store is faster, since each picture is decoded once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from raytl.data.album import Album
from raytl.data.store import FitData, build_store, open_data, open_files, pixel_bytes, store_bytes, store_path
from raytl.estimate import size_text
from raytl.machine import free_bytes
from raytl.train.prefix_lock import locked, writing

STORE_SHARE = 0.8  # chosen: of the free disk; checkpoints and what frozen stages make of pictures need room, too
_LOCK = ".pictures"


@dataclass(frozen=True)
class Room:
    """The disk of a cache: bytes that are free, that stores take already, and that these may take (None: no limit)."""

    free_bytes: int
    kept_bytes: int
    limit_bytes: int | None = None

    def fits(self, need_bytes: int) -> bool:
        """Whether a store of so many bytes may be made."""
        within = self.limit_bytes is None or self.kept_bytes + need_bytes <= self.limit_bytes
        return within and need_bytes <= self.free_bytes * STORE_SHARE

    def __str__(self) -> str:
        free = f"{size_text(self.free_bytes)} free"
        if self.limit_bytes is None:
            return f"{free} ({STORE_SHARE:.0%} may be used)"
        return f"{free}, {size_text(self.kept_bytes)} of at most {size_text(self.limit_bytes)} taken"

    def less(self, need_bytes: int) -> Room:
        """The disk with a store of so many bytes more."""
        return Room(self.free_bytes - need_bytes, self.kept_bytes + need_bytes, self.limit_bytes)


@dataclass(frozen=True)
class Keeping:
    """What becomes of pictures of one size: stored already, to be stored, or (neither) decoded as they are read.

    `room` is the disk as it is found when their turn comes.
    """

    resize: int
    need_bytes: int
    there: bool
    room: Room

    @property
    def stored(self) -> bool:
        """Whether there is, or will be, a store of them."""
        return self.there or self.room.fits(self.need_bytes)

    @property
    def missing_bytes(self) -> int:
        """What is still to be written."""
        return self.need_bytes if self.stored and not self.there else 0

    def sentence(self, threads: int) -> str:
        """Why they are not stored, for a person; so many threads of each worker decode them."""
        return (
            f"pictures of {self.resize} pixels: {size_text(self.need_bytes)} would be needed, {self.room}: decoded as "
            f"they are read, {threads} thread{'s' * (threads > 1)} per worker"
        )


def room_of(folder: Path, limit_bytes: int | None) -> Room:
    """The disk of the cache `folder` as it is now."""
    return Room(free_bytes(folder), pixel_bytes(folder), limit_bytes)


def foresee(album: Album, resizes: Iterable[int], folder: Path, limit_bytes: int | None) -> list[Keeping]:
    """What `keep` will do with the pictures of each size, if it is asked for the smallest first."""
    room, foreseen = room_of(folder, limit_bytes), list[Keeping]()
    for resize in sorted(set(resizes)):
        there = store_path(album, resize, folder).is_dir()
        foreseen.append(Keeping(resize, store_bytes(album, resize), there, room))
        room = room.less(foreseen[-1].missing_bytes)
    return foreseen


def keep(album: Album, resize: int, folder: Path, limit_bytes: int | None = None) -> FitData:
    """The splits of `album` over a store in `folder` where there is one or room for one, else over the files.

    Of several processes one makes the store, the others wait for it.

    Raises:
        DataError: where a store is made and a file changed or vanished since the scan.
        StorageError: where the folder cannot be written, or the disk fills up all the same.
    """
    store = store_path(album, resize, folder)
    if not store.is_dir():
        with writing(folder, 0):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / _LOCK):
            if room_of(folder, limit_bytes).fits(store_bytes(album, resize)):
                build_store(album, resize, folder)
    return open_data(album, store) if store.is_dir() else open_files(album, resize)
