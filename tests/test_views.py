"""Batches: keyed randomness, and each step against an independent reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats
from torchvision.transforms.v2 import functional as reference

from raytl.data.color import _SIGMA, blur, jitter
from raytl.data.draws import Draws
from raytl.data.views import RATIO, SCALE, View, _random_boxes, center_batch, center_squares, eval_batch, train_batch
from raytl.data.warp import sampling_matrices, warp
from raytl.recipe import PRESETS, Recipe
from tests.pictures import noise

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ALL = "crop+flip+rotate:15+affine:10,0.1+zoom:0.4+jitter:0.2+blur"


class Memory:
    """Pictures in memory, in place of a store."""

    def __init__(self, pictures: Sequence[np.ndarray]) -> None:
        self.pictures = pictures
        self.keys = np.arange(len(pictures), dtype=np.uint64)

    def picture(self, index: int) -> np.ndarray:
        return self.pictures[index]


def some(count: int = 12, width: int = 52, height: int = 40) -> Memory:
    return Memory([np.asarray(noise(index, width + index % 5, height)) for index in range(count)])


def view(augment: str, size: int = 32, plain: bool = False) -> View:
    steps = Recipe(backbone="x", augment=augment).parsed_augment
    return View(size, (0, 0, 0) if plain else MEAN, (1, 1, 1) if plain else STD, steps)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("augment", [*PRESETS, ALL, "autoaugment", "randaugment", "crop+trivialaugment", "zoom:0.9"])
@pytest.mark.parametrize("size", [32, 230])  # 230: several chunks of a few pictures
def test_a_picture_is_the_same_in_every_batch_and_order(augment: str, size: int) -> None:
    pictures = some(9)
    whole = train_batch(pictures, range(9), view(augment, size), seed=3, epoch=2)
    assert whole.shape == (9, 3, size, size)
    assert whole.dtype == torch.float32
    assert whole.is_contiguous(memory_format=torch.channels_last)
    assert torch.isfinite(whole).all()
    order = [4, 0, 8, 2, 6, 1, 3, 7, 5]
    shuffled = train_batch(pictures, np.array(order), view(augment, size), seed=3, epoch=2)
    alone = torch.cat([train_batch(pictures, [index], view(augment, size), seed=3, epoch=2) for index in order])
    assert torch.equal(shuffled, whole[order])
    assert torch.equal(alone, whole[order])


def test_seed_and_epoch_change_the_view() -> None:
    pictures = some(4)
    first, other_epoch, other_seed = (
        train_batch(pictures, range(4), view("crop"), seed, epoch) for seed, epoch in ((0, 1), (0, 2), (1, 1))
    )
    for other in (other_epoch, other_seed):
        assert all(not torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_the_global_generator_is_unmoved() -> None:
    for augment in (ALL, "autoaugment", "randaugment", "trivialaugment"):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        train_batch(some(3), range(3), view(augment), 0, 1)
        assert torch.equal(torch.rand(3), expected)


def test_draws_are_uniform_and_independent() -> None:
    keys = np.arange(20_000, dtype=np.uint64)  # consecutive keys are the hardest for a hash
    first, second = Draws(0, 1, keys).uniform("a"), Draws(0, 1, keys).uniform("b")
    later = Draws(0, 2, keys).uniform("a")
    for values in (first, second, later):
        assert stats.kstest(values, "uniform").pvalue > 1e-4
    for other in (second, later, np.roll(first, 1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.03
    assert len(np.unique(Draws(0, 1, keys).bits("a"))) == len(keys)
    assert abs(Draws(0, 1, keys).chance("flip", 0.5).mean() - 0.5) < 0.015


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60), (50, 50), (160, 40), (1, 1)])
def test_crops_lie_inside_and_have_the_shares_asked_for(width: int, height: int) -> None:
    count = 2000
    sources = [np.zeros((height, width, 3), np.uint8)] * count
    boxes = np.array(_random_boxes(sources, Draws(0, 1, np.arange(count, dtype=np.uint64))))
    top, left, high, wide = boxes.T
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (top + high <= height).all()
    assert (left + wide <= width).all()
    if width == height == 50:
        inside = (high < height) & (wide < width)
        area, ratio = (high * wide / 2500)[inside], (wide / high)[inside]
        assert SCALE[0] - 0.03 < area.min() < SCALE[0] + 0.03 < area.max()
        assert RATIO[0] - 0.05 < ratio.min() < ratio.max() < RATIO[1] + 0.05
        assert (top == 0).any()
        assert (top + high == height).any()


def test_crop_matches_pillow() -> None:
    pictures = some(6)
    batch = train_batch(pictures, range(6), view("crop", plain=True), 0, 1)
    boxes = _random_boxes(pictures.pictures, Draws(0, 1, pictures.keys))
    for image, picture, (top, left, high, wide) in zip(batch, pictures.pictures, boxes, strict=True):
        part = Image.fromarray(picture[top : top + high, left : left + wide])
        expected = np.asarray(part.resize((32, 32), Image.Resampling.BILINEAR)).astype(float)
        apart = np.abs(image.permute(1, 2, 0).numpy() * 255 - expected)
        assert apart.max() < 2.1  # both round to bytes after each of two passes
        assert apart.mean() < 0.3


def test_flip_mirrors_half_of_the_pictures() -> None:
    pictures = Memory([np.asarray(noise(index)) for index in range(200)])
    plain = train_batch(pictures, range(200), view("none"), 0, 1)
    flipped = train_batch(pictures, range(200), view("flip"), 0, 1)
    mirrored = [torch.equal(one.flip(2), two) for one, two in zip(plain, flipped, strict=True)]
    same = [torch.equal(one, two) for one, two in zip(plain, flipped, strict=True)]
    assert all(one != two for one, two in zip(mirrored, same, strict=True))
    assert 70 < sum(mirrored) < 130


def test_evaluation_cuts_the_center_without_resampling() -> None:
    picture = np.asarray(noise(1, 53, 40))
    batch = eval_batch(Memory([picture]), [0], view(ALL, 32))
    cut = picture[4:36, 10:42] / 255
    expected = ((cut - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(batch[0].numpy(), expected, atol=1e-5)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(train_batch(Memory([picture]), [0], view("none", 32), 0, 1), batch)


@pytest.mark.parametrize(("width", "height"), [(20, 16), (16, 20), (90, 24)])
def test_evaluation_enlarges_what_is_too_small(width: int, height: int) -> None:
    picture = np.asarray(noise(1, width, height))
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(picture).crop((left, top, left + side, top + side))
    expected = np.asarray(square.resize((32, 32), Image.Resampling.BILINEAR)).astype(float)
    batch = eval_batch(Memory([picture]), [0], view("none", 32, plain=True))
    assert np.abs(batch[0].permute(1, 2, 0).numpy() * 255 - expected).max() < 1.6


def test_warp_matches_scipy() -> None:
    image = torch.from_numpy(np.asarray(noise(2, 48, 48)).transpose(2, 0, 1).copy()).float()[None]
    draws = Draws(1, 1, np.array([7], np.uint64))
    steps = {"rotate": (30.0,), "affine": (10.0, 0.2), "zoom": (0.4,)}
    result = warp(image, steps, draws)[0].numpy()
    degrees = draws.uniform("rotate", -30, 30)[0] + draws.uniform("affine angle", -10, 10)[0]
    shift = np.array([draws.uniform("affine y", -0.2, 0.2)[0], draws.uniform("affine x", -0.2, 0.2)[0]]) * 48
    scale = draws.uniform("zoom", 0.6, 1.4)[0]
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale  # (row, column)
    center = np.array([23.5, 23.5])
    offset = center - matrix @ (center + shift)
    for channel in range(3):
        expected = ndimage.affine_transform(image[0, channel].numpy(), matrix, offset, order=1, mode="reflect")
        assert np.abs(result[channel] - expected).max() < 0.5


def test_warp_turns_counterclockwise_and_moves_right_and_down() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 7] = 1  # right of the center
    for degrees, shift, target in ((90.0, (0, 0), (1, 4)), (0.0, (1 / 9, 2 / 9), (6, 8))):
        matrix = sampling_matrices(np.array([degrees]), np.array([shift]), np.array([1.0]))
        grid = torch.nn.functional.affine_grid(matrix, [1, 1, 9, 9], align_corners=False)
        moved = torch.nn.functional.grid_sample(image, grid, align_corners=False)
        assert moved[0, 0, target[0], target[1]] > 0.99


def test_jitter_matches_the_three_steps_one_by_one() -> None:
    image = 60 + 0.4 * torch.from_numpy(np.asarray(noise(4)).transpose(2, 0, 1).copy()).float()[None]
    draws = Draws(0, 1, np.array([3], np.uint64))
    factors = [draws.uniform(f"jitter {name}", 0.8, 1.2)[0] for name in ("brightness", "contrast", "saturation")]
    expected = reference.adjust_brightness(image / 255, factors[0])
    expected = reference.adjust_contrast(expected, factors[1])
    expected = reference.adjust_saturation(expected, factors[2]) * 255
    torch.testing.assert_close(jitter(image, 0.2, draws), expected, atol=0.05, rtol=0)
    assert 0 <= jitter(image * 5, 1.0, draws).min() <= jitter(image * 5, 1.0, draws).max() <= 255


def test_blur_matches_scipy() -> None:
    image = torch.from_numpy(np.asarray(noise(5)).transpose(2, 0, 1).copy()).float()
    draws = Draws(0, 1, np.arange(6, dtype=np.uint64))
    result = blur(image.repeat(6, 1, 1, 1), draws)
    for blurred, sigma in zip(result, draws.uniform("blur", *_SIGMA), strict=True):
        for channel in range(3):
            expected = ndimage.gaussian_filter(image[channel].numpy(), sigma, mode="mirror", radius=6)
            assert np.abs(blurred[channel].numpy() - expected).max() < 0.05


def test_what_a_model_is_shown_is_what_its_batch_is_made_of() -> None:
    pictures = some(4).pictures
    squares = center_squares(pictures, view("none"))
    assert squares.shape == (4, 3, 32, 32) and squares.dtype == torch.uint8
    expected = reference.normalize(squares / 255, list(MEAN), list(STD))
    torch.testing.assert_close(center_batch(pictures, view("none")), expected, rtol=0, atol=1e-5)
    assert np.array_equal(squares[0].permute(1, 2, 0), pictures[0][4:36, 10:42])
