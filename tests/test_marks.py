"""Marks of charts stand where they are told to, and words in them are only words."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from raytl.results.marks import cut, drawing, label, polyline, stroke


def test_a_drawing_is_well_formed_and_holds_its_marks() -> None:
    marks = [
        stroke("grid", 1, 2.04, 3, 4),
        polyline("curve best", [(0, 1), (2.55, 3)], "a < b", {"style": "--share: 0.50"}),
        label(5, 6, "x & y", "end", "title"),
    ]
    svg = ElementTree.fromstring(drawing(30, 20, "what <it> shows", marks, "parallel"))
    assert svg.attrib == {
        "width": "30", "height": "20", "viewBox": "0 0 30 20", "class": "parallel", "role": "img",
        "aria-label": "what <it> shows",
    }  # fmt: skip
    line, curve, words = svg
    assert line.attrib == {"class": "grid", "x1": "1.0", "y1": "2.0", "x2": "3.0", "y2": "4.0"}
    assert [tuple(map(float, point.split(","))) for point in curve.attrib["points"].split()] == [
        pytest.approx((0, 1), abs=0.05),
        pytest.approx((2.55, 3), abs=0.06),
    ]
    assert (curve.attrib["class"], curve.attrib["style"]) == ("curve best", "--share: 0.50")
    assert curve.findtext("title") == "a < b"
    assert (words.text, words.attrib["text-anchor"], words.attrib["class"]) == ("x & y", "end", "title")


def test_a_drawing_without_a_class_has_none() -> None:
    assert "class" not in ElementTree.fromstring(drawing(1, 1, "", [])).attrib


@pytest.mark.parametrize(("words", "shown"), [("abc", "abc"), ("abcd", "abcd"), ("abcde", "abc…")])
def test_long_words_are_cut(words: str, shown: str) -> None:
    assert cut(words, 4) == shown
