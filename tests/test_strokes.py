"""Outlines and poses: closed, turned and scaled as said."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from raytl.data.strokes import (
    CANVAS,
    IMAGE_SIZE,
    Brush,
    draw_backdrop,
    draw_background,
    ellipse_outline,
    jittered,
    petal_outline,
    photograph,
    random_pose,
    recompressed,
    rotation,
    shaded,
)


def test_a_rotation_turns_from_the_right_upwards() -> None:
    assert rotation(np.pi / 2) @ np.array([1.0, 0.0]) == pytest.approx([0.0, 1.0])


def test_an_ellipse_has_its_center_and_radii() -> None:
    outline = ellipse_outline((2.0, 3.0), (0.5, 0.25))
    assert outline.mean(axis=0) == pytest.approx([2.0, 3.0])
    assert np.ptp(outline, axis=0) == pytest.approx([1.0, 0.5])
    turned = ellipse_outline((0.0, 0.0), (0.5, 0.25), np.pi / 2)
    assert np.ptp(turned, axis=0) == pytest.approx([0.5, 1.0])


def test_a_petal_reaches_from_its_start_to_its_length() -> None:
    outline = petal_outline(0.0, 0.2, 1.0, 0.3, 0.5)
    assert outline[:, 0].min() == pytest.approx(0.2) and outline[:, 0].max() == pytest.approx(1.2)
    assert outline[:, 1].max() == pytest.approx(-outline[:, 1].min())


def test_colors_stay_colors() -> None:
    generator = np.random.default_rng(0)
    drawn = [jittered(np.array([250, 128, 5]), generator, 60.0) for _ in range(200)]
    assert all(0 <= channel <= 255 for color in drawn for channel in color)
    assert shaded((200, 100, 10), 2.0) == (255, 200, 20)


def test_what_is_drawn_through_a_pose_lies_where_the_pose_puts_it() -> None:
    canvas = Image.new("RGB", (CANVAS, CANVAS))
    brush = Brush(ImageDraw.Draw(canvas), np.array([64.0, 64.0]), np.diag([10.0, -10.0]))
    brush.polygon(np.array([(1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (1.0, 2.0)]), (255, 255, 255))
    rows, columns = np.nonzero(np.asarray(canvas)[..., 0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (44, 54, 74, 84)


def test_backgrounds_and_photographs_have_their_sizes() -> None:
    generator = np.random.default_rng(0)
    background = draw_background(generator)
    assert background.shape == (CANVAS, CANVAS, 3) and background.dtype == np.uint8
    assert photograph(Image.fromarray(background), generator).size == (IMAGE_SIZE, IMAGE_SIZE)
    scale = abs(np.linalg.det(random_pose(10.0, generator)))
    assert 0.55 * 100 <= scale <= 100


def test_a_backdrop_has_less_contrast_than_a_background() -> None:
    grounds = [draw_background(np.random.default_rng(seed)).std((0, 1)).mean() for seed in range(20)]
    backdrops = [draw_backdrop(np.random.default_rng(seed)) for seed in range(20)]
    assert all(picture.shape == (CANVAS, CANVAS, 3) and picture.dtype == np.uint8 for picture in backdrops)
    assert all(picture.std((0, 1)).mean() < ground for picture, ground in zip(backdrops, grounds, strict=True))


def test_a_recompressed_picture_is_larger_and_looks_the_same() -> None:
    generator = np.random.default_rng(0)
    picture = photograph(Image.fromarray(draw_background(generator)), generator)
    copy = recompressed(picture, generator)
    assert copy.mode == "RGB" and 1.1 * IMAGE_SIZE - 1 <= copy.width == copy.height <= 1.6 * IMAGE_SIZE
    back = np.asarray(copy.resize((8, 8), Image.Resampling.BOX), float)
    assert np.abs(back - np.asarray(picture.resize((8, 8), Image.Resampling.BOX), float)).mean() < 3


def test_a_pose_that_may_not_tilt_keeps_circles_round() -> None:
    pose = random_pose(10.0, np.random.default_rng(3), flattest=1.0)
    assert pose.T @ pose == pytest.approx(100.0 * np.eye(2))


def test_the_noise_of_a_photograph_is_bounded() -> None:
    """Neighbours of a plain canvas differ by noise alone: by sqrt(2) times its deviation, nearly."""
    plain = Image.new("RGB", (CANVAS, CANVAS), (128, 128, 128))
    for seed in range(10):
        pixels = np.asarray(photograph(plain, np.random.default_rng(seed), most_noise=4.0), float)
        assert 2.0 * 0.9 < np.diff(pixels, axis=1).std() / np.sqrt(2) < 4.0 * 1.1
