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


def test_resplit_is_drawn_by_the_seed_and_goes_back(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 20, "b": 20})
    assert open_album(tmp_path, seed=5).resplit(2) == open_album(tmp_path, seed=5).resplit(1).resplit(2)
    assert open_album(tmp_path, seed=5).resplit(2).fingerprint != open_album(tmp_path).resplit(2).fingerprint
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
    assert "train/a/000.png: the same bytes are in test (test/a/copy.png) (left out)" in text
    assert "label conflict: train/a/001.png [a, train], train/b/conflict.png [b, train]" in text
    assert "train/a/002.png: looks the same as one in val (val/b/near.jpg) (left out)" in text


def test_several_sources_are_one_data_set_whose_classes_match_by_name(tmp_path: Path) -> None:
    one = write_classes(tmp_path / "one", {"a": 10, "b": 10})
    other = write_classes(tmp_path / "other", {"a": 4, "c": 6}, start=500)
    album = open_album([one, other])
    assert album.root == tmp_path and album.classes == ("a", "b", "c")
    assert {label: sum(counts.values()) for label, counts in album.counts().items()} == {"a": 14, "b": 10, "c": 6}
    assert {row.path.split("/")[0] for row in album.used} == {"one", "other"}
    assert all(album.path(row).is_file() for row in album.used)
    assert open_album([one]).fingerprint == open_album(one).fingerprint


def test_classes_are_grouped_by_a_map(tmp_path: Path) -> None:
    root = write_classes(tmp_path / "food", {"apple": 10, "pear": 10, "leek": 10})
    groups = {"apple": "fruit", "pear": "fruit", "leek": "vegetable"}
    album = open_album(root, class_map=groups)
    assert album.classes == ("fruit", "vegetable")
    assert {label: sum(counts.values()) for label, counts in album.counts().items()} == {"fruit": 20, "vegetable": 10}
    assert {(row.path.split("/")[0], row.label) for row in album.used} == set(groups.items())
    assert album.fingerprint != open_album(root).fingerprint


def test_sources_and_maps_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    plain = write_classes(tmp_path / "plain", {"a": 5, "b": 5})
    write_classes(tmp_path / "split" / "train", {"a": 5, "b": 5}, start=100)
    with pytest.raises(DataError, match="some of these data sets have splits and some have none"):
        open_album([plain, tmp_path / "split"])
    with pytest.raises(DataError) as caught:
        open_album([tmp_path / "nothing", tmp_path / "nowhere"])
    assert len(caught.value.problems) == 2
    with pytest.raises(DataError, match="class map: class 'b' has no group"):
        open_album(plain, class_map={"a": "x"})
