"""Pictures of a final model's results."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix

from raytl.results.figures import confusion_counts, confusion_png, mistakes_png


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
