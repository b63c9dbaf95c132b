"""Stored pixels and decoded files: the same bytes for whoever asks, in whatever order; threads that end."""

from __future__ import annotations

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import raytl.data.pixels as module
from raytl.data.album import Album, open_album
from raytl.data.pixels import FilePixels, Pixels
from raytl.data.store import build_store, open_data, open_files
from raytl.errors import DataError
from tests.pictures import noise, write_classes

SIDE = 24
KINDS = ("stored", "files")


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    data = write_classes(tmp_path_factory.mktemp("pixels"), {"a": 9, "b": 9})
    noise(50, 20, 300).save(data / "a" / "tall.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(51).save(data / "b" / "turned.jpg", exif=exif)
    return open_album(data)


@pytest.fixture(params=KINDS)
def pixels(request: pytest.FixtureRequest, album: Album, tmp_path: Path) -> Pixels:
    if request.param == "files":
        return open_files(album, SIDE).train.pixels
    return open_data(album, build_store(album, SIDE, tmp_path)).train.pixels


@pytest.fixture(scope="module")
def expected(album: Album) -> list[np.ndarray]:
    """Pillow's own pictures, by hand: upright, shorter side resized, at most four times as long."""
    found = []
    for row in album.part("train"):
        with Image.open(album.path(row)) as image:
            upright = image.transpose(Image.Transpose.ROTATE_270) if "turned" in row.path else image.convert("RGB")
            box = (0, 110, 20, 190) if "tall" in row.path else (0, 0, *upright.size)
            scale = SIDE / min(upright.size)
            size = (round((box[2] - box[0]) * scale), round((box[3] - box[1]) * scale))
            found.append(np.asarray(upright.resize(size, Image.Resampling.BICUBIC, box=box)))
    return found


def decoding_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decoding")]


def test_pictures_are_the_same_in_any_order_and_as_often_as_they_are_asked_for(
    pixels: Pixels, expected: list[np.ndarray]
) -> None:
    order = [*np.random.default_rng(0).permutation(len(expected)).tolist(), 3, 3, 0]
    pixels.expect(order[:5])
    for index in order:
        picture = pixels.picture(index)
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, expected[index])
        with pytest.raises(ValueError, match="read-only"):
            picture[:] = 0
    pixels.forget()
    np.testing.assert_array_equal(pixels.picture(1), expected[1])


def test_several_threads_may_ask_while_others_expect_and_forget(pixels: Pixels, expected: list[np.ndarray]) -> None:
    def ask(seed: int) -> bool:
        order = np.random.default_rng(seed).integers(0, len(expected), 30)
        pixels.expect(order[:20])
        equal = all(np.array_equal(pixels.picture(int(index)), expected[index]) for index in order)
        pixels.forget()
        return equal

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(8)))
    assert decoding_threads() == []


def test_pixels_travel_without_their_bytes_or_threads(pixels: Pixels, expected: list[np.ndarray]) -> None:
    pixels.expect([2])
    np.testing.assert_array_equal(pixels.picture(1), expected[1])
    data = pickle.dumps(pixels)
    pixels.forget()
    assert len(data) < 4_000 < sum(picture.nbytes for picture in expected)
    np.testing.assert_array_equal(pickle.loads(data).picture(2), expected[2])


def test_the_name_tells_content_and_size_and_not_where_they_come_from(album: Album, tmp_path: Path) -> None:
    stored = open_data(album, build_store(album, SIDE, tmp_path)).train.pixels
    assert stored.name == open_files(album, SIDE).val.pixels.name != open_files(album, SIDE + 1).val.pixels.name


@pytest.mark.parametrize("expecting", [False, True])
@pytest.mark.parametrize("harm", ["other", "gone", "cut"])
def test_a_file_that_changed_since_the_scan_is_refused_as_when_a_store_is_made(
    harm: str, expecting: bool, tmp_path: Path
) -> None:
    album = open_album(write_classes(tmp_path / "data", {"a": 6, "b": 6}))
    pixels = open_files(album, SIDE).train.pixels
    file = album.path(album.part("train")[1])
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(b"other" if harm == "other" else file.read_bytes()[:-20])
    with pytest.raises(DataError) as built:
        build_store(album, SIDE, tmp_path / "stores")
    if expecting:
        pixels.expect([0, 1, 2])
    with pytest.raises(DataError) as read:
        pixels.picture(1)
    pixels.forget()
    assert read.value.problems == built.value.problems and decoding_threads() == []


def test_no_more_is_decoded_at_once_than_torch_has_threads_and_none_is_left(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = open_files(album, SIDE).train.pixels
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    busy, most, lock = 0, 0, threading.Lock()

    def slow(*_: object) -> np.ndarray:
        nonlocal busy, most
        with lock:
            busy, most = busy + 1, max(most, busy + 1)
        time.sleep(0.01)
        with lock:
            busy -= 1
        return np.zeros((SIDE, SIDE, 3), np.uint8)

    monkeypatch.setattr(module, "read_picture", slow)
    pixels.expect(range(9))
    for index in range(9):
        pixels.picture(index)
    assert most == 3 and len(decoding_threads()) == 3
    pixels.forget()
    assert decoding_threads() == []


def test_what_is_forgotten_is_not_decoded(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = open_files(album, SIDE).train.pixels
    assert isinstance(pixels, FilePixels)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    read, begun = list[object](), threading.Event()

    def slow(*arguments: object) -> np.ndarray:
        read.append(arguments[0])
        begun.set()
        time.sleep(0.05)
        return np.zeros((SIDE, SIDE, 3), np.uint8)

    monkeypatch.setattr(module, "read_picture", slow)
    pixels.expect(range(9))
    assert begun.wait(10)
    pixels.forget()
    assert len(read) < 9 and decoding_threads() == []


def test_pictures_are_decoded_once_for_each_time_they_are_expected_together(
    album: Album, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, counts = open_files(album, SIDE).train.pixels, list[object]()
    read = module.read_picture

    def counted(path: Path, digest: str, resize: int) -> np.ndarray:
        counts.append(path)
        return read(path, digest, resize)

    monkeypatch.setattr(module, "read_picture", counted)
    pixels.expect([4, 5, 4])
    for index in (4, 5, 4):
        pixels.picture(index)
    assert len(counts) == 2, "twice in the same batches: once decoded"
    pixels.picture(4)
    assert len(counts) == 3, "nobody expected it again, so it was not kept"
    pixels.forget()
