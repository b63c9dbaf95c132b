"""Pictures for benchmarks: the embedded sample as raytl reads it, and batches that lie in memory ready for a step."""

from __future__ import annotations

import argparse
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from raytl.data.album import Album, open_album
from raytl.data.samples import write_sample
from raytl.data.store import FitData, PictureSet, build_store, open_data
from raytl.results.schemas import SPLITS

SAMPLE = "drawn-flowers"
PIXELS = 64  # of the sample's pictures
PHOTOGRAPH = (500, 375)  # pixels: what photographs on the net often have


@dataclass(frozen=True, eq=False)
class Ready:
    """Normalized pictures in memory, the first of the training set's rows, used again and again."""

    pictures: Tensor
    depth: int = 0

    def batch(self, rows: np.ndarray, epoch: int) -> Tensor:
        """As many pictures (B, 3, H, W) as there are rows, whichever they are."""
        return self.pictures[: len(rows)]

    def expect(self, rows: np.ndarray, epoch: int) -> None:
        """Does nothing: all is ready."""

    def forget(self) -> None:
        """Does nothing."""


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
    )


def photographs(folder: Path, per_class: int) -> Path:
    """The drawn flowers in `folder`, enlarged to `PHOTOGRAPH` and saved as JPEG: what decoding them costs is real."""
    with TemporaryDirectory() as drawn:
        for path in sorted(write_sample(SAMPLE, Path(drawn) / SAMPLE, per_class).rglob("*.png")):
            target = folder / path.parent.name / f"{path.stem}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                image.convert("RGB").resize(PHOTOGRAPH, Image.Resampling.BICUBIC).save(target, quality=90)
    return folder


def split_folders(album: Album, folder: Path) -> Path:
    """Copies of the album's pictures as `folder`/<split>/<class>/<file>, as other tools want them."""
    for split in SPLITS:
        for number, row in enumerate(album.part(split)):
            copy = folder / split / row.label / f"{number:05d}{Path(row.path).suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(album.path(row), copy)
    return folder


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Where to compute, and with how many threads; `device_of` reads them."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="of the processor (default: %(default)s)")


def device_of(options: argparse.Namespace) -> torch.device:
    """The device that was asked for; sets the number of threads."""
    torch.set_num_threads(options.threads)
    return torch.device(options.device)
