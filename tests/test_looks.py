"""What a picture looks like in numbers, against scipy, numpy and what happens to a blurred picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy.ndimage import laplace

from raytl.data.looks import look_at


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 200), st.integers(3, 200), st.integers(0, 100))
def test_light_is_that_of_the_grey_picture(width: int, height: int, seed: int) -> None:
    picture = noise(width, height, seed)
    grey = np.asarray(picture.convert("L"), np.float64) / 255
    look = look_at(picture)
    assert (look.brightness, look.contrast) == pytest.approx((grey.mean(), grey.std()), abs=1e-5)
    assert look.sharpness == pytest.approx(laplace(grey)[1:-1, 1:-1].var(), rel=1e-4)


def test_blur_lowers_sharpness_and_nothing_else_much() -> None:
    picture = noise(120, 90)
    looks = [look_at(picture.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 4)]
    sharp = [look.sharpness for look in looks]
    assert sharp == sorted(sharp, reverse=True) and sharp[0] > 100 * sharp[-1]
    assert max(look.brightness for look in looks) - min(look.brightness for look in looks) < 0.02


def test_a_large_picture_is_measured_at_a_common_size() -> None:
    small = noise(256, 300)
    large = small.resize((1024, 1200), Image.Resampling.NEAREST)
    assert look_at(large).sharpness == pytest.approx(look_at(small).sharpness, rel=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (2, 50), (50, 2)])
def test_a_picture_without_an_inside_has_no_sharpness(size: tuple[int, int]) -> None:
    assert look_at(noise(*size)).sharpness == 0.0
