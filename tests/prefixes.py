"""Keys, clocks and activations for tests of the prefix store, without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raytl.train.prefix import PrefixKey
from raytl.train.prefix_store import Decision, PrefixStore

ROWS = 10
BATCH = 4
KEY = PrefixKey(
    backbone="some_net",
    weights="w",
    depth=2,
    image_size=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    pool="",
    precision="fp32 on cpu",
    augment="flip:",
    view=1,
    pictures="p",
)
PLENTY = 1 << 30


class Clock:
    """Seconds that pass only where a test says so: files cost nothing, computing what `Source` says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Activations of ROWS pictures, (B, width) float32 at each depth, which differ by `seed`; counts its batches."""

    def __init__(self, clock: Clock, seconds: float = 1.0, widths: Sequence[int] = (6,), seed: int = 0) -> None:
        self.clock, self.seconds, self.calls = clock, seconds, 0
        generator = torch.Generator().manual_seed(seed)
        self.values = [torch.randn(ROWS, width, generator=generator) for width in widths]

    def __call__(self, rows: np.ndarray) -> Iterator[Tensor]:
        """Each depth takes `seconds` a batch more than the one before."""
        self.calls += 1
        for values in self.values:
            self.clock.now += self.seconds
            yield values[torch.from_numpy(rows)]


def numbered(number: int) -> PrefixKey:
    """A key of its own for each number."""
    return replace(KEY, pictures=f"p{number}")


def built(store: PrefixStore, key: PrefixKey, source: Callable[[np.ndarray], Iterator[Tensor]]) -> Decision:
    """One entry that always pays, unless computing takes no time."""
    return store.build([key], ROWS, source, BATCH, uses=100)


def bytes_in(folder: Path) -> int:
    """What all files in a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
