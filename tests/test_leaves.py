"""Drawn leaves: the same picture for the same number, told apart by the structure of their marks, not by colour."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from raytl.data.leaves import LEAF_KINDS, draw_leaf
from raytl.data.strokes import IMAGE_SIZE

KINDS = tuple(LEAF_KINDS)


def draw(kind: str, index: int) -> np.ndarray:
    return np.asarray(draw_leaf(kind, np.random.default_rng([3, KINDS.index(kind), index])))


@pytest.mark.parametrize("kind", KINDS)
def test_a_leaf_is_a_picture_that_depends_on_its_generator_only(kind: str) -> None:
    first, again, other = draw(kind, 0), draw(kind, 0), draw(kind, 1)
    assert first.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.std() > 5  # not an empty picture


def test_color_alone_does_not_tell_the_kinds() -> None:
    """Logistic regression on mean colors and on a small picture: far below what a network reaches."""
    kinds = np.repeat(np.arange(3), 40)
    pictures = np.stack([draw(KINDS[kind], index) for index, kind in enumerate(kinds)]).astype(float) / 255
    means = np.concatenate([pictures.mean((1, 2)), pictures.std((1, 2))], 1)
    small = pictures.reshape(len(kinds), 4, 16, 4, 16, 3).mean((2, 4)).reshape(len(kinds), -1)
    for features in (means, small):
        accuracy = cross_val_score(LogisticRegression(max_iter=100), features, kinds, cv=4).mean()
        assert accuracy < 0.6
