"""Two studies compared, against grids that are filled by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytl.errors import ConfigError
from raytl.results.contrast import Contrast, contrast, contrast_lines, verdict
from raytl.results.loaded import LoadedStudy, load_study
from raytl.results.stats import Interval, independent_difference, paired_difference
from tests.studies import Plan, picture_row, write_study

SMALL = Plan(backbones=("tiny_vit", "tiny_resnet"), trials=2, epochs=2, seeds=2, train_pictures=20)


def made(root: Path, contents: list[str], split: str = "test", **values: Any) -> LoadedStudy:
    """A study whose test pictures have these contents, in the order of their predictions; `split` is that of copies."""
    classes = values.get("classes", SMALL.classes)
    rows = [
        picture_row(f"test/0/{place:04d}.jpg", classes[place % len(classes)], split, content=content)
        for place, content in enumerate(contents)
    ]
    plan = replace(SMALL, extra_pictures=tuple(rows), **values)
    return load_study(write_study(root, plan).root)


def grid(study: LoadedStudy, places: list[int]) -> np.ndarray:
    """(S, N) answers of the study's best model at some of its test pictures, by a loop."""
    model = study.final_models[0]
    rows = study.predictions.to_pylist()
    return np.array(
        [
            [
                row["label"] == row["predicted"]
                for place in places
                for row in rows
                if row["trial_id"] == run and row["path"] == f"test/0/{place:04d}.jpg"
            ]
            for run in model.trial_ids
        ]
    )


def same(count: int) -> list[str]:
    return [f"picture {place:02d}" for place in range(count)]


def test_studies_of_the_same_pictures_are_compared_one_by_one(tmp_path: Path) -> None:
    a = made(tmp_path / "a", same(60))
    b = made(tmp_path / "b", same(60), seed=7, gap=0.2)
    found = contrast(a, b)
    assert (found.shared, found.alone, found.problem) == (60, 0, None)
    expected = paired_difference(grid(a, list(range(60))), grid(b, list(range(60))))
    assert found.difference.value == pytest.approx(expected.value)
    assert (found.difference.low, found.difference.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert "compared one by one on 60 test pictures that both read." in verdict(found)


def test_only_what_both_read_counts_wherever_it_lies(tmp_path: Path) -> None:
    """B has A's first thirty pictures three places later, so under the same class and other paths."""
    a = made(tmp_path / "a", same(60))
    b = made(tmp_path / "b", ["x", "y", "z", *same(30), *(f"other {place}" for place in range(27))], seed=7)
    found = contrast(a, b)
    assert (found.shared, found.alone) == (30, 60)
    expected = grid(a, list(range(30))).mean() - grid(b, list(range(3, 33))).mean()
    assert found.difference.value == pytest.approx(expected)
    assert "60 that only one of them read are left out" in verdict(found)


def test_a_picture_under_another_class_is_another_question(tmp_path: Path) -> None:
    a = made(tmp_path / "a", same(60))
    b = made(tmp_path / "b", ["x", *same(59)])
    assert contrast(a, b).shared == 0


def test_without_common_pictures_the_figures_are_independent(tmp_path: Path) -> None:
    a = made(tmp_path / "a", same(60))
    b = made(tmp_path / "b", [f"other {place}" for place in range(60)])
    found = contrast(a, b)
    assert found.shared == 0 and found.difference == independent_difference(found.a.test, found.b.test)
    said = verdict(found)
    assert "independent figures: no test picture of the two is the same" in said and "not told apart" in said


def test_a_study_with_itself_differs_in_nothing(tmp_path: Path) -> None:
    a = made(tmp_path / "a", same(60))
    found = contrast(a, a)
    assert found.difference.value == 0 and not found.difference.excludes_zero
    assert found.settings == found.versions == ()
    assert "settings: the same" in contrast_lines(found, "x", "y")


def test_what_differs_is_named(tmp_path: Path) -> None:
    a = made(tmp_path / "a", same(60))
    b = made(tmp_path / "b", same(60), metric="val_loss", backbones=("tiny_vit",))
    values = dict(b.folder.read_study())
    spec, versions = dict(values["spec"]), dict(values["versions"])  # type: ignore[call-overload]
    spec |= {"trials": 9, "settings": {"lr": 0.1}, "scheduler": "asha"}
    b.folder.write_study({**values, "spec": spec, "versions": {**versions, "torch": "3.0"}})
    lines = contrast_lines(contrast(a, b), "x", "y")
    settings = lines[lines.index("settings that differ:") + 1 : lines.index("versions that differ:")]
    assert sorted(settings) == [
        "  backbones: tiny_vit, tiny_resnet in A, tiny_vit in B",
        "  metric: val_accuracy in A, val_loss in B",
        "  settings.lr: – in A, 0.1 in B",
        "  trials: 8 in A, 9 in B",
    ]
    assert "  torch: 2.15.0 in A, 3.0 in B" in lines


def test_pictures_that_one_was_tested_on_and_the_other_trained_on_are_told(tmp_path: Path) -> None:
    a = made(tmp_path / "a", same(60))
    b = made(tmp_path / "b", same(10), split="train", classes=("daisy", "rose", "iris"))
    pictures = contrast(a, b).pictures
    assert (pictures.same, pictures.seen_a, pictures.seen_b) == (False, 0, 10)
    lines = contrast_lines(contrast(a, b), "x", "y")
    assert "  10 of A's test pictures were in B's training or validation" in lines
    assert "  classes in A alone: tulip" in lines and "  classes in B alone: iris" in lines


def test_one_backbone_can_be_compared(tmp_path: Path) -> None:
    a = made(tmp_path / "a", same(60))
    found = contrast(a, a, "tiny_resnet")
    assert {found.a.backbone, found.b.backbone} == {"tiny_resnet"} and found.a.role == "best"
    with pytest.raises(ConfigError, match=r"--backbone tiny_resnot: .*did you mean 'tiny_resnet'"):
        contrast(a, a, "tiny_resnot")


def test_a_study_without_final_models_is_refused(tmp_path: Path) -> None:
    a = made(tmp_path / "a", same(60))
    with pytest.raises(ConfigError, match="raytl resume"):
        contrast(a, load_study(write_study(tmp_path / "b", replace(SMALL, confirmed=False)).root))


def test_the_verdict_follows_the_interval(tmp_path: Path) -> None:
    a = made(tmp_path / "a", same(60))
    found: Contrast = contrast(a, a)
    for interval, words in (
        (Interval(0.1, 0.05, 0.2), "They differ: A less B is +10.0 points [+5.0, +20.0]"),
        (Interval(0.1, -0.05, 0.2), "They are not told apart"),
        (Interval(0.1, math.nan, math.nan), "cannot be told: A less B is +10.0 points, without an interval"),
    ):
        assert words in verdict(replace(found, difference=interval))
