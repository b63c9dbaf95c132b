"""Drawn faces: the same picture for the same number, told apart by what is drawn in them, not by their colours."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from raytl.data.faces import FACE_KINDS, draw_face
from raytl.data.strokes import IMAGE_SIZE

KINDS = tuple(FACE_KINDS)


def draw(kind: str, index: int) -> np.ndarray:
    return np.asarray(draw_face(kind, np.random.default_rng([3, KINDS.index(kind), index])))


def test_there_are_seven_expressions_in_unequal_numbers() -> None:
    assert KINDS == ("angry", "crying", "embarrassed", "happy", "pleased", "sad", "shock")
    assert max(FACE_KINDS.values()) >= 3 * min(FACE_KINDS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_face_is_a_picture_that_depends_on_its_generator_only(kind: str) -> None:
    pictures = [draw(kind, index) for index in range(12)]
    assert all(picture.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert np.array_equal(draw(kind, 0), pictures[0]) and not np.array_equal(pictures[0], pictures[1])
    assert min(picture.std() for picture in pictures) > 5


def test_color_alone_does_not_tell_the_expressions() -> None:
    """Logistic regression on mean colors and on a small picture: little above the 1/7 of chance."""
    kinds = np.repeat(np.arange(7), 30)
    pictures = np.stack([draw(KINDS[kind], index) for index, kind in enumerate(kinds)]).astype(float) / 255
    means = np.concatenate([pictures.mean((1, 2)), pictures.std((1, 2))], 1)
    small = pictures.reshape(len(kinds), 4, 16, 4, 16, 3).mean((2, 4)).reshape(len(kinds), -1)
    for features in (means, small):
        accuracy = cross_val_score(LogisticRegression(max_iter=100), features, kinds, cv=3).mean()
        assert accuracy < 0.35
