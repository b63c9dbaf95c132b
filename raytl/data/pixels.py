"""Where the pixels of a picture set come from: a memory-mapped store, or files that are decoded when they are read.

Both give the same bytes, so a run is the same run with either. Files are decoded by threads, since Pillow lets others
run while it decodes and resizes, and nothing must be sent between processes. Measured on two cores that were busy with
other work, 120 short runs: two threads decoded 480 pictures a second in the best and 157 in the median, two processes
396 and 238. So threads keep up, but lose more where cores are crowded.
`experiments/benchmarks/decoding.py` compares them, and decoders: torchvision's is as fast as Pillow's.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from raytl.data.decode import DecodeError, decode, resize_shorter
from raytl.data.sources import path_of
from raytl.errors import DataError


class Pixels(Protocol):
    """Pictures by number, upright, as (H, W, 3) uint8 that cannot be written; any number of threads may ask."""

    @property
    def name(self) -> str:
        """A name for contents and size, the same wherever the pixels come from."""

    def picture(self, index: int) -> np.ndarray:
        """Picture `index`.

        Raises:
            DataError: where its file is no longer what was scanned.
        """

    def expect(self, indices: Iterable[int]) -> None:
        """Says which pictures will be asked for soon, as often as they are named; whoever says so calls `forget`."""

    def forget(self) -> None:
        """Drops what was made ready and not asked for, and ends the threads that made it."""


@dataclass(frozen=True, eq=False)
class StoredPixels:
    """Pictures in the file of a store (see `raytl.data.store`); pickles as a path, mapped where it is used.

    `places`: (N, 3) int64, each picture's offset in bytes, height and width.
    """

    file: Path
    places: np.ndarray

    @property
    def name(self) -> str:
        """The store's."""
        return self.file.parent.name

    def picture(self, index: int) -> np.ndarray:
        """Picture `index`: a view of the map, not a copy."""
        offset, height, width = self.places[index].tolist()
        return self.mapped[offset : offset + height * width * 3].reshape(height, width, 3)

    def expect(self, indices: Iterable[int]) -> None:
        """Does nothing: the system reads ahead by itself."""

    def forget(self) -> None:
        """Does nothing."""

    @cached_property
    def mapped(self) -> np.ndarray:
        """The whole file, as a plain array: slicing np.memmap costs microseconds more for each picture."""
        return np.asarray(np.memmap(self.file, dtype=np.uint8, mode="r"))

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "mapped"}


@dataclass
class _Coming:
    """A picture that is being made ready, and how often it will still be asked for."""

    pixels: Future[np.ndarray]
    times: int = 1


class FilePixels:
    """Picture files, each decoded when it is asked for or, where it was expected, ahead of that.

    What is held is what was expected and not asked for yet, so the caller bounds it. As many threads decode as torch
    computes with in this process, which is its share of the machine; they live from `expect` to `forget`.

    Args:
        name: that of a store of the same pictures.
        root: the folder that `paths` are names in, as an album writes them.
        digests: the sha256 of each file when it was scanned.
        resize: the shorter side in pixels.
    """

    def __init__(self, name: str, root: Path, paths: tuple[str, ...], digests: tuple[str, ...], resize: int) -> None:
        self.name, self._root, self._paths, self._digests, self._resize = name, root, paths, digests, resize
        self._lock = threading.Lock()
        self._coming: dict[int, _Coming] = {}
        self._pool: ThreadPoolExecutor | None = None

    def picture(self, index: int) -> np.ndarray:
        """Picture `index`: what was made ready, or else decoded now.

        Raises:
            DataError: where its file is no longer what was scanned.
        """
        coming = self._taken(index)
        if coming is not None:
            try:
                return coming.pixels.result()
            except CancelledError:  # forgotten by another thread just now
                pass
        return self._read(index)

    def expect(self, indices: Iterable[int]) -> None:
        """Begins to decode pictures that will be asked for soon."""
        with self._lock:
            for index in map(int, indices):
                if index in self._coming:
                    self._coming[index].times += 1
                else:
                    self._coming[index] = _Coming(self._threads().submit(self._read, index))

    def forget(self) -> None:
        """Drops what was not asked for and ends all threads, once each is done with its picture."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._coming.clear()
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def _taken(self, index: int) -> _Coming | None:
        with self._lock:
            coming = self._coming.get(index)
            if coming is not None:
                coming.times -= 1
                if coming.times == 0:
                    del self._coming[index]
            return coming

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="decoding")
        return self._pool

    def _read(self, index: int) -> np.ndarray:
        return read_picture(path_of(self._paths[index], self._root), self._digests[index], self._resize)

    def __reduce__(self) -> tuple[type[FilePixels], tuple[object, ...]]:
        return FilePixels, (self.name, self._root, self._paths, self._digests, self._resize)


def read_picture(path: Path, digest: str, resize: int) -> np.ndarray:
    """A file's picture, its shorter side `resize` pixels, as (H, W, 3) uint8 that cannot be written.

    Raises:
        DataError: where the file cannot be read, or its sha256 is no longer `digest`.
    """
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise DataError(f"{path}: changed since it was scanned; run again without touching the pictures")
        pixels = np.ascontiguousarray(resize_shorter(decode(data), resize))
    except OSError as error:
        problem = f"{path}: cannot be read since it was scanned ({error.strerror}); put it back or run again"
        raise DataError(problem) from error
    except DecodeError as error:
        raise DataError(f"{path}: {error}") from error
    pixels.flags.writeable = False
    return pixels
