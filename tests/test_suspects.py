"""Placeholders, label conflicts and near copies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from raytl.data.scan import examine
from raytl.data.sources import find
from raytl.data.suspects import label_conflicts, mark_suspects, near_copies
from tests.pictures import noise, write_classes


def placeholder() -> Image.Image:
    image = Image.new("RGB", (300, 300), (246, 246, 246))
    draw = ImageDraw.Draw(image)
    draw.rectangle((20, 20, 280, 280), outline=(230, 230, 230))
    draw.text((60, 130), "NO IMAGE HERE", fill=(60, 60, 60), font_size=24)
    return image


@pytest.mark.parametrize("suffix", ["gif", "jpg", "png"])
def test_a_drawn_placeholder_among_photographs(tmp_path: Path, suffix: str) -> None:
    write_classes(tmp_path, {"a": 12, "b": 12})
    placeholder().save(tmp_path / "a" / f"missing.{suffix}")
    rows = mark_suspects(examine(find(tmp_path), tmp_path))
    marked = {row.path: row.reason for row in rows if row.status == "suspect"}
    assert marked.keys() == {f"a/missing.{suffix}"}
    assert "looks like a placeholder" in str(marked[f"a/missing.{suffix}"])


def test_drawings_among_drawings_are_no_suspects(tmp_path: Path) -> None:
    for index in range(20):
        image = Image.new("RGB", (80, 80), "white")
        ImageDraw.Draw(image).line((10, 10 + index * 3, 70, 70 - index * 2), fill="black", width=4)
        folder = tmp_path / "ab"[index % 2]
        folder.mkdir(exist_ok=True)
        image.save(folder / f"{index}.png")
    assert {row.status for row in mark_suspects(examine(find(tmp_path), tmp_path))} == {"ok"}


def test_the_same_bytes_in_two_classes(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "b" / "copy.png").write_bytes((tmp_path / "a" / "001.png").read_bytes())
    rows = mark_suspects(examine(find(tmp_path), tmp_path))
    marked = {row.path: row.reason for row in rows if row.status == "suspect"}
    assert marked == dict.fromkeys(("a/001.png", "b/copy.png"), "the same bytes are in the classes a, b")
    assert list(label_conflicts(rows).values()) == [("a", "b")]


def test_near_copies(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": 10, "b": 10})
    noise(3, 43).resize((86, 60), Image.Resampling.BICUBIC).save(tmp_path / "b" / "large.png")
    noise(15, 45).save(tmp_path / "b" / "again.jpg", quality=80)
    (tmp_path / "a" / "exact.png").write_bytes((tmp_path / "a" / "000.png").read_bytes())
    pairs = near_copies(examine(find(tmp_path), tmp_path))
    assert sorted(map(sorted, pairs)) == [["a/003.png", "b/large.png"], ["b/005.png", "b/again.jpg"]]


@pytest.mark.skipif("RAYTL_TEST_DATA" not in os.environ, reason="RAYTL_TEST_DATA names no folder of photographs")
def test_real_photographs() -> None:
    data = Path(os.environ["RAYTL_TEST_DATA"])
    marked = [
        row.path
        for name in ("hymenoptera", "flowers")
        for row in mark_suspects(examine(find(data / name), data / name))
        if row.status == "suspect"
    ]
    assert "train/ants/imageNotFound.gif" in marked
    assert len(marked) <= 4  # of 1,148, three of them photographs at most
