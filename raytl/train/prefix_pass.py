"""One pass over a picture set that captures activations at several depths, timed, and what storing them costs."""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raytl.train.prefix_rows import Activations, RowLayout, layout_of

Produce = Callable[[np.ndarray], Iterable[Tensor]]
"""Picture numbers (B,) -> activations (B, ...) at each wanted depth, the shallowest first.

Where they are given one after another, as `prefix.compute` does, the time to each depth is known.
"""

Clock = Callable[[], float]

PROBED_BATCHES = 3  # chosen: the first is slowed by what a device sets up once; the fastest of the others counts


@dataclass(frozen=True, eq=False)
class Made:
    """One batch of activations as it is written, `rows` (B, ...); seconds of computing it and of laying it out so."""

    rows: np.ndarray
    layout: RowLayout
    compute_seconds: float
    encode_seconds: float


@dataclass(frozen=True)
class Cost:
    """Seconds per picture to compute activations, to write and to read them once, and how they are written."""

    compute_seconds: float
    write_seconds: float
    read_seconds: float
    layout: RowLayout

    def pays(self, uses: float) -> bool:
        """Whether activations that are wanted `uses` times are had sooner from a store."""
        saved = self.compute_seconds * (uses - 1)
        return saved > self.write_seconds + uses * self.read_seconds

    @property
    def value(self) -> float:
        """Seconds of computing per byte."""
        return self.compute_seconds / max(self.layout.row_bytes, 1)

    def __str__(self) -> str:
        parts = (("computing", self.compute_seconds), ("writing", self.write_seconds), ("reading", self.read_seconds))
        return ", ".join(f"{name} takes {seconds * 1e3:.3g} ms" for name, seconds in parts) + " a picture"


class TimedPass:
    """Batches of a set's `count` pictures in order; those that were looked at first are not computed twice."""

    def __init__(self, produce: Produce, count: int, batch_size: int, clock: Clock = time.perf_counter) -> None:
        self._produce, self._clock = produce, clock
        self.count = count
        self.chunks = [np.arange(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
        self._layouts: list[RowLayout] = []
        self._probed: dict[int, list[Made]] = {}

    def probe(self, depth_count: int) -> list[list[Made]]:
        """The first batches at the first `depth_count` depths."""
        for index in range(min(PROBED_BATCHES, len(self.chunks))):
            self._probed[index] = self.batch(index, depth_count)
        return [self._probed[index] for index in sorted(self._probed)]

    def batch(self, index: int, depth_count: int) -> list[Made]:
        """Batch `index` at the first `depth_count` depths; what a probe has kept of it is given away.

        Raises:
            ValueError: where fewer tensors than depths come, or rows are missing.
        """
        kept = self._probed.pop(index, [])
        if len(kept) >= depth_count:
            return kept
        made: list[Made] = []
        spent, begin = 0.0, self._clock()
        for tensor in islice(self._produce(self.chunks[index]), depth_count):
            _wait_for(tensor)
            spent += self._clock() - begin
            made.append(self._encoded(tensor, len(made), spent))
            begin = self._clock()
        if [len(each.rows) for each in made] != [len(self.chunks[index])] * depth_count:
            shapes = [each.rows.shape for each in made]
            raise ValueError(f"{shapes} came for {len(self.chunks[index])} pictures at {depth_count} depths")
        return made

    def _encoded(self, tensor: Tensor, place: int, compute_seconds: float) -> Made:
        if place == len(self._layouts):
            self._layouts.append(layout_of(tensor))
        begin = self._clock()
        rows = self._layouts[place].encode(tensor)
        return Made(rows, self._layouts[place], compute_seconds, self._clock() - begin)


def measure(folder: Path, batches: Sequence[Made], clock: Clock = time.perf_counter) -> Cost:
    """What some batches of one depth cost, written to a file of `folder` that has no name and read from its map."""
    count, layout = min(len(made.rows) for made in batches), batches[0].layout
    with tempfile.TemporaryFile(dir=folder) as file:
        writes = [_write_seconds(file.fileno(), made, clock) for made in batches]
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    stored = np.frombuffer(mapped, layout.stored_dtype).reshape(-1, *layout.stored_shape)
    order = np.random.default_rng(0).permutation(len(stored))  # no row twice: it would come out of a processor's cache
    parts = [order[start : start + count] for start in range(0, len(order) - count + 1, count)]
    reads = [_read_seconds(Activations(stored, layout), part, clock) for part in parts]
    return Cost(
        compute_seconds=min(made.compute_seconds / len(made.rows) for made in batches),
        write_seconds=min(writes),
        read_seconds=min(reads) / count,
        layout=layout,
    )


def _write_seconds(file: int, made: Made, clock: Clock) -> float:
    """Seconds per picture, down to the disk: a cache of the system would make room by waiting for it anyway."""
    begin = clock()
    data = made.rows.data.cast("B")
    while data:
        data = data[os.write(file, data) :]
    os.fdatasync(file)
    return (clock() - begin + made.encode_seconds) / len(made.rows)


def _read_seconds(activations: Activations, rows: np.ndarray, clock: Clock) -> float:
    begin = clock()
    activations.batch(rows)
    return clock() - begin


def _wait_for(tensor: Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
