"""The uint8 store: every picture decoded and resized once, then memory-mapped by all trials of a machine.

A store is a folder with `pixels.bin` (pictures one after another, rows of RGB bytes) and `index.arrow` (sha256,
offset, height, width). Its name is made of the contents, the size and the layout's version, so that the same pictures
are never decoded twice, whatever their split or their file names.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from raytl.data.album import Album
from raytl.data.decode import DecodeError, decode, resize_shorter, shorter_side_size
from raytl.data.scan import usable_cores
from raytl.errors import DataError, StorageError
from raytl.results.folder import sync_folder
from raytl.results.schemas import PictureRow

STORE_VERSION = 1
PIXELS = "pixels.bin"
INDEX = "index.arrow"


@dataclass(frozen=True)
class Slot:
    """Where one picture lies in `pixels.bin`: from byte `offset` on, `height` x `width` x 3 bytes."""

    offset: int
    height: int
    width: int

    @property
    def bytes(self) -> int:
        return self.height * self.width * 3


def store_bytes(album: Album, resize: int) -> int:
    """The size in bytes that the pictures of `album` take in a store whose shorter sides are `resize`."""
    return sum(slot.bytes for slot in _layout(_contents(album), resize).values())


def build_store(album: Album, resize: int, folder: Path, workers: int | None = None) -> Path:
    """The store of an album's pictures with shorter sides of `resize` pixels; made in `folder` unless it is there.

    Each different content is decoded once, by `workers` threads (default: the usable cores), upright, as RGB, and
    resized bicubically with antialiasing. The store appears whole or not at all.

    Raises:
        DataError: where a file changed or vanished since the scan.
        StorageError: where the disk is full or cannot be written.
    """
    contents = _contents(album)
    target = Path(folder) / f"pixels-{resize}-{_key(contents, resize)}"
    if target.is_dir():
        return target
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
        try:
            _fill(draft, album, contents, resize, workers or usable_cores())
            _publish(draft, target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise StorageError(_storage_problem(error, target, store_bytes(album, resize))) from error
    return target


def read_index(store: Path) -> dict[str, Slot]:
    """Where each picture lies, by the sha256 of its file.

    Raises:
        StorageError: where `store` is no whole store.
    """
    try:
        with pa.memory_map(str(store / INDEX)) as source:
            table = pa.ipc.open_file(source).read_all()
            columns = [table[name].to_pylist() for name in ("sha256", "offset", "height", "width")]
        have = (store / PIXELS).stat().st_size
    except (OSError, KeyError, pa.ArrowException) as error:
        raise StorageError(f"{store}: not a readable store of pictures ({error}); delete it and run again") from error
    index = {digest: Slot(*place) for digest, *place in zip(*columns, strict=True)}
    need = sum(slot.bytes for slot in index.values())
    if have != need:
        raise StorageError(
            f"{store}: {PIXELS} has {have} bytes, its index says {need}; delete the folder and run again"
        )
    return index


def _contents(album: Album) -> dict[str, PictureRow]:
    """One row for each different content, in an order that depends on the contents only."""
    first = {str(row.sha256): row for row in reversed(album.used)}
    return {digest: first[digest] for digest in sorted(first)}


def _key(contents: Mapping[str, PictureRow], resize: int) -> str:
    return hashlib.sha256("\n".join([f"{STORE_VERSION} {resize}", *contents]).encode()).hexdigest()[:16]


def _layout(contents: Mapping[str, PictureRow], resize: int) -> dict[str, Slot]:
    slots: dict[str, Slot] = {}
    offset = 0
    for digest, row in contents.items():
        width, height = shorter_side_size(int(row.width or 1), int(row.height or 1), resize)
        slots[digest] = Slot(offset, height, width)
        offset += slots[digest].bytes
    return slots


def _fill(draft: Path, album: Album, contents: Mapping[str, PictureRow], resize: int, workers: int) -> None:
    layout = _layout(contents, resize)
    with (draft / PIXELS).open("wb") as file, ThreadPoolExecutor(workers) as pool:

        def write(digest: str) -> str | None:
            return _write_picture(file.fileno(), album.path(contents[digest]), digest, layout[digest], resize)

        problems = [problem for problem in pool.map(write, contents) if problem is not None]
        if problems:
            raise DataError(*problems)
        os.fsync(file.fileno())
    _write_index(draft / INDEX, layout)


def _write_picture(file: int, path: Path, digest: str, slot: Slot, resize: int) -> str | None:
    """Decodes one picture into its slot; returns what is wrong where the file is no longer what was scanned."""
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            return f"{path}: changed since it was scanned; run again without touching the pictures"
        pixels = resize_shorter(decode(data), resize)
    except OSError as error:
        return f"{path}: cannot be read since it was scanned ({error.strerror}); put it back or run again"
    except DecodeError as error:
        return f"{path}: {error}"
    _write_whole(file, np.ascontiguousarray(pixels).data.cast("B"), slot.offset)
    return None


def _write_whole(file: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def _write_index(path: Path, layout: Mapping[str, Slot]) -> None:
    columns = {
        "sha256": pa.array(layout, pa.string()),
        "offset": pa.array([slot.offset for slot in layout.values()], pa.int64()),
        "height": pa.array([slot.height for slot in layout.values()], pa.int64()),
        "width": pa.array([slot.width for slot in layout.values()], pa.int64()),
    }
    table = pa.table(columns).replace_schema_metadata({"raytl_store_version": str(STORE_VERSION)})
    with path.open("wb") as file:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        file.flush()
        os.fsync(file.fileno())


def _publish(draft: Path, target: Path) -> None:
    """Gives the finished store its name; where another process was faster, its store is the same and stays."""
    sync_folder(draft)
    try:
        draft.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
    sync_folder(target.parent)


def _storage_problem(error: OSError, target: Path, need: int) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{target}: the disk is full; the store of decoded pictures takes {need:,} bytes"
    return f"{target}: cannot be written ({error.strerror or error}); name a folder that can"


@dataclass(frozen=True, eq=False)
class PictureSet:
    """The pictures of one split in a store; pickles as arrays and a path, the map is opened where it is used.

    `labels`: (N,) int64 places in the classes; `keys`: (N,) uint64, each picture's identity for random numbers (the
    first 8 bytes of its sha256); `paths`: names relative to the album's root, as tables write them.
    `places`: (N, 3) int64, each picture's offset in bytes, height and width.
    """

    store: Path
    labels: torch.Tensor
    keys: np.ndarray
    paths: tuple[str, ...]
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, index: int) -> np.ndarray:
        """Picture `index` as (H, W, 3) uint8: a read-only view of the map, not a copy."""
        offset, height, width = self.places[index].tolist()
        return self._pixels[offset : offset + height * width * 3].reshape(height, width, 3)

    @cached_property
    def _pixels(self) -> np.ndarray:
        # as a plain array: slicing np.memmap costs microseconds more for each picture
        return np.asarray(np.memmap(self.store / PIXELS, dtype=np.uint8, mode="r"))

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_pixels"}


@dataclass(frozen=True, eq=False)
class FitData:
    """What one run reads: classes, the three splits, and the fingerprint of the data behind them."""

    classes: tuple[str, ...]
    train: PictureSet
    val: PictureSet
    test: PictureSet
    fingerprint: str


def open_data(album: Album, store: Path) -> FitData:
    """The splits of `album` over a store that holds its pictures.

    Raises:
        StorageError: where the store cannot be read or lacks pictures of the album.
    """
    index = read_index(store)
    lacking = [row.path for row in album.used if row.sha256 not in index]
    if lacking:
        raise StorageError(f"{store}: lacks {len(lacking)} pictures of the data, such as {lacking[0]}; build it again")
    train, val, test = (_picture_set(album, album.part(split), store, index) for split in ("train", "val", "test"))
    return FitData(album.classes, train, val, test, album.fingerprint)


def _picture_set(album: Album, rows: Sequence[PictureRow], store: Path, index: Mapping[str, Slot]) -> PictureSet:
    places = {label: place for place, label in enumerate(album.classes)}
    digests = [str(row.sha256) for row in rows]
    slots = [index[digest] for digest in digests]
    return PictureSet(
        store=store,
        labels=torch.tensor([places[row.label] for row in rows], dtype=torch.int64),
        keys=np.array([int(digest[:16], 16) for digest in digests], dtype=np.uint64),
        paths=tuple(row.path for row in rows),
        places=np.array([(slot.offset, slot.height, slot.width) for slot in slots], dtype=np.int64).reshape(-1, 3),
    )
