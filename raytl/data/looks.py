"""What a small copy of a picture looks like, in a few numbers that cost little to keep for every file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

_SIDE = 64  # chosen: small enough to cost less than decoding, large enough that lines of text stay lines
_SHARP_SIDE = 256  # chosen: near the pixels that most backbones see; a large picture is never sharp in its own
_LEVELS = 16  # chosen: shades per channel that count as different colors


@dataclass(frozen=True)
class Look:
    """A picture in numbers.

    `entropy`: bits of its histogram of 16 x 16 x 16 colors; `background`: share of the pixels within 8 of the most
    common color, in every channel; `fingerprint`: 64 bits, each telling whether brightness rises from one cell of an
    8 x 9 grid to the next (a difference hash); `small`: 8 x 8 RGB, 192 bytes. `brightness` and `contrast`: mean and
    standard deviation of the grey picture, from 0 (black) to 1; `sharpness`: the variance of its Laplacian
    (Pech-Pacheco et al. 2000, "Diatom autofocusing in brightfield microscopy"), its shorter side being 256 pixels or
    less.
    """

    entropy: float
    background: float
    fingerprint: int
    small: bytes
    brightness: float
    contrast: float
    sharpness: float


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
    brightness, contrast, sharpness = _light(image)
    return Look(
        entropy=float(-(shares * np.log2(shares)).sum()),
        background=float(near.mean()),
        fingerprint=int.from_bytes(np.packbits(bits).tobytes(), "big"),
        small=np.asarray(copy.resize((8, 8), Image.Resampling.BOX)).tobytes(),
        brightness=brightness,
        contrast=contrast,
        sharpness=sharpness,
    )


def _light(image: Image.Image) -> tuple[float, float, float]:
    """Brightness, contrast and sharpness."""
    scale = max(1.0, min(image.size) / _SHARP_SIDE)
    grey = image.convert("L")
    if scale > 1:
        grey = grey.resize((round(image.width / scale), round(image.height / scale)), Image.Resampling.BOX)
    x = np.asarray(grey, np.float32) / 255
    inner = x[1:-1, 1:-1]
    laplacian = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] - 4 * inner
    return float(x.mean()), float(x.std()), float(laplacian.var()) if laplacian.size else 0.0
