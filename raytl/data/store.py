"""The uint8 store: every picture decoded and resized once, then memory-mapped by all trials of a machine.

A store is a folder with `pixels.bin` (pictures one after another, rows of RGB bytes) and `index.arrow` (sha256,
offset, height, width). Its name is made of the contents, the size and the layout's version, so that the same pictures
are never decoded twice, whatever their split or their file names.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from raytl.data.album import Album
from raytl.data.decode import shorter_side_size
from raytl.data.pixels import FilePixels, Pixels, StoredPixels, read_picture
from raytl.data.scan import usable_cores
from raytl.errors import DataError, StorageError
from raytl.results.folder import sync_folder
from raytl.results.schemas import PictureRow
from raytl.steps import reached

STORE_VERSION = 1
NAME = "pixels"
PIXELS = "pixels.bin"
INDEX = "index.arrow"
DRAFT = ".building-"


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


def store_path(album: Album, resize: int, folder: Path) -> Path:
    """Where `build_store` keeps the pictures of an album."""
    return Path(folder) / f"{NAME}-{resize}-{_key(_contents(album), resize)}"


def pixel_bytes(folder: Path) -> int:
    """The bytes that all stores in `folder` take, of whatever pictures they are."""
    return sum(pixels.stat().st_size for pixels in Path(folder).glob(f"{NAME}-*/{PIXELS}"))


def build_store(album: Album, resize: int, folder: Path, workers: int | None = None) -> Path:
    """The store of an album's pictures with shorter sides of `resize` pixels; made in `folder` unless it is there.

    Each different content is decoded once, by `workers` threads (default: the usable cores), upright, as RGB, and
    resized bicubically with antialiasing. The store appears whole or not at all.

    Raises:
        DataError: where a file changed or vanished since the scan.
        StorageError: where the disk is full or cannot be written.
    """
    contents = _contents(album)
    target = store_path(album, resize, folder)
    if target.is_dir():
        return target
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        _remove_abandoned(Path(folder))
        draft = Path(folder) / f"{_owner()}-{os.getpid()}-{secrets.token_hex(8)}"
        draft.mkdir()  # with the rights of any folder: a cache may serve several users
        try:
            _fill(draft, album, contents, resize, workers or usable_cores())
            reached("pictures drafted")
            _publish(draft, target)
            reached("pictures in their place")
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


def _owner() -> str:
    return f"{DRAFT}{socket.gethostname()}"


def _remove_abandoned(folder: Path) -> None:
    """Removes drafts of processes of this machine that were killed; those of other machines are theirs."""
    for draft in folder.glob(f"{_owner()}-*"):
        process = draft.name.removeprefix(f"{_owner()}-").split("-")[0]
        if not Path("/proc", process).exists():
            shutil.rmtree(draft, ignore_errors=True)


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
        pixels = read_picture(path, digest, resize)
    except DataError as error:
        return str(error)
    _write_whole(file, pixels.data.cast("B"), slot.offset)
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
    """The pictures of one split; small to pickle, since `pixels` are read where they are used.

    `labels`: (N,) int64 places in the classes; `keys`: (N,) uint64, each picture's identity for random numbers (the
    first 8 bytes of its sha256); `paths`: names relative to the album's root, as tables write them.
    """

    pixels: Pixels
    labels: torch.Tensor
    keys: np.ndarray
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, index: int) -> np.ndarray:
        """Picture `index` as (H, W, 3) uint8; it cannot be written."""
        return self.pixels.picture(index)


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

    def pixels(rows: Sequence[PictureRow]) -> Pixels:
        slots = [index[str(row.sha256)] for row in rows]
        places = np.array([(slot.offset, slot.height, slot.width) for slot in slots], dtype=np.int64)
        return StoredPixels(store / PIXELS, places.reshape(-1, 3))

    return _fit_data(album, pixels)


def open_files(album: Album, resize: int) -> FitData:
    """The splits of `album` without a store: what `open_data` gives, but every picture is decoded when it is read."""
    name = store_path(album, resize, Path()).name

    def pixels(rows: Sequence[PictureRow]) -> Pixels:
        paths, digests = tuple(row.path for row in rows), tuple(str(row.sha256) for row in rows)
        return FilePixels(name, album.root, paths, digests, resize)

    return _fit_data(album, pixels)


def _fit_data(album: Album, pixels: Callable[[Sequence[PictureRow]], Pixels]) -> FitData:
    places = {label: place for place, label in enumerate(album.classes)}

    def picture_set(rows: Sequence[PictureRow]) -> PictureSet:
        return PictureSet(
            pixels=pixels(rows),
            labels=torch.tensor([places[row.label] for row in rows], dtype=torch.int64),
            keys=np.array([int(str(row.sha256)[:16], 16) for row in rows], dtype=np.uint64),
            paths=tuple(row.path for row in rows),
        )

    train, val, test = (picture_set(album.part(split)) for split in ("train", "val", "test"))
    return FitData(album.classes, train, val, test, album.fingerprint)
