"""Small generated pictures that tests of the data layer share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def noise(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """A smooth colored pattern, different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_classes(root: Path, counts: dict[str, int], start: int = 0) -> Path:
    """`counts` gives pictures per folder, such as {"a": 20, "b": 20}; all pictures differ."""
    seed = start
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            noise(seed, 40 + index % 7).save(root / folder / f"{index:03d}.png")
            seed += 1
    return root
