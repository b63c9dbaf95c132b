"""The embedded data sets: complete, the same bytes each time, and refused with a reason where they cannot be had."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from raytl.data.samples import sample_names, write_sample
from raytl.errors import DataError


def contents(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.png"))
    return {file.relative_to(folder).as_posix(): sha256(file.read_bytes()).hexdigest() for file in files}


def test_there_are_two_sets() -> None:
    assert sample_names() == ("drawn-flowers", "digits")


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


@pytest.mark.parametrize("name", ["drawn-flowers", "digits"])
def test_the_same_arguments_write_the_same_bytes(tmp_path: Path, name: str) -> None:
    first = contents(write_sample(name, tmp_path / "first", per_class=4))
    assert contents(write_sample(name, tmp_path / "second", per_class=4)) == first
    fewer = contents(write_sample(name, tmp_path / "fewer", per_class=2))
    assert fewer.items() < first.items()
    other = contents(write_sample(name, tmp_path / "other", per_class=4, seed=1))
    assert set(other) == set(first)
    assert other != first
    assert len(set(first.values())) == len(first)


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
    with pytest.raises(DataError, match="drawn-flowers, digits"):
        write_sample("flowers", tmp_path / "new")
    with pytest.raises(DataError, match="at least 1"):
        write_sample("digits", tmp_path / "new", per_class=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
