"""The style sheet: whole, without a network, and readable in light and dark."""

from __future__ import annotations

import re

import pytest

from raytl.results.picture_sections import HOT_SHARE
from raytl.results.stylesheet import SERIES, STYLE

READABLE = 4.5  # contrast of text, level AA of the Web Content Accessibility Guidelines 2.1
VISIBLE = 3.0  # contrast of marks in charts, the same guidelines


def schemes() -> list[dict[str, str]]:
    found = [
        dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    ]
    assert len(found) == 2
    return found


def luminance(color: str) -> float:
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_and_marks_stand_out(scheme: int) -> None:
    colors = schemes()[scheme]
    for name in ("ink", "soft", "bad", "c0"):
        assert contrast(colors[name], colors["back"]) >= READABLE, name
    assert contrast(colors["ink"], colors["card"]) >= READABLE
    for index in range(SERIES):
        assert contrast(colors[f"c{index}"], colors["back"]) >= VISIBLE, index


@pytest.mark.parametrize("scheme", [0, 1])
def test_figures_in_a_matrix_can_be_read_on_every_shade(scheme: int) -> None:
    colors = schemes()[scheme]
    for percent in range(101):
        pairs = [[int(colors[name][at : at + 2], 16) for name in ("heat", "card")] for at in (1, 3, 5)]
        mixed = [round((heat * percent + card * (100 - percent)) / 100) for heat, card in pairs]
        ink = "#ffffff" if percent / 100 > HOT_SHARE else colors["ink"]
        assert contrast(ink, f"#{mixed[0]:02x}{mixed[1]:02x}{mixed[2]:02x}") >= VISIBLE, percent


def test_both_schemes_give_every_color_that_is_used() -> None:
    light, dark = schemes()
    assert light.keys() == dark.keys()
    assert set(re.findall(r"var\(--(\w+)\)", STYLE)) - {"share"} <= light.keys()


def test_it_is_whole_and_fetches_nothing() -> None:
    assert STYLE.count("{") == STYLE.count("}")
    assert not re.search(r"url\(|@import|https?:", STYLE)
