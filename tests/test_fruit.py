"""Drawn fruit and vegetables: the same picture for the same number, and kinds that mean colours do not give away."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from raytl.data.crops import CROPS
from raytl.data.fruit import draw_fruit
from raytl.data.strokes import IMAGE_SIZE

KINDS = tuple(CROPS)


def draw(kind: str, index: int) -> np.ndarray:
    return np.asarray(draw_fruit(kind, np.random.default_rng([3, KINDS.index(kind), index])))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fruit_is_a_picture_that_depends_on_its_generator_only(kind: str) -> None:
    pictures = [draw(kind, index) for index in range(6)]
    assert all(picture.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert np.array_equal(draw(kind, 0), pictures[0]) and not np.array_equal(pictures[0], pictures[1])
    assert min(picture.std() for picture in pictures) > 5  # none is empty


def test_mean_colors_do_not_tell_the_kinds() -> None:
    """Logistic regression on means and deviations of colours: far below what a network reaches."""
    kinds = np.repeat(np.arange(36), 8)
    pictures = np.stack([draw(KINDS[kind], index) for index, kind in enumerate(kinds)]).astype(float) / 255
    means = np.concatenate([pictures.mean((1, 2)), pictures.std((1, 2))], 1)
    accuracy = cross_val_score(LogisticRegression(max_iter=200, C=10.0), means, kinds, cv=4).mean()
    assert accuracy < 0.25


def test_kinds_differ_in_color_as_the_real_ones_do() -> None:
    """The middle of a carrot is redder than that of a cucumber, in most pictures."""
    middle = slice(IMAGE_SIZE // 2 - 8, IMAGE_SIZE // 2 + 8)

    def warmth(kind: str) -> float:
        pictures = [draw(kind, index)[middle, middle].astype(float) for index in range(20)]
        return float(np.median([picture[..., 0].mean() - picture[..., 1].mean() for picture in pictures]))

    assert warmth("carrot") > 20 > warmth("cucumber") + 20
