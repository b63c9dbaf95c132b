"""A picture file's bytes to upright 8-bit RGB; the one place where files become pixels.

Training, evaluation and prediction all decode here, so that a picture is the same picture everywhere.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

MOST_PIXELS = 100_000_000  # chosen: 300 MB as RGB; a larger header is refused before anything is decoded
LONGEST_RATIO = 4  # chosen: what a panorama has beyond it no square crop would show
STRIP_PIXELS = 250_000  # chosen: of which 8 bytes each are held at a time, not of the whole picture
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_ORIENTATION = 0x0112  # EXIF 2.3, tag 274
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class DecodeError(ValueError):
    """Bytes that are no whole picture; the message says why."""


class UnknownKindError(DecodeError):
    """Bytes that do not begin as a picture of any kind that is read here."""


def decode(data: bytes, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """The picture in `data`: upright, 8-bit RGB, first frame of an animation, transparency over white.

    16-bit and floating-point grey values are scaled to 8 bits, not clipped.

    Raises:
        DecodeError: with the reason; `UnknownKindError` where the bytes are of no kind that is read.
    """
    if not data:
        raise DecodeError("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_size(image, most_pixels)
            image.load()
            return _upright(_to_rgb(image), image)
    except DecodeError:
        raise
    except UnidentifiedImageError as error:
        raise UnknownKindError(f"not a picture of a known kind ({', '.join(_FORMATS)})") from error
    except Exception as error:  # foreign bytes can raise anything in a decoder
        raise DecodeError(_reason(error)) from error


def shorter_side_size(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) of a picture whose shorter side became `side`; what is longer than 4 to 1 is cut to that."""
    shorter = min(width, height)
    longest = side * LONGEST_RATIO
    return min(longest, round(width * side / shorter)), min(longest, round(height * side / shorter))


def resize_shorter(image: Image.Image, side: int) -> np.ndarray:
    """`image` as (H, W, 3) uint8 with its shorter side `side`, bicubic with antialiasing, longer side cut to 4 to 1."""
    width, height = image.size
    most = min(width, height) * LONGEST_RATIO
    left, top = max(0.0, (width - most) / 2), max(0.0, (height - most) / 2)
    box = (left, top, width - left, height - top)
    size = shorter_side_size(width, height, side)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=box))


def _check_size(image: Image.Image, most_pixels: int) -> None:
    width, height = image.size
    if width * height > most_pixels:
        raise DecodeError(f"{width} x {height} pixels; at most {most_pixels:,} are decoded")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return Image.fromarray(_to_bytes(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Grey values as uint8: 16-bit ones divided by 257, floats in 0..1 by 1/255, others stretched from low to high."""
    flat = values.reshape(-1)
    low, high = _range(flat)
    scaled = np.zeros(flat.shape, np.uint8)
    for strip in _strips(flat) if high > low else ():
        scaled[strip] = np.rint((_finite(flat[strip]) - low) * (255 / (high - low)))
    return scaled.reshape(values.shape)


def _range(values: np.ndarray) -> tuple[float, float]:
    """What becomes black and what white."""
    low = min(float(_finite(values[strip]).min()) for strip in _strips(values))
    high = max(float(_finite(values[strip]).max()) for strip in _strips(values))
    if np.issubdtype(values.dtype, np.floating) and low >= 0 and high <= 1:
        return 0.0, 1.0
    if np.issubdtype(values.dtype, np.integer) and low >= 0 and high <= 65535:
        return 0.0, 65535.0
    return low, high


def _strips(values: np.ndarray) -> list[slice]:
    return [slice(start, start + STRIP_PIXELS) for start in range(0, len(values), STRIP_PIXELS)]


def _finite(values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(values.astype(np.float64))


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    try:  # after load(): the TIFF reader turns pictures itself and then drops the tag
        turn = _UPRIGHT.get(source.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata does not damage the pixels
        turn = None
    return image if turn is None else image.transpose(turn)


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MOST_PIXELS:,} pixels; not decoded"
    return f"cannot be decoded whole: {error}" if str(error) else f"cannot be decoded whole: {type(error).__name__}"
