"""Opening a data set: what is used, what is reported, what the fingerprint covers."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from PIL import Image

from raytl.data.album import describe, open_album
from raytl.errors import ConfigError, DataError
from tests.pictures import noise, write_classes


def test_counts_and_classes(tmp_path: Path) -> None:
    album = open_album(write_classes(tmp_path, {"b": 20, "a": 10}))
    assert album.classes == ("a", "b")
    assert album.counts() == {"a": {"train": 6, "val": 2, "test": 2}, "b": {"train": 14, "val": 3, "test": 3}}
    parts = [row.path for split in ("train", "val", "test") for row in album.part(split)]
    assert sorted(parts) == sorted(row.path for row in album.pictures)
    assert all(album.path(row).is_file() for row in album.pictures)
    assert pickle.loads(pickle.dumps(album)) == album


def test_fingerprint_covers_content_names_and_split(tmp_path: Path) -> None:
    first = open_album(write_classes(tmp_path / "one", {"a": 10, "b": 10}))
    same = open_album(write_classes(tmp_path / "two", {"a": 10, "b": 10}))
    assert first.fingerprint == same.fingerprint  # the folder's own place does not count
    assert len(first.fingerprint) == 16
    assert first.resplit(1).fingerprint != first.fingerprint
    assert open_album(tmp_path / "one", seed=1).fingerprint != first.fingerprint
    (tmp_path / "two/a/000.png").rename(tmp_path / "two/a/renamed.png")
    assert open_album(tmp_path / "two").fingerprint != first.fingerprint
    noise(99).save(tmp_path / "one/a/000.png")
    assert open_album(tmp_path / "one").fingerprint != first.fingerprint


def test_resplit_equals_opening_anew(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 20, "b": 20})
    assert open_album(tmp_path, seed=5).resplit(2) == open_album(tmp_path, seed=5, split_index=2)
    assert open_album(tmp_path).resplit(3).resplit(0) == open_album(tmp_path)


def test_resplit_keeps_a_given_test_set(tmp_path: Path) -> None:
    write_classes(tmp_path, {"train/a": 20, "train/b": 20, "val/a": 5, "val/b": 5})
    albums = [open_album(tmp_path).resplit(index) for index in range(4)]
    assert {album.part("test") for album in albums} == {albums[0].part("test")}
    assert {row.path.split("/")[0] for row in albums[0].part("test")} == {"val"}
    assert len({album.part("val") for album in albums}) == 4


def test_three_given_splits_are_the_only_ones(tmp_path: Path) -> None:
    write_classes(tmp_path, {f"{split}/{label}": 3 for split in ("train", "val", "test") for label in "ab"})
    album = open_album(tmp_path)
    assert album.resplit(0) == album
    with pytest.raises(ConfigError, match="only split 0"):
        album.resplit(1)


def test_bad_files_up_to_one_percent(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 99, "b": 10})
    (tmp_path / "a" / "bad.png").write_bytes(b"no picture")
    album = open_album(tmp_path)
    assert len(album.pictures) == 110
    assert len(album.used) == 109
    assert any("a/bad.png: not a picture" in line for line in describe(album))
    (tmp_path / "b" / "bad.png").touch()
    with pytest.raises(DataError, match=r"class 'b': 1 of 11 files cannot be used.*b/bad\.png: empty file") as caught:
        open_album(tmp_path)
    assert len(caught.value.problems) == 1
    assert len(open_album(tmp_path, allow_bad=True).used) == 109


def test_a_class_of_bad_files_only(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 9, "b": 9, "c": 0})
    (tmp_path / "c" / "bad.png").touch()
    with pytest.raises(DataError, match="class 'c' has no usable picture"):
        open_album(tmp_path, allow_bad=True)


def test_suspects_are_kept_unless_dropped(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 12, "b": 12})
    Image.new("RGB", (50, 50), "white").save(tmp_path / "a" / "blank.png")
    kept, dropped = open_album(tmp_path), open_album(tmp_path, drop_suspect=True)
    assert "a/blank.png" in {row.path for row in kept.used}
    for album in (dropped, dropped.resplit(1)):
        assert "a/blank.png" not in {row.path for row in album.used}
        assert len(album.used) == 24
        assert any("a/blank.png: looks like a placeholder" in line and "left out" in line for line in describe(album))


def test_copies_and_conflicts_are_described(tmp_path: Path) -> None:
    write_classes(tmp_path, {f"{split}/{label}": 4 for split in ("train", "val", "test") for label in "ab"}, start=7)
    data = (tmp_path / "train/a/000.png").read_bytes()
    (tmp_path / "test/a/copy.png").write_bytes(data)
    (tmp_path / "train/b/conflict.png").write_bytes((tmp_path / "train/a/001.png").read_bytes())
    noise(9, 42).save(tmp_path / "val/b/near.jpg", quality=85)
    text = "\n".join(describe(open_album(tmp_path)))
    assert "exact copies across splits: test/a/copy.png [a, test], train/a/000.png [a, train]" in text
    assert "label conflict: train/a/001.png [a, train], train/b/conflict.png [b, train]" in text
    assert "near copies across splits under two labels: train/a/002.png [a, train], val/b/near.jpg [b, val]" in text
