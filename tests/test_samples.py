"""The embedded data sets: complete, the same bytes each time, and refused with a reason where they cannot be had."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from raytl.data import samples as module
from raytl.data.album import open_album
from raytl.data.crops import CROPS
from raytl.data.samples import sample_names, sized_name, write_sample
from raytl.errors import DataError


def contents(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.png"))
    return {file.relative_to(folder).as_posix(): sha256(file.read_bytes()).hexdigest() for file in files}


def test_there_are_five_sets() -> None:
    assert sample_names() == ("drawn-flowers", "drawn-leaves", "drawn-fruit", "drawn-faces", "digits")


@pytest.mark.parametrize(("name", "classes"), [("drawn-flowers", 5), ("digits", 10)])
def test_each_class_has_the_pictures_asked_for(tmp_path: Path, name: str, classes: int) -> None:
    folder = write_sample(name, tmp_path / name, per_class=3)
    assert folder == tmp_path / name
    files = sorted(folder.rglob("*.png"))
    assert len(files) == 3 * classes
    assert {file.name for file in files} == {"0000.png", "0001.png", "0002.png"}
    for file in files:
        with Image.open(file) as picture:
            assert (picture.size, picture.mode) == ((64, 64), "RGB")


@pytest.mark.parametrize(
    ("name", "count"),
    [("drawn-flowers", 4), ("drawn-leaves", 4), ("drawn-fruit", 2), ("drawn-faces", 4), ("digits", 4)],
)
def test_the_same_arguments_write_the_same_bytes(tmp_path: Path, name: str, count: int) -> None:
    first = contents(write_sample(name, tmp_path / "first", per_class=count))
    assert contents(write_sample(name, tmp_path / "second", per_class=count)) == first
    fewer = contents(write_sample(name, tmp_path / "fewer", per_class=count // 2))
    assert fewer.items() < first.items()
    other = contents(write_sample(name, tmp_path / "other", per_class=count, seed=1))
    assert set(other) == set(first)
    assert other != first
    assert len(set(first.values())) == len(first)


@pytest.mark.parametrize(("per_class", "counts"), [(20, (20, 3, 20)), (1, (1, 1, 1))])
def test_healthy_leaves_are_rare(tmp_path: Path, per_class: int, counts: tuple[int, ...]) -> None:
    folder = write_sample("drawn-leaves", tmp_path / "leaves", per_class=per_class)
    found = {path.name: len(list(path.iterdir())) for path in folder.iterdir()}
    assert found == dict(zip(("early-blight", "healthy", "late-blight"), counts, strict=True))


def test_rare_expressions_stay_rare(tmp_path: Path) -> None:
    folder = write_sample("drawn-faces", tmp_path / "faces", per_class=28)
    found = {path.name: len(list(path.iterdir())) for path in folder.iterdir()}
    counts = (21, 14, 9, 28, 17, 22, 9)
    kinds = ("angry", "crying", "embarrassed", "happy", "pleased", "sad", "shock")
    assert found == dict(zip(kinds, counts, strict=True))


def test_copies_of_fruit_cross_the_given_splits_and_are_found(tmp_path: Path) -> None:
    """Of the first pictures those of every tenth class are copies: from the first on in test, from the sixth in val."""
    folder = write_sample("drawn-fruit", tmp_path / "fruit", per_class=2)
    kinds = list(CROPS)
    planted = {(f"test/{kind}/0000.png", f"train/{kind}/0000.png") for kind in kinds[::10]}
    planted |= {(f"train/{kind}/0000.png", f"validation/{kind}/0000.png") for kind in kinds[5::10]}
    album = open_album(folder)
    assert set(album.near_copies) <= planted and len(album.near_copies) >= 5
    left_out = {row.path for row in album.pictures if row.split is None}
    assert left_out == {path for pair in album.near_copies for path in pair if path.startswith("train/")}
    assert {counts["val"] for counts in album.counts().values()} == {1}
    assert sum(counts["train"] for counts in album.counts().values()) == 72 - len(left_out)
    for pair in planted:
        with Image.open(folder / pair[0]) as one, Image.open(folder / pair[1]) as other:
            assert one.size != other.size
            pixels = [np.asarray(picture.resize((16, 16), Image.Resampling.BOX), float) for picture in (one, other)]
        assert np.abs(pixels[0] - pixels[1]).mean() < 4


def speck(kind: str, rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (2, 2, 3), np.uint8))


@pytest.mark.parametrize(("per_class", "held_out", "copies"), [(100, 10, 36), (11, 2, 8), (10, 1, 4)])
def test_a_copy_of_fruit_has_its_original_in_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, per_class: int, held_out: int, copies: int
) -> None:
    """Specks instead of pictures, copied byte for byte, so that each original is found by its bytes."""
    monkeypatch.setattr(module, "draw_fruit", speck)
    monkeypatch.setattr(module, "recompressed", lambda picture, rng: picture)
    found = contents(write_sample("drawn-fruit", tmp_path / "fruit", per_class=per_class))
    train = {digest: name for name, digest in found.items() if name.startswith("train/")}
    assert len(train) == 36 * per_class
    originals: list[str] = []
    for split in ("validation", "test"):
        held = {name: digest for name, digest in found.items() if name.startswith(f"{split}/")}
        assert len(held) == 36 * held_out
        copied = {name: train[digest] for name, digest in held.items() if digest in train}
        assert abs(len(copied) - copies) <= 1  # where classes do not divide into rounds, validation may have one less
        assert all(name.split("/")[1] == original.split("/")[1] for name, original in copied.items())
        originals += copied.values()
    assert len(set(originals)) == len(originals)


def test_a_number_of_pictures_may_stand_behind_a_name() -> None:
    assert sized_name("digits") == ("digits", None)
    assert sized_name("drawn-flowers:14") == ("drawn-flowers", 14)
    for text in ("digits:", "digits:many", "digits:-3", "digits:1:2"):
        with pytest.raises(DataError, match=f"{text}: .* is no number of pictures a class; write it like"):
            sized_name(text)


def test_all_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    folder = write_sample("digits", tmp_path / "digits")
    counts = [len(list((folder / str(digit)).iterdir())) for digit in range(10)]
    digits = load_digits()
    assert counts == np.bincount(digits.target).tolist()
    # Averaged down again, a picture is nearest to an original of its own class.
    for digit in range(10):
        with Image.open(folder / str(digit) / "0000.png") as picture:
            small = np.asarray(picture.convert("L").resize((8, 8), Image.Resampling.BOX), float) * 16 / 255
        nearest = np.abs(digits.images - small).sum((1, 2)).argmin()
        assert digits.target[nearest] == digit


def test_what_cannot_be_written_is_refused_with_all_reasons(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(DataError) as refused:
        write_sample("digits", tmp_path, per_class=175)
    assert len(refused.value.problems) == 2
    assert "174" in str(refused.value)
    with pytest.raises(DataError, match="drawn-flowers, drawn-leaves, drawn-fruit, drawn-faces, digits"):
        write_sample("flowers", tmp_path / "new")
    with pytest.raises(DataError, match="at least 1"):
        write_sample("digits", tmp_path / "new", per_class=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
