"""Pictures of a final model's results."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from raytl.results.figures import (
    COLUMNS,
    confusion_counts,
    confusion_png,
    heat_png,
    mistakes_png,
    overlay,
    smaller,
)
from tests.pictures import noise


def opened(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    assert picture.format == "PNG"
    return picture


def test_counts_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    classes = ["c", "a", "b", "unseen"]
    labels = random.choice(classes[:3], 200).tolist()
    predicted = random.choice(classes[:3], 200).tolist()
    assert np.array_equal(
        confusion_counts(labels, predicted, classes), confusion_matrix(labels, predicted, labels=classes)
    )


def test_labels_and_predictions_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        confusion_png(["a", "b"], ["a"], ["a", "b"])


@pytest.mark.parametrize("count", [1, 3, 30, 70])
def test_any_number_of_classes_fits_a_picture(count: int) -> None:
    classes = [f"class {index} $x" for index in range(count)]
    right = np.asarray(opened(confusion_png(classes, classes, classes)))
    wrong = np.asarray(opened(confusion_png(classes, classes[::-1], classes)))
    assert max(right.shape) < 2000
    assert count == 1 or not np.array_equal(right, wrong)


@pytest.mark.parametrize("count", [0, 1, 9])
def test_mistakes_show_each_picture(count: int) -> None:
    colour = np.array([250, 3, 120], dtype=np.uint8)
    pictures = [(np.full((16, 24, 3), colour), f"a taken for b ({index})") for index in range(count)]
    shown = np.asarray(opened(mistakes_png(pictures)).convert("RGB"))
    assert ((shown == colour).all(axis=2).sum() > 5000 * count) == (count > 0)


def test_what_is_cold_is_the_grey_of_the_picture_and_what_is_hot_is_red() -> None:
    picture = np.asarray(noise(3, 24, 16))
    heat = np.zeros((16, 24))
    heat[4:8, 6:12] = 1
    heat[12:, :6] = 0.5
    shown = overlay(picture, heat)
    assert shown.shape == picture.shape and shown.dtype == np.uint8
    grey = np.asarray(Image.fromarray(picture).convert("L"), np.int16)
    assert np.abs(shown[heat == 0] - grey[heat == 0][:, None]).max() <= 1
    red, green, blue = (shown[heat == 1][:, channel].astype(int) for channel in range(3))
    assert (red > green).all() and (red > blue).all()
    red, green, blue = (shown[heat == 0.5][:, channel].astype(int) for channel in range(3))
    assert (green > red).all() and (green > blue).all()


@pytest.mark.parametrize("count", [1, 4, 9])
def test_heat_maps_show_each_picture_and_its_overlay(count: int) -> None:
    colour = np.array([250, 3, 120], dtype=np.uint8)
    square, grey = np.full((20, 20, 3), colour), round(0.299 * 250 + 0.587 * 3 + 0.114 * 120)
    captions = ("a $name, " * 30, "short")
    png = heat_png([(square, np.zeros((20, 20)), captions[index % 2]) for index in range(count)], "none")
    shown = np.asarray(opened(png).convert("RGB")).astype(int)
    for wanted in (colour, (grey, grey, grey)):
        assert (shown == wanted).all(axis=2).sum() == pytest.approx(134 * 134 * count, rel=0.02)
    rows, columns = (len(np.unique(where)) for where in np.nonzero((shown == colour).all(axis=2)))
    assert (rows, columns) == (134 * -(-count // COLUMNS), 134 * min(count, COLUMNS))


def test_where_there_are_no_heat_maps_a_sentence_says_why() -> None:
    said, silent = (np.asarray(opened(heat_png([], text)).convert("L")) for text in ("no map can be made $", " "))
    assert said.shape == silent.shape
    assert (said < 128).sum() > 100 and (silent < 128).sum() == 0


def test_a_page_gets_the_same_picture_in_fewer_bytes() -> None:
    generator = np.random.default_rng(0)
    grain = generator.integers(0, 50, (8, 64, 64, 3))
    noisy = [(np.asarray(noise(seed, 64, 64)) * 0.8 + each).astype(np.uint8) for seed, each in enumerate(grain)]
    png = heat_png([(picture, np.zeros((64, 64)), "a") for picture in noisy], "none")
    small = Image.open(io.BytesIO(smaller(png)))
    assert small.format == "JPEG" and small.size == opened(png).size
    assert len(smaller(png)) < len(png) / 3
    difference = np.asarray(small, int) - np.asarray(opened(png).convert("RGB"), int)
    assert np.abs(difference).mean() < 4
