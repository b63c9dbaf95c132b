"""Pictures for benchmarks: the embedded sample as raytl reads it, and batches that lie in memory ready for a step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raytl.data.album import open_album
from raytl.data.samples import write_sample
from raytl.data.store import FitData, PictureSet, build_store, open_data

SAMPLE = "drawn-flowers"
PIXELS = 64  # of the sample's pictures


@dataclass(frozen=True, eq=False)
class Ready:
    """Normalized pictures in memory, the first of the training set's rows, used again and again."""

    pictures: Tensor
    depth: int = 0

    def batch(self, rows: np.ndarray, epoch: int) -> Tensor:
        """As many pictures (B, 3, H, W) as there are rows, whichever they are."""
        return self.pictures[: len(rows)]


def ready(batch_size: int, pixels: int, device: torch.device, layout: torch.memory_format) -> Ready:
    """One batch of noise in the layout that the model wants."""
    pictures = torch.randn(batch_size, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    return Ready(pictures.to(device).contiguous(memory_format=layout))


def open_sample(folder: Path, per_class: int | None, resize: int = PIXELS) -> FitData:
    """The drawn flowers, written into `folder`, split and decoded at `resize` pixels."""
    album = open_album(write_sample(SAMPLE, folder / SAMPLE, per_class))
    return open_data(album, build_store(album, resize, folder / "cache"))


def shortened(data: FitData, count: int) -> FitData:
    """`data` with only `count` training pictures and as many for validation as a batch holds."""
    return replace(data, train=first(data.train, count), val=first(data.val, 2))


def first(pictures: PictureSet, count: int) -> PictureSet:
    """The first pictures of a set."""
    return replace(
        pictures,
        labels=pictures.labels[:count],
        keys=pictures.keys[:count],
        paths=pictures.paths[:count],
        places=pictures.places[:count],
    )


def default_device() -> str:
    """The GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
