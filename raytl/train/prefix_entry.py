"""One entry of the prefix store on disk: a folder with `rows.bin` (row after row) and `entry.json` (what they are).

An entry is written as a draft and appears under its name whole or not at all. Processes hold advisory locks (flock)
on `rows.bin`: whoever reads it a shared one for as long as it is mapped, whoever writes it an exclusive one. The
kernel drops them when a process dies, so that what nobody holds may be removed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import mmap
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from raytl.digest import sha256_of
from raytl.errors import StorageError
from raytl.results.folder import sync_folder
from raytl.steps import reached
from raytl.train.prefix import PrefixKey
from raytl.train.prefix_lock import still_named, writing
from raytl.train.prefix_rows import Activations, RowLayout

ROWS, FACTS = "rows.bin", "entry.json"
FACTS_BYTES = 4096  # chosen: one block of a disk, counted for every entry's `entry.json`
SPARE_BYTES = 1 << 30  # chosen: what a cache leaves free on a disk, where a study may be writing its results
DRAFT = ".draft-"
_VERSION = 1


class DamagedEntryError(StorageError):
    """An entry whose files are not what was written; it is removed and computed again."""


@dataclass(frozen=True)
class Facts:
    """What `entry.json` says: the whole key, the rows' layout and checksum, and what it took to compute them."""

    key: dict[str, object]
    layout: RowLayout
    count: int
    bytes: int
    sha256: str
    seconds: float
    made_ns: int


def entry_bytes(layout: RowLayout, count: int) -> int:
    """What an entry of `count` rows takes on disk."""
    return layout.row_bytes * count + FACTS_BYTES


def open_entry(path: Path, key: PrefixKey) -> Activations | None:
    """The entry at `path`, held by a shared lock for as long as its map lives; None where there is none.

    Its checksum is verified once per process.

    Raises:
        DamagedEntryError: where it is not what was written under `key`.
    """
    try:
        file = os.open(path / ROWS, os.O_RDONLY)
    except FileNotFoundError:
        if not path.is_dir():
            return None
        raise DamagedEntryError(f"{path}: {ROWS} is missing") from None
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
        if not still_named(path / ROWS, file):
            return None  # removed while we waited for the lock
        facts = _verified(path, file, key)
        # A map keeps a duplicate of the descriptor, and with it the lock, until it is gone.
        mapped = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(file)
    stored = np.frombuffer(mapped, facts.layout.stored_dtype)
    return Activations(stored.reshape(facts.count, *facts.layout.stored_shape), facts.layout)


class Draft:
    """An entry being written, which nobody can open; the next process to build removes what a killed one left.

    Raises:
        StorageError: from every method, where the disk is full or cannot be written.
    """

    def __init__(self, folder: Path, key: PrefixKey, layout: RowLayout, count: int) -> None:
        self.key, self.layout, self.count = key, layout, count
        self._sha256 = hashlib.sha256()
        self.seconds = 0.0
        with writing(folder, entry_bytes(layout, count)):
            self._path = Path(tempfile.mkdtemp(prefix=f"{DRAFT}{key.name}-", dir=folder))
            self._file = os.open(self._path / ROWS, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._claim(layout.row_bytes * count)

    def append(self, rows: np.ndarray, seconds: float) -> None:
        """The next rows, as `RowLayout.encode` gives them, and how long it took to compute them."""
        data = rows.data.cast("B")
        self._sha256.update(data)
        self.seconds += seconds
        with writing(self._path, len(data)):
            while data:
                data = data[os.write(self._file, data) :]

    def seal(self) -> None:
        """Brings all that was appended to the disk, with what it is; nothing can be appended any more."""
        with writing(self._path, FACTS_BYTES), (self._path / FACTS).open("w") as file:
            os.fsync(self._file)
            json.dump({"version": _VERSION, **asdict(self._facts())}, file)
            file.flush()
            os.fsync(file.fileno())
        reached("activations sealed")

    def publish(self) -> None:
        """Gives the sealed entry its name; from then on any process can open it."""
        with writing(self._path, 0):
            sync_folder(self._path)
            self._path.rename(self._path.parent / self.key.name)
            sync_folder(self._path.parent)
        reached("activations in their place")
        os.close(self._file)

    def discard(self) -> None:
        """Leaves nothing behind."""
        shutil.rmtree(self._path, ignore_errors=True)
        os.close(self._file)

    def _facts(self) -> Facts:
        return Facts(
            key=asdict(self.key),
            layout=self.layout,
            count=self.count,
            bytes=self.layout.row_bytes * self.count,
            sha256=self._sha256.hexdigest(),
            seconds=self.seconds,
            made_ns=time.time_ns(),
        )

    def _claim(self, size: int) -> None:
        """Takes the space at once, so that a full disk is noticed before anything is computed for it."""
        try:
            if shutil.disk_usage(self._path).free < size + SPARE_BYTES:
                raise OSError(errno.ENOSPC, "too little would be left for anything else")
            os.posix_fallocate(self._file, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not every file system can
                self.discard()
                raise
            os.ftruncate(self._file, size)


def _verified(path: Path, file: int, key: PrefixKey) -> Facts:
    facts = read_facts(path)
    state = os.fstat(file)
    if facts.key != json.loads(json.dumps(asdict(key))):
        raise DamagedEntryError(f"{path}: {FACTS} names another key")
    if not state.st_size == facts.bytes == facts.layout.row_bytes * facts.count or not facts.bytes:
        raise DamagedEntryError(f"{path}: {ROWS} has {state.st_size} bytes, {FACTS} says {facts.bytes}")
    if _checksum(path / ROWS, state.st_ino, state.st_mtime_ns, state.st_size) != facts.sha256:
        raise DamagedEntryError(f"{path}: {ROWS} does not have the checksum that {FACTS} gives")
    return facts


def read_facts(path: Path) -> Facts:
    """What the entry at `path` says of itself.

    Raises:
        DamagedEntryError: where that cannot be read, or another version has written it.
    """
    try:
        values = json.loads((path / FACTS).read_bytes())
        if values.pop("version") != _VERSION:
            raise DamagedEntryError(f"{path}: written by another version")
        layout = values.pop("layout")
        layout["shape"] = tuple(layout["shape"])
        return Facts(layout=RowLayout(**layout), **values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedEntryError(f"{path}: {FACTS} cannot be read ({error})") from error


@lru_cache(maxsize=4096)
def _checksum(path: Path, inode: int, modified_ns: int, size_bytes: int) -> str:
    """Reads a file once per process; a file that changed is another key."""
    return sha256_of(path)
