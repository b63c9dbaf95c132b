"""Bodies: outlines of known form, marks that stay on the skin, and what lies within."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from raytl.data.body import Body, draw_body, draw_cut
from raytl.data.crops import CROPS, Crop, Flesh
from raytl.data.strokes import CANVAS, Brush

GROUND, SKIN = (0, 0, 255), (120, 120, 60)
MARKS = sorted({mark for crop in CROPS.values() for mark in crop.marks})
RADIUS = 50.0


def blank() -> tuple[Image.Image, Brush]:
    canvas = Image.new("RGB", (CANVAS, CANVAS), GROUND)
    return canvas, Brush(ImageDraw.Draw(canvas), np.full(2, CANVAS / 2), np.diag([RADIUS, -RADIUS]))


def drawn(mark: str, seed: int) -> np.ndarray:
    canvas, brush = blank()
    crop = Crop(colors=(SKIN,), marks=(mark,), second=(200, 30, 30))
    draw_body(brush, Body((1.0, 1.0), 0.0), crop, SKIN, np.random.default_rng(seed))
    return np.asarray(canvas)


def test_a_body_of_even_width_is_a_circle() -> None:
    outline = Body((1.0, 1.0), 0.0).outline()
    assert np.hypot(*outline.T) == pytest.approx(np.ones(len(outline)))
    assert Body((1.0, 1.0), 0.0).outline(0.6) == pytest.approx(0.6 * outline)
    assert Body((0.5, 0.5), 0.0).outline()[:, 0].max() == pytest.approx(0.5)


def test_widths_go_from_the_tip_to_the_stem() -> None:
    pear = Body((1.0, 0.5), 0.0)
    x = pear.at(np.array([0.25, 0.75]), 1.0)[:, 0]
    assert x == pytest.approx(np.array([0.875, 0.625]) * np.sqrt(0.75))
    assert pear.at(0.75, -0.5) == pytest.approx([-0.3125 * np.sqrt(0.75), 0.5])


def test_a_bend_moves_the_middle_against_the_ends() -> None:
    spine = Body((1.0, 1.0), 0.4).at(np.array([0.0, 0.5, 1.0]), 0.0)
    assert spine == pytest.approx(np.array([(-0.2, -1.0), (0.2, 0.0), (-0.2, 1.0)]))


@pytest.mark.parametrize("mark", MARKS)
def test_marks_show_and_stay_on_the_skin(mark: str) -> None:
    plain, marked = drawn("plain", 1), drawn(mark, 1)
    down, across = np.mgrid[:CANVAS, :CANVAS]
    outside = np.hypot(down - CANVAS / 2, across - CANVAS / 2) > RADIUS + 4
    assert (marked[outside] == GROUND).all()
    assert not (marked[CANVAS // 2, CANVAS // 2] == GROUND).all()
    assert (marked != plain).any() == (mark != "plain")


def test_a_cut_shows_skin_flesh_and_seeds() -> None:
    canvas, brush = blank()
    flesh = Flesh((250, 240, 160), seeds=8, seed_color=(0, 0, 0), seed_ring=0.4)
    draw_cut(brush, Body((1.0, 1.0), 0.0), flesh, SKIN, np.random.default_rng(0))
    pixels = np.asarray(canvas).astype(int)
    far = np.hypot(*(np.mgrid[:CANVAS, :CANVAS] - CANVAS / 2)) / RADIUS
    assert (pixels[(far > 0.9) & (far < 0.95)] == SKIN).all()
    assert np.abs(pixels[far < 0.2] - (250, 240, 160)).max() < 50
    dark = (pixels == 0).all(2)
    assert dark.sum() > 8 * 5 and far[dark].min() > 0.2 and far[dark].max() < 0.6
