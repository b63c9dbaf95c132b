"""ONNX files in 8 bits: smaller, described, and compared as they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raytl.data.album import open_album
from raytl.models.classifier import build_classifier
from raytl.use.export import LoadedModel
from raytl.use.int8 import LEAST_AGREEMENT, Int8File, calibration_of, write_int8
from raytl.use.onnx_file import INPUT, batches, drawn_pictures, metadata_of, write_onnx
from raytl.use.predict import read_pictures
from tests.pictures import write_classes
from tests.tiny import tiny_recipe

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    recipe = tiny_recipe(backbone="tiny_vit", image_size=32, eval_resize=36)
    torch.manual_seed(0)
    built = build_classifier(recipe, 3).eval()
    return LoadedModel(built, recipe, ("a", "b", "c"), built.input, recipe.eval_resize)


@pytest.fixture(scope="module")
def whole(model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_onnx(model, tmp_path_factory.mktemp("onnx") / "m.onnx").path


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_the_file_is_small_and_agrees_as_it_says(kind: str, model: LoadedModel, whole: Path, tmp_path: Path) -> None:
    measured = drawn_pictures(36, 12) if kind == "static" else []
    compared = drawn_pictures(36, 20)
    written = write_int8(model, whole, tmp_path / "m-int8.onnx", measured, compared)
    assert written.kind == kind and list(tmp_path.iterdir()) == [written.path]
    assert written.bytes == written.path.stat().st_size < 0.4 * whole.stat().st_size
    session = onnxruntime.InferenceSession(written.path)
    x = torch.cat(list(batches(model, compared))).contiguous()
    (small,) = session.run(["probabilities"], {INPUT: x.numpy()})
    (large,) = onnxruntime.InferenceSession(whole).run(["probabilities"], {INPUT: x.numpy()})
    assert written.compared == 20 and 0 < np.abs(small - large).max() < 0.2
    # A dynamic scale covers a whole batch, and the file was compared in batches of other sizes.
    tolerance = 0.02 if kind == "dynamic" else 1e-4
    assert written.difference == pytest.approx(np.abs(small - large).max(), abs=tolerance)
    assert written.agreement == pytest.approx((small.argmax(1) == large.argmax(1)).mean(), abs=0.1)
    told = session.get_modelmeta().custom_metadata_map
    assert told == metadata_of(model) | {"precision": f"int8 ({kind})"}
    assert json.loads(told["classes"]) == ["a", "b", "c"]


def test_a_low_agreement_and_drawn_pictures_are_warned_of() -> None:
    good = Int8File(Path("x.onnx"), 10, "static", LEAST_AGREEMENT, 0.01, 100)
    assert good.warnings == ()
    (bad,) = replace(good, agreement=0.98).warnings
    assert bad.startswith("x.onnx: the same class for only 98.0% of the pictures, less than 99%")
    assert len(replace(good, kind="dynamic", agreement=0.5).warnings) == 2


def test_one_measures_on_train_and_compares_on_test(tmp_path: Path) -> None:
    album = open_album(write_classes(tmp_path / "data", dict.fromkeys("abc", 12)))
    found = calibration_of(album, 28)
    for pictures, split in ((found.measured, "train"), (found.compared, "test")):
        expected = read_pictures([album.path(row) for row in album.part(split)], 28)
        assert len(pictures) == len(expected) > 0
        assert all(np.array_equal(one, other) for one, other in zip(pictures, expected, strict=True))


def test_of_many_pictures_some_are_taken_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytl.use.int8.CALIBRATED", 5)
    album = open_album(write_classes(tmp_path / "data", dict.fromkeys("abc", 12)))
    assert 3 <= len(calibration_of(album, 28).measured) <= 5
