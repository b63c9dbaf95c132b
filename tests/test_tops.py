"""Tops: drawn at the stem's end of a body and nowhere near its tip."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from raytl.data.crops import CROPS, Crop
from raytl.data.strokes import CANVAS, Brush
from raytl.data.tops import draw_leaf, draw_top

TOPS = sorted({top for crop in CROPS.values() for top in crop.top})
UNIT = 30.0  # pixels of the canvas


def touched(canvas: Image.Image) -> np.ndarray:
    """Where something was drawn, as (N, 2) points in the frame of the body."""
    down, across = np.nonzero(np.asarray(canvas).any(2))
    return np.stack([(across - CANVAS / 2) / UNIT, (CANVAS / 2 - down) / UNIT], 1)


def blank() -> tuple[Image.Image, Brush]:
    canvas = Image.new("RGB", (CANVAS, CANVAS))
    return canvas, Brush(ImageDraw.Draw(canvas), np.full(2, CANVAS / 2), np.diag([UNIT, -UNIT]))


@pytest.mark.parametrize("top", TOPS)
def test_a_top_lies_at_the_stem(top: str) -> None:
    canvas, brush = blank()
    draw_top(brush, (0.0, 1.0), Crop(colors=((200, 120, 40),), top=(top,)), np.random.default_rng(2))
    points = touched(canvas)
    if top == "bare":
        assert len(points) == 0
        return
    assert np.hypot(points[:, 0], points[:, 1] - 1.0).min() < 0.25
    assert points[:, 1].min() > -0.8  # husks reach the lower half, nothing the tip


def test_a_leaf_reaches_from_its_base_along_its_angle() -> None:
    canvas, brush = blank()
    draw_leaf(brush, (0.5, 0.0), np.pi / 2, 1.2, 0.2, (60, 120, 45))
    points = touched(canvas)
    assert points[:, 1].min() == pytest.approx(0.0, abs=0.05) and points[:, 1].max() == pytest.approx(1.2, abs=0.05)
    assert np.ptp(points[:, 0]) == pytest.approx(0.4, abs=0.08) and points[:, 0].mean() == pytest.approx(0.5, abs=0.05)
