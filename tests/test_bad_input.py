"""D1 to D9: what a person may hand over by mistake, and what they are told. Seen from the command line where it can be.

Each kind of file has its own tests beside the module that handles it; here stands what must hold for the whole.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raytl.cli import main
from raytl.data.album import open_album
from raytl.data.decode import decode
from raytl.data.store import build_store, open_data
from tests.pictures import noise, write_classes
from tests.test_scan import encoded, huge_png

Captured = pytest.CaptureFixture[str]
CLASSES = ("daisy", "rose", "tulip")
GOOD, BAD = 200, 100


def good_files(index: int) -> tuple[str, bytes]:
    """A picture that must be taken, of one of many kinds, with a name that somebody may give it."""
    image, exif = noise(index, 33 + index % 9, 30), Image.Exif()
    exif[0x0112] = 1 + index % 8
    grey16 = Image.fromarray((np.arange(900, dtype=np.uint16) * 70 + index).reshape(30, 30))
    kinds: list[tuple[str, Callable[[], bytes]]] = [
        ("png", lambda: encoded(image, "PNG")),
        ("jpg", lambda: encoded(image, "JPEG", exif=exif)),
        ("JPEG", lambda: encoded(image.convert("CMYK"), "JPEG")),
        ("gif", lambda: encoded(image, "GIF", save_all=True, append_images=[noise(1)])),
        ("webp", lambda: encoded(image, "WEBP")),
        ("tif", lambda: encoded(image, "TIFF", exif=exif)),
        ("bmp", lambda: encoded(image, "BMP")),
        ("png", lambda: encoded(image.convert("RGBA"), "PNG")),
        ("png", lambda: encoded(image.convert("LA"), "PNG")),
        ("png", lambda: encoded(image.convert("P"), "PNG")),
        ("png", lambda: encoded(grey16, "PNG")),
        ("ppm", lambda: encoded(image, "PPM")),
    ]
    suffix, make = kinds[index % len(kinds)]
    names = ("{}", "日本語 {}", "🌼{}", "with space {}", "line\nbreak {}", "\x1b[31m{}", "e\u0301{}", "deep/er/{}")
    return f"{names[index % len(names)].format(index)}.{suffix}", make()


def bad_files(index: int) -> tuple[str, bytes | None]:
    """A file that cannot be used; None stands for a folder with a picture's name."""
    whole = encoded(noise(index, 200, 150), "JPEG")
    png = encoded(noise(index), "PNG")
    flipped = bytearray(png)
    flipped[60 + index % (len(png) - 80)] ^= 0x55  # in the packed pixels
    kinds: list[tuple[str, bytes | None]] = [
        ("jpg", whole[: len(whole) * (1 + index % 8) // 10]),
        ("png", png[: len(png) * (1 + index % 8) // 10]),
        ("jpg", b""),
        ("jpg", b"<!DOCTYPE html><title>404</title>"),
        ("jpg", b"just some words, saved under the wrong name"),
        ("png", bytes(flipped)),
        ("png", huge_png(20_000, 20_000)),
        ("jpg", None),
        ("txt", png),
        ("gif", encoded(noise(index), "GIF")[:30]),
    ]
    suffix, data = kinds[index % len(kinds)]
    return f"bad {index}.{suffix}", data


def write(path: Path, data: bytes | None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if data is None:
        path.mkdir()
    else:
        path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[Path]]:
    """Three hundred files, a hundred of which cannot be used."""
    root = tmp_path_factory.mktemp("corpus")
    bad = set()
    for index in range(GOOD):
        name, data = good_files(index)
        write(root / CLASSES[index % 3] / name, data)
    for index in range(BAD - 2):
        name, content = bad_files(index)
        bad.add(write(root / CLASSES[index % 3] / name, content))
    os.mkfifo(root / "rose" / "pipe.png")
    (root / "rose" / "nowhere.png").symlink_to(root / "absent")
    return root, bad | {root / "rose" / "pipe.png", root / "rose" / "nowhere.png"}


def test_d1_of_three_hundred_files_the_hundred_bad_ones_are_reported_and_no_other(
    corpus: tuple[Path, set[Path]],
) -> None:
    root, bad = corpus
    album = open_album(root, allow_bad=True)
    assert len(album.pictures) == GOOD + BAD
    refused = {album.path(row) for row in album.pictures if row.status == "bad"}
    assert refused == bad
    assert all(row.reason for row in album.pictures if row.status == "bad")
    assert len(album.used) == GOOD and not {album.path(row) for row in album.used} & bad
    assert sum(sum(counts.values()) for counts in album.counts().values()) == GOOD


def test_d1_beyond_one_percent_of_a_class_the_data_is_refused(
    corpus: tuple[Path, set[Path]], tmp_path: Path, capsys: Captured
) -> None:
    root, _ = corpus
    assert main(["search", str(root), "--out", str(tmp_path / "study")]) == 4
    said = capsys.readouterr().err
    assert all(f"class '{label}': " in said and "more than 1%" in said for label in CLASSES)
    assert not (tmp_path / "study").exists() and "\x1b" not in said
    assert main(["data", "check", str(root)]) == 4
    said = capsys.readouterr().out
    assert said.count("\n  ") >= BAD and f"{BAD} cannot be used:" in said and "\x1b" not in said


def test_d2_odd_kinds_have_the_same_pixels_in_training_evaluation_and_use(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for index in range(48):
        name, content = good_files(index)
        write(root / CLASSES[index % 3] / name, content)
    album = open_album(root)
    data = open_data(album, build_store(album, 30, tmp_path / "cache"))
    for part in ("train", "val", "test"):
        rows, pictures = album.part(part), getattr(data, part)
        for index, row in enumerate(rows):
            upright = np.asarray(decode(album.path(row).read_bytes()))
            stored = pictures.picture(index)
            assert stored.shape == upright.shape, "shorter side 30: nothing is resized"
            np.testing.assert_array_equal(stored, upright, err_msg=row.path)


def counts(**classes: int) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        for name in classes:
            (root / name).mkdir(parents=True)
        return write_classes(root, classes)

    return make


@pytest.mark.parametrize(
    ("make", "sentences"),
    [
        (counts(a=20, b=0), ["class 'b' is empty"]),
        (counts(a=20, b=1), ["class 'b'", "1 picture"]),
        (counts(a=20, b=2, c=1), ["class 'b'", "2 picture", "class 'c'", "1 picture"]),
        (counts(a=20), ["only one class, 'a'", "two"]),
        (counts(), ["no class folder"]),
    ],
)
def test_d3_classes_that_are_too_small(
    make: Callable[[Path], Path], sentences: list[str], tmp_path: Path, capsys: Captured
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    assert main(["search", str(make(root)), "--out", str(tmp_path / "study")]) == 4
    said = capsys.readouterr().err
    assert all(sentence in said for sentence in sentences), said
    assert not (tmp_path / "study").exists()


def test_d4_one_mapping_of_classes_from_train(tmp_path: Path, capsys: Captured) -> None:
    splits = ("train", "val", "test")
    root = write_classes(tmp_path / "data", {f"{split}/{label}": 4 for split in splits for label in "ba"})
    assert open_album(root).classes == ("a", "b")
    write_classes(root, {"test/zebra": 2, "val/yak": 2}, start=100)
    assert main(["search", str(root), "--out", str(tmp_path / "study")]) == 4
    said = capsys.readouterr().err
    assert "class 'yak' is in val but not in train" in said and "class 'zebra' is in test but not in train" in said


def test_d5_copies_stay_on_one_side_and_are_reported(tmp_path: Path, capsys: Captured) -> None:
    root = write_classes(tmp_path / "data", {"a": 40, "b": 40})
    for index in range(10):
        data = (root / "a" / f"{index:03d}.png").read_bytes()
        (root / "a" / f"copy {index}.png").write_bytes(data)
    (root / "b" / "conflict.png").write_bytes((root / "a" / "020.png").read_bytes())
    noise(70, 40).resize((80, 60)).save(root / "b" / "near.png")
    album = open_album(root)
    for split_index in range(3):
        rows = album.resplit(split_index).used
        assert len({(row.sha256, row.split) for row in rows}) == len({row.sha256 for row in rows})
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().out
    assert "11 pictures are there more than once" in said and "label conflict" in said and "across splits" not in said
    assert "near copies" in said and "near.png" in said


def test_d5_copies_across_given_splits_are_left_out_of_the_earlier_one(tmp_path: Path, capsys: Captured) -> None:
    splits = ("train", "val", "test")
    root = write_classes(tmp_path / "data", {f"{split}/{label}": 8 for split in splits for label in "ab"})
    copies = {
        "train/a/copy.png": "test/a/001.png",
        "train/b/copy.png": "val/b/002.png",
        "val/a/copy.png": "test/a/003.png",
    }
    for copy, source in copies.items():
        (root / copy).write_bytes((root / source).read_bytes())
    (root / "train" / "b" / "relabelled.png").write_bytes((root / "test" / "a" / "001.png").read_bytes())
    album = open_album(root)
    left_out = {row.path: row.reason for row in album.pictures if row.split is None}
    assert left_out == {
        **{copy: f"the same bytes are in {source.split('/')[0]} ({source})" for copy, source in copies.items()},
        "train/b/relabelled.png": "the same bytes are in test (test/a/001.png)",
    }
    assert len(album.used) == 48
    assert len({row.sha256 for row in album.used}) == 48
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().out
    assert said.count("(left out)") == 4 and "across splits" not in said


def test_d5_near_copies_across_given_splits_are_left_out_of_the_earlier_one(tmp_path: Path) -> None:
    splits = ("train", "val", "test")
    root = write_classes(tmp_path / "data", {f"{split}/{label}": 8 for split in splits for label in "ab"})
    pictures = {name: noise(70 + number, 40) for number, name in enumerate(("one", "two", "three", "four"))}
    pictures["one"].save(root / "train" / "a" / "one.png")
    pictures["one"].resize((90, 60)).save(root / "test" / "b" / "one.png")
    pictures["two"].save(root / "val" / "a" / "two.png")
    pictures["two"].resize((90, 60)).save(root / "test" / "a" / "two.png")
    pictures["three"].save(root / "train" / "a" / "three.png")
    pictures["three"].resize((90, 60)).save(root / "train" / "a" / "smaller three.png")
    album = open_album(root)
    assert {row.path: row.reason for row in album.pictures if row.split is None} == {
        "train/a/one.png": "looks the same as one in test (test/b/one.png)",
        "val/a/two.png": "looks the same as one in test (test/a/two.png)",
    }


def test_d6_odd_names_are_taken_or_named_and_never_reach_the_terminal_raw(tmp_path: Path, capsys: Captured) -> None:
    root = write_classes(tmp_path / "data", {"日本語 🌼": 20, "a b": 20, "A B": 20, ".ipynb_checkpoints": 2})
    (root / "a b" / "Thumbs.db").write_bytes(b"x")
    odd = [b"line\nbreak.png", b"\x1b[31mred.png", b"\xff\xfe.png", b"n" * 251 + b".png", "e\u0301.png".encode()]
    for number, name in enumerate(odd):
        target = os.path.join(os.fsencode(root / "a b"), name)  # noqa: PTH118
        Path(os.fsdecode(target)).write_bytes(encoded(noise(1000 + number), "PNG"))
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().out
    assert f"{60 + len(odd)} pictures in 3 classes" in said
    assert "\x1b" not in said and said.encode()
    twins = write_classes(tmp_path / "twins", {"caf\u00e9": 5, "cafe\u0301": 5})
    assert main(["data", "check", str(twins)]) == 4
    assert ascii("caf\u00e9") in capsys.readouterr().err


def test_d7_links_are_not_followed_out_of_the_data(tmp_path: Path, capsys: Captured) -> None:
    root = write_classes(tmp_path / "data", {"a": 200, "b": 200})
    outside = write_classes(tmp_path / "outside", {"c": 1})
    (root / "a" / "out.png").symlink_to(outside / "c" / "000.png")
    (root / "b" / "loop").symlink_to(root / "b")
    assert main(["data", "check", str(root)]) == 0
    said = capsys.readouterr().out
    assert "leads out of the data folder" in said and "a link to a folder" in said and "400 pictures" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        ("--set lr=-1 --set colour=3", ["lr=-1", "colour"]),
        ("--set lr=log:0.1:0.001", ["lr"]),
        ("--backbones resnet5O,tiny_vitt", ["'resnet5O'", "resnet50", "'tiny_vitt'", "tiny_vit"]),
        ("--backbones nonesuch --set lr=-1 --trials 0", ["'nonesuch'", "lr=-1", "trials=0"]),
    ],
)
def test_d9_wrong_words_are_all_named_within_three_seconds(words: str, sentences: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "raytl.cli", "search", "digits", "--out", str(tmp_path / "s")]
    begin = time.monotonic()
    ran = subprocess.run([*command, *words.split()], capture_output=True, text=True, check=False)
    assert time.monotonic() - begin < 3
    assert ran.returncode == 2, ran.stderr
    lines = [line for line in ran.stderr.splitlines() if not line.startswith("import time:")]
    assert all(sentence in "\n".join(lines) for sentence in sentences), lines
    assert " torch\n" not in ran.stderr and " ray\n" not in ran.stderr, "refused before either is imported"
    assert not (tmp_path / "s").exists()
