"""What a small copy of a picture looks like, in a few numbers that cost little to keep for every file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

_SIDE = 64  # chosen: small enough to cost less than decoding, large enough that lines of text stay lines
_LEVELS = 16  # chosen: shades per channel that count as different colors


@dataclass(frozen=True)
class Look:
    """A picture in numbers.

    `entropy`: bits of its histogram of 16 x 16 x 16 colors; `background`: share of the pixels within 8 of the most
    common color, in every channel; `fingerprint`: 64 bits, each telling whether brightness rises from one cell of an
    8 x 9 grid to the next (a difference hash); `small`: 8 x 8 RGB, 192 bytes.
    """

    entropy: float
    background: float
    fingerprint: int
    small: bytes


def look_at(image: Image.Image) -> Look:
    """The look of an RGB picture."""
    copy = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    pixels = np.asarray(copy).reshape(-1, 3)
    codes = (pixels // _LEVELS).astype(np.int32) @ np.array([256, 16, 1], np.int32)
    counts = np.bincount(codes, minlength=1)
    shares = counts[counts > 0] / len(codes)
    center = np.median(pixels[codes == counts.argmax()], axis=0)
    near = (np.abs(pixels - center) <= _LEVELS / 2).all(axis=1)
    grey = np.asarray(copy.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return Look(
        entropy=float(-(shares * np.log2(shares)).sum()),
        background=float(near.mean()),
        fingerprint=int.from_bytes(np.packbits(bits).tobytes(), "big"),
        small=np.asarray(copy.resize((8, 8), Image.Resampling.BOX)).tobytes(),
    )
