"""The uint8 store: right pixels, each content once, whole or not at all."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import raytl.data.pixels as pixels_module
import raytl.data.store as module
from raytl.data.album import Album, open_album
from raytl.data.decode import decode
from raytl.data.pixels import StoredPixels
from raytl.data.store import build_store, open_data, read_index, store_bytes
from raytl.errors import DataError, StorageError
from tests.pictures import noise, write_classes


@pytest.fixture
def album(tmp_path: Path) -> Album:
    data = write_classes(tmp_path / "data", {"a": 8, "b": 8})
    noise(50, 20, 300).save(data / "a" / "tall.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(51).save(data / "b" / "turned.jpg", exif=exif)
    (data / "b" / "copy.png").write_bytes((data / "b" / "003.png").read_bytes())
    return open_album(data)


def test_a_store_may_be_read_by_whoever_may_read_the_folder(album: Album, tmp_path: Path) -> None:
    (tmp_path / "stores").mkdir()
    store = build_store(album, 24, tmp_path / "stores")
    assert store.stat().st_mode == (tmp_path / "stores").stat().st_mode


def test_pixels_labels_and_keys(album: Album, tmp_path: Path) -> None:
    data = open_data(album, build_store(album, 24, tmp_path / "stores"))
    assert (data.classes, data.fingerprint) == (("a", "b"), album.fingerprint)
    for name, part in (("train", data.train), ("val", data.val), ("test", data.test)):
        rows = album.part(name)
        assert part.paths == tuple(row.path for row in rows)
        assert len(part) == len(rows)
        assert part.labels.tolist() == ["ab".index(row.label) for row in rows]
        assert part.labels.dtype == torch.int64
        assert part.keys.dtype == np.uint64
        for index, row in enumerate(rows):
            file = album.path(row)
            assert int(part.keys[index]) == int(hashlib.sha256(file.read_bytes()).hexdigest()[:16], 16)
            picture = part.picture(index)
            assert picture.dtype == np.uint8
            if "turned" in row.path:
                assert picture.shape == (32, 24, 3)
            elif "tall" in row.path:
                assert picture.shape == (96, 24, 3)
            else:
                image = Image.open(file)
                size = (round(24 * image.width / 30), 24)
                expected = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
                np.testing.assert_array_equal(picture, expected)


def test_pictures_are_views_that_cannot_be_written(album: Album, tmp_path: Path) -> None:
    part = open_data(album, build_store(album, 24, tmp_path)).train
    assert isinstance(part.pixels, StoredPixels)
    assert np.shares_memory(part.picture(0), part.pixels.mapped)
    with pytest.raises(ValueError, match="read-only"):
        part.picture(0)[:] = 0


def test_each_content_is_decoded_once_for_all_splits(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counting(data: bytes) -> Image.Image:
        calls.append(len(data))
        return decode(data)

    monkeypatch.setattr(pixels_module, "decode", counting)
    store = build_store(album, 24, tmp_path)
    assert len(calls) == 18  # 19 files, two of them equal
    assert build_store(album, 24, tmp_path) == build_store(album.resplit(1), 24, tmp_path) == store
    assert len(calls) == 18
    assert build_store(album, 32, tmp_path) != store
    assert len(open_data(album.resplit(1), store).train) == len(album.part("train"))


def test_bytes_are_foreseen(album: Album, tmp_path: Path) -> None:
    for size in (7, 24, 50):
        store = build_store(album, size, tmp_path)
        assert (store / "pixels.bin").stat().st_size == store_bytes(album, size)


def test_a_store_travels_by_path(album: Album, tmp_path: Path) -> None:
    part = open_data(album, build_store(album, 24, tmp_path)).train
    before = part.picture(2).copy()
    data = pickle.dumps(part)
    assert len(data) < 10_000 < store_bytes(album, 24)
    np.testing.assert_array_equal(pickle.loads(data).picture(2), before)


def test_a_failed_build_leaves_nothing(album: Album, tmp_path: Path) -> None:
    album.path(album.used[0]).write_bytes(b"other")
    album.path(album.used[4]).unlink()
    with pytest.raises(DataError) as caught:
        build_store(album, 24, tmp_path / "stores")
    assert sorted(text.split(": ")[1].split(" since")[0] for text in caught.value.problems) == [
        "cannot be read",
        "changed",
    ]
    assert list((tmp_path / "stores").iterdir()) == []


def test_a_race_is_won_by_either(album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = build_store(album, 24, tmp_path / "one")
    real = module._fill

    def slower(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(module, "_fill", real)
        build_store(album, 24, tmp_path / "two")

    monkeypatch.setattr(module, "_fill", slower)
    store = build_store(album, 24, tmp_path / "two")
    assert [path.name for path in (tmp_path / "two").iterdir()] == [expected.name]
    assert (store / "pixels.bin").read_bytes() == (expected / "pixels.bin").read_bytes()


def test_a_disk_that_is_full(album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(StorageError, match=f"disk is full.*{store_bytes(album, 24):,} bytes"):
        build_store(album, 24, tmp_path / "stores")
    assert list((tmp_path / "stores").iterdir()) == []


def test_a_damaged_store_is_refused(album: Album, tmp_path: Path) -> None:
    store = build_store(album, 24, tmp_path)
    with (store / "pixels.bin").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(StorageError, match="100 bytes"):
        read_index(store)
    with pytest.raises(StorageError, match="not a readable store"):
        read_index(tmp_path / "absent")


def test_a_store_of_other_pictures_is_refused(album: Album, tmp_path: Path) -> None:
    other = open_album(write_classes(tmp_path / "other", {"a": 5, "b": 5}, start=900))
    with pytest.raises(StorageError, match="lacks 19 pictures"):
        open_data(album, build_store(other, 24, tmp_path))
