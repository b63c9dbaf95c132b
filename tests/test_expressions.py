"""Expressions: brows, tears and mouths lie as their kind says."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from raytl.data.expressions import Features, draw_expression
from raytl.data.strokes import CANVAS, Brush

SKIN, HAIR, UNIT = (200, 170, 140), (0, 250, 0), 50.0
BROW, TEAR, MOUTH = (0, 150, 0), (150, 205, 245), (110, 35, 45)
FEATURES = Features(SKIN, HAIR, iris=(70, 45, 30), eye_apart=0.4, eye_size=0.25, turn=np.zeros(2))


def places(kind: str, seed: int, color: tuple[int, int, int]) -> np.ndarray:
    """Where the face has just this color, (N, 2), in the frame of the face."""
    canvas = Image.new("RGB", (CANVAS, CANVAS), SKIN)
    brush = Brush(ImageDraw.Draw(canvas), np.full(2, CANVAS / 2), np.diag([UNIT, -UNIT]))
    draw_expression(brush, kind, FEATURES, np.random.default_rng(seed))
    down, across = np.nonzero((np.asarray(canvas) == color).all(2))
    return np.stack([(across - CANVAS / 2) / UNIT, (CANVAS / 2 - down) / UNIT], 1)


def brow_rise(kind: str) -> float:
    """How much higher the inner ends of the brows lie than the outer ones, on the mean of some faces."""
    rises = []
    for seed in range(12):
        brows = places(kind, seed, BROW)
        inner = np.abs(brows[:, 0]) < 0.3
        outer = np.abs(brows[:, 0]) > 0.5
        rises.append(brows[inner, 1].mean() - brows[outer, 1].mean())
    return float(np.mean(rises))


def share(kind: str, color: tuple[int, int, int]) -> float:
    return float(np.mean([len(places(kind, seed, color)) > 10 for seed in range(60)]))


def test_brows_fall_towards_the_nose_in_anger_and_rise_in_sadness() -> None:
    assert brow_rise("angry") < -0.15 < 0.05 < brow_rise("sad")
    assert abs(brow_rise("happy")) < 0.07


def test_tears_are_likely_where_someone_cries_and_rare_where_someone_is_glad() -> None:
    assert share("crying", TEAR) > 0.7
    assert 0.05 < share("sad", TEAR) < 0.5
    assert share("happy", TEAR) < 0.25


@pytest.mark.parametrize(("kind", "least", "most"), [("shock", 0.9, 1.0), ("happy", 0.4, 0.9), ("pleased", 0.0, 0.0)])
def test_mouths_are_open_as_the_expression_says(kind: str, least: float, most: float) -> None:
    assert least <= share(kind, MOUTH) <= most


def test_eyes_lie_on_both_sides_above_the_mouth() -> None:
    for kind in ("angry", "sad", "shock"):
        ink = places(kind, 1, (45, 30, 35))
        eyes = ink[ink[:, 1] > -0.1]
        assert (eyes[:, 0] < -0.2).sum() > 10 and (eyes[:, 0] > 0.2).sum() > 10
        assert np.abs(ink[ink[:, 1] < -0.4, 0]).max() < 0.55
