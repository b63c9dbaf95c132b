"""Decoding, and what the scan says of files that cannot be used."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from raytl.data import decode as decoding
from raytl.data.decode import DecodeError, _to_bytes, decode, resize_shorter, shorter_side_size
from raytl.data.scan import examine
from raytl.data.sources import Found, find
from raytl.results.schemas import PictureRow
from tests.pictures import noise, write_classes


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data)).astype(int)


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its data does not have."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_matches_pillow(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(noise(1), kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)
    assert expected.shape[:2] == ((30, 40) if orientation < 5 else (40, 30))
    np.testing.assert_array_equal(pixels(data), expected)


def test_orientation_by_hand() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF: the stored left column is the shown top row, read from below
    image = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8))  # red left, green right
    np.testing.assert_array_equal(pixels(encoded(image, "PNG", exif=exif)), [[[255, 0, 0]], [[0, 255, 0]]])


def test_16_bit_grey_is_scaled() -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        got = pixels(encoded(Image.fromarray(values), kind))
        np.testing.assert_array_equal(got[0, :, 0], [0, 1, 128, 255])
        assert (got == got[:, :, :1]).all()


def test_16_bit_ppm_and_float_tiff() -> None:
    ppm = b"P5 3 1 65535\n" + np.array([0, 32896, 65535], ">u2").tobytes()
    np.testing.assert_array_equal(pixels(ppm)[0, :, 0], [0, 128, 255])
    tiff = encoded(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), "TIFF")
    np.testing.assert_array_equal(pixels(tiff)[0, :, 1], [0, 128, 255])


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_grey_values_are_scaled_in_strips_as_in_one_piece(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    values: np.ndarray = (generator.random((40, 30)) * 60_000 - (0 if kind is np.uint16 else 30_000)).astype(kind)
    if kind is np.float32:
        values[3, 4] = np.nan
    whole = _to_bytes(values)
    monkeypatch.setattr(decoding, "STRIP_PIXELS", 7)
    np.testing.assert_array_equal(_to_bytes(values), whole)
    wide = np.nan_to_num(values.astype(np.float64))
    low, high = (0, 65535) if kind is np.uint16 else (wide.min(), wide.max())
    np.testing.assert_array_equal(whole, np.rint((wide - low) * (255 / (high - low))).astype(np.uint8))


def test_a_large_grey_picture_needs_little_memory_beside_itself() -> None:
    values = np.zeros((6000, 1000), np.uint16)
    tracemalloc.start()
    _to_bytes(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000, "as float64 alone it has 48 MB"


def test_cmyk() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    assert np.abs(pixels(encoded(cmyk, "JPEG", quality=95)) - [255, 0, 0]).max() <= 4


def test_transparency_lies_over_white() -> None:
    rgba = Image.fromarray(np.array([[[255, 0, 0, 255], [0, 0, 255, 0], [0, 0, 0, 51]]], np.uint8))
    np.testing.assert_array_equal(pixels(encoded(rgba, "PNG"))[0], [[255, 0, 0], [255] * 3, [204] * 3])
    grey = Image.fromarray(np.array([[[0, 0], [0, 255]]], np.uint8), "LA")
    np.testing.assert_array_equal(pixels(encoded(grey, "PNG"))[0], [[255] * 3, [0] * 3])
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    data = encoded(palette, "PNG", transparency=bytes([0, 255]))
    np.testing.assert_array_equal(pixels(data)[0], [[255] * 3, [200, 100, 50]])


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_animations_give_their_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert np.abs(pixels(data) - [255, 0, 0]).max() <= 2


def test_damaged_exif_does_not_damage_the_picture() -> None:
    data = encoded(noise(1), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\xff")
    np.testing.assert_array_equal(pixels(data), np.asarray(noise(1)))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "not a picture of a known kind"),
        (encoded(noise(1, 200, 200), "JPEG")[:-900], "cannot be decoded whole"),
        (encoded(noise(1), "PNG")[:-40], "cannot be decoded whole"),
        (huge_png(20_000, 20_000), "pixels"),
        (huge_png(10_001, 10_000), "100,010,000|10001 x 10000 pixels"),
    ],
)
def test_what_cannot_be_decoded(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(data)


def test_a_flipped_byte_in_a_png_is_noticed() -> None:
    data = bytearray(encoded(noise(1), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(DecodeError):
        decode(bytes(data))


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (16, 16), (500, 20), (20, 500), (3, 1000)])
def test_resizing_keeps_the_aspect_up_to_4(size: tuple[int, int]) -> None:
    image = noise(3, *size)
    result = resize_shorter(image, 24)
    assert result.shape == (*reversed(shorter_side_size(*size, 24)), 3)
    assert min(result.shape[:2]) == 24
    assert max(result.shape[:2]) == min(96, round(24 * max(size) / min(size)))
    shorter, longer = min(size), min(max(size), 4 * min(size))
    cut = ImageOps.fit(image, (longer, shorter) if size[0] > size[1] else (shorter, longer), centering=(0.5, 0.5))
    reference = np.asarray(cut.resize(result.shape[1::-1], Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(result - reference).mean() < 1


def by_name(rows: tuple[PictureRow, ...]) -> dict[str, PictureRow]:
    return {row.path: row for row in rows}


def rows_of(found: Sequence[Found], root: Path, workers: int | None = None) -> tuple[PictureRow, ...]:
    return tuple(each.row for each in examine(found, root, workers))


def test_rows_of_good_and_bad_files(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 2, "b": 1})
    (tmp_path / "a" / "x.jpg").mkdir()
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "empty.png").touch()
    (tmp_path / "a" / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / "inside.png").symlink_to(tmp_path / "b" / "000.png")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "b" / "absent.png")
    outside = tmp_path.parent / f"{tmp_path.name}-outside.png"
    noise(9).save(outside)
    (tmp_path / "a" / "outside.png").symlink_to(outside)
    (tmp_path / "a" / "loop.png").symlink_to(tmp_path / "a" / "loop.png")
    rows = by_name(rows_of(find(tmp_path), tmp_path))
    assert len(rows) == 12
    reasons = {row.path.removeprefix("a/"): str(row.reason) for row in rows.values() if row.status == "bad"}
    expected = {
        "x.jpg": "a folder",
        "pipe.png": "not a regular file",
        "empty.png": "empty file",
        "page.jpg": "not a picture",
        "notes.txt": "not the name of a picture",
        "gone.png": "a link to nothing",
        "outside.png": "leads out of the data folder",
        "loop.png": "cannot be read",
    }
    assert reasons.keys() == expected.keys()
    assert all(expected[name] in reason for name, reason in reasons.items()), reasons
    good = rows["a/001.png"]
    data = (tmp_path / "a" / "001.png").read_bytes()
    assert (good.status, good.width, good.height) == ("ok", 41, 30)
    assert good.sha256 == hashlib.sha256(data).hexdigest()
    assert rows["a/inside.png"].sha256 == rows["b/000.png"].sha256


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_no_permission(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "a" / "000.png").chmod(0)
    assert "cannot be read" in str(rows_of(find(tmp_path), tmp_path)[0].reason)


def test_listed_file_that_is_absent(tmp_path: Path) -> None:
    (row,) = rows_of([Found(tmp_path / "no.png", "a")], tmp_path, workers=1)
    assert (row.status, row.reason, row.path) == ("bad", "no such file", "no.png")
