"""Finding files and labels, and saying what is wrong with a data set before any picture is opened."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytl.data.sources import Found, find, find_all, name_of, original, path_of, printable
from raytl.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def summary(root: Path) -> list[tuple[str, str, str | None]]:
    return [(name_of(item.path, root), item.label, item.split) for item in find(root)]


def test_class_folders_with_nested_ones_and_litter(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.JPG", "a/2.png", "a/deep/er/3.webp", "a/notes.txt", "a/Thumbs.db", "a/.DS_Store")
    touch(tmp_path, "a/.ipynb_checkpoints/2.png", ".git/4.png", "readme.txt")
    assert summary(tmp_path) == [
        ("a/2.png", "a", None),
        ("a/deep/er/3.webp", "a", None),
        ("a/notes.txt", "a", None),
        ("b/1.JPG", "b", None),
    ]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Validation"])
def test_split_folders(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", f"{name}/a/3.jpg", f"{name}/b/4.jpg", "test/a/5.jpg")
    splits = {item.path.name: item.split for item in find(tmp_path)}
    assert splits == {"1.jpg": "train", "2.jpg": "train", "3.jpg": "val", "4.jpg": "val", "5.jpg": "test"}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "car/2.jpg", "plane/3.jpg")
    assert {item.label for item in find(tmp_path)} == {"train", "car", "plane"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_listings_keep_labels_as_text(tmp_path: Path, suffix: str) -> None:
    names, labels, splits = ["x/1.jpg", "x/2.jpg", "x/3.jpg"], ["007", "007", "08"], ["train", "valid", "train"]
    source = tmp_path / f"list{suffix}"
    if suffix == ".csv":
        rows = zip(names, labels, splits, strict=True)
        source.write_text(
            "path,extra,label,split\n" + "".join(f"{name},1,{label},{split}\n" for name, label, split in rows)
        )
    else:
        pa.parquet.write_table(pa.table({"path": names, "label": labels, "split": splits}), source)
    assert find(source) == [
        Found(tmp_path / name, label, "val" if split == "valid" else split)
        for name, label, split in zip(names, labels, splits, strict=True)
    ]


def test_a_listing_may_name_groups(tmp_path: Path) -> None:
    source = tmp_path / "list.csv"
    source.write_text("path,label,group\n1.jpg,a,007\n2.jpg,b,\n3.jpg,b,x y\n")
    assert [item.group for item in find(source)] == ["007", None, "x y"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["readme.txt"], "no class folder"),
        (["a/1.jpg"], "only one class, 'a'"),
        (["a/1.jpg", "b/.hidden"], "class 'b' is empty"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg", "val/a/1.jpg"], "class 'c' is in val but not in train"),
        (["val/a/1.jpg", "test/a/1.jpg", "val/b/1.jpg"], "no train folder"),
        (["train/a/1.jpg", "valid/a/1.jpg", "val/a/1.jpg", "train/b/1.jpg"], "2 folders mean val"),
        (["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "other/a/1.jpg"], "other beside train, val"),
        (["caf\u00e9/1.jpg", "cafe\u0301/1.jpg"], "are written alike"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, names: list[str], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        find(touch(tmp_path, *names))
    assert caught.value.exit_code == 4


def test_all_problems_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty2").mkdir()
    with pytest.raises(DataError) as caught:
        find(touch(tmp_path, "a/1.jpg"))
    assert len(caught.value.problems) == 3  # two empty classes, and one class left


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("file,label\na,b\n", "lacks the column path; it has file, label"),
        ("path,label\n", "has no row"),
        ("path,label\na.jpg,\nb.jpg,x\nc.jpg,y\n", "row 1: label is empty"),
        ("path,label,split\na.jpg,x,dev\n", "split='dev'"),
        ("path,label\na.jpg,x\n./a.jpg,y\n", "listed more than once"),
        ("path,label,split\na.jpg,x,train\nb.jpg,y,\n", "some have none"),
    ],
)
def test_bad_listings(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=sentence):
        find(tmp_path / "list.csv")


def test_nothing_there_and_wrong_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is there"):
        find(tmp_path / "absent")
    with pytest.raises(DataError, match="neither a folder nor"):
        find(touch(tmp_path, "one.jpg") / "one.jpg")


def listing(root: Path, name: str, *rows: str) -> Path:
    (root / name).write_text("\n".join(["path,label,split", *rows]))
    return root / name


def test_of_several_data_sets_each_may_have_one_class(tmp_path: Path) -> None:
    sources = [touch(tmp_path / name, f"{name}/1.jpg") for name in "ab"]
    assert [item.label for item in find_all(sources, {})] == ["a", "b"]
    with pytest.raises(DataError, match=r"one and .*two: only one class, 'a'"):
        find_all([touch(tmp_path / name, "a/1.jpg") for name in ("one", "two")], {})


def test_the_splits_of_several_data_sets_are_looked_at_together(tmp_path: Path) -> None:
    first = listing(tmp_path, "1.csv", "1.jpg,a,train", "2.jpg,b,train")
    second = listing(tmp_path, "2.csv", "3.jpg,a,val", "4.jpg,b,test")
    assert len(find_all([first, second], {})) == 4
    stranger = listing(tmp_path, "3.csv", "5.jpg,c,test")
    with pytest.raises(DataError, match="class 'c' is in test but not in train") as caught:
        find_all([first, second, stranger], {})
    assert len(caught.value.problems) == 1
    with pytest.raises(DataError, match="there are only pictures of test, val; train has none"):
        find_all([second, stranger], {})
    mixed = listing(tmp_path, "4.csv", "6.jpg,a,train", "7.jpg,b,")
    with pytest.raises(DataError, match=r"4.csv: some pictures have a split and some have none") as caught:
        find_all([first, mixed, tmp_path / "absent"], {})
    assert [problem.split(": ")[1][:7] for problem in caught.value.problems] == ["some pi", "nothing"]


def test_one_class_written_in_two_ways_in_two_data_sets_is_noticed(tmp_path: Path) -> None:
    sources = [
        touch(tmp_path / str(number), f"{name}/1.jpg", "b/1.jpg") for number, name in enumerate(["é", "e\u0301"])
    ]
    with pytest.raises(DataError, match="are written alike"):
        find_all(sources, {})


def test_a_folder_that_this_user_may_not_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: cannot be read (Permission denied); make it readable")):
        find(tmp_path)


def test_links_to_folders_are_not_entered(tmp_path: Path) -> None:
    data = touch(tmp_path / "data", "a/1.jpg", "b/2.jpg")
    touch(tmp_path / "outside", "3.jpg")
    (data / "a" / "loop").symlink_to(data / "a")
    (data / "b" / "out").symlink_to(tmp_path / "outside")
    assert [name for name, _, _ in summary(data)] == ["a/1.jpg", "a/loop", "b/2.jpg", "b/out"]
    (data / "c").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="'c' is a link"):
        find(data)


def test_odd_names_are_found_and_printable(tmp_path: Path) -> None:
    names = [
        b"\xff\xfe.jpg",
        b"line\nbreak.jpg",
        b"\x1b[31mred.jpg",
        "日本語 🌼.jpg".encode(),
        b"back\\slash.jpg",
        b"n" * 251,
    ]
    folder = os.fsencode(touch(tmp_path, "a/1.jpg", "b/1.jpg") / "a")
    for name in names:
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(b"x")  # noqa: PTH118
    found = find(tmp_path)
    assert len(found) == 2 + len(names)
    for item in found:
        written = name_of(item.path, tmp_path)
        written.encode("utf-8")
        assert written.isprintable()
        assert path_of(written, tmp_path) == item.path


@given(st.text())
def test_printable_can_be_undone(text: str) -> None:
    assert original(printable(text)) == text


@given(st.binary())
def test_printable_of_any_bytes(data: bytes) -> None:
    text = os.fsdecode(data)
    printable(text).encode("utf-8")
    assert original(printable(text)) == text
