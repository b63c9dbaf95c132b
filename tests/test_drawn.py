"""Drawn flowers: the same picture for the same number, different ones otherwise, and not told apart by color alone."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from raytl.data.drawn import FLOWER_KINDS, draw_flower
from raytl.data.strokes import IMAGE_SIZE


def draw(kind: str, index: int) -> np.ndarray:
    return np.asarray(draw_flower(kind, np.random.default_rng([3, FLOWER_KINDS.index(kind), index])))


@pytest.mark.parametrize("kind", FLOWER_KINDS)
def test_a_flower_is_a_picture_that_depends_on_its_generator_only(kind: str) -> None:
    first, again, other = draw(kind, 0), draw(kind, 0), draw(kind, 1)
    assert first.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.std() > 5  # not an empty picture


def test_color_alone_does_not_tell_the_kinds() -> None:
    """Logistic regression on mean colors and on a small picture: little above the 0.2 of chance."""
    kinds = np.repeat(np.arange(5), 30)
    pictures = np.stack([draw(FLOWER_KINDS[kind], index) for index, kind in enumerate(kinds)]).astype(float) / 255
    means = np.concatenate([pictures.mean((1, 2)), pictures.std((1, 2))], 1)
    small = pictures.reshape(len(kinds), 4, 16, 4, 16, 3).mean((2, 4)).reshape(len(kinds), -1)
    for features in (means, small):
        accuracy = cross_val_score(LogisticRegression(max_iter=100), features, kinds, cv=3).mean()
        assert accuracy < 0.45
