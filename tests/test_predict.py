"""Predictions on files: the logits of the evaluation in training, every kind of file, in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from raytl.data.album import open_album
from raytl.data.decode import decode, resize_shorter
from raytl.data.store import FitData, build_store, open_data
from raytl.data.views import eval_batch
from raytl.errors import DataError
from raytl.models.classifier import build_classifier
from raytl.recipe import Recipe
from raytl.train.fronts import make_view
from raytl.use import predict as predict_module
from raytl.use.card import ModelCard
from raytl.use.export import LoadedModel, load_model, save_model
from raytl.use.predict import BATCH, Prediction, likeliest, logits_of, pictures_in, predict, read_pictures, see
from tests.pictures import noise, write_classes
from tests.tiny import start, tiny_recipe

RECIPES = {
    "three classes": tiny_recipe(epochs=1),
    "one logit": tiny_recipe(epochs=1, loss="bce"),
    "other pixels": tiny_recipe(epochs=1, normalize="half", image_size=16, eval_resize=30),
    "small pictures": tiny_recipe(epochs=1, image_size=24, eval_resize=24),
    "bf16": tiny_recipe(epochs=1, precision="bf16"),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(root: Path, recipe: Recipe) -> tuple[LoadedModel, FitData, Tensor]:
    """A model trained on pictures in files and saved; the data; and its logits of the test set in training."""
    classes = 2 if recipe.loss == "bce" else 3
    album = open_album(write_classes(root / "pictures", dict.fromkeys("abc"[:classes], 12)))
    data = open_data(album, build_store(album, recipe.eval_resize, root / "cache"))
    run = start(recipe, data)
    list(run.epochs())
    logits = run.evaluator.logits(run.load_best(), data.test)
    save_model(root / "model", run.model, recipe, data.classes, ModelCard("generated pictures"))
    return load_model(root / "model"), data, logits


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_gives_the_logits_of_the_evaluation_in_training(tmp_path: Path, name: str) -> None:
    loaded, data, expected = trained(tmp_path, RECIPES[name])
    files = [tmp_path / "pictures" / path for path in data.test.paths]
    pictures = [resize_shorter(decode(file.read_bytes()), loaded.eval_resize) for file in files]
    torch.testing.assert_close(logits_of(loaded, pictures), expected, rtol=0, atol=1e-5)

    predictions = list(predict(loaded, files))
    probabilities = torch.tensor([list(prediction.probabilities.values()) for prediction in predictions])
    columns = torch.cat([-expected, expected], 1) / 2 if expected.shape[1] == 1 else expected
    torch.testing.assert_close(probabilities, columns.softmax(1), rtol=0, atol=1e-5)
    assert [prediction.predicted for prediction in predictions] == [data.classes[i] for i in columns.argmax(1)]
    assert [prediction.path for prediction in predictions] == files


def test_a_stored_picture_is_seen_as_in_an_evaluation_batch(tmp_path: Path) -> None:
    loaded, data, _ = trained(tmp_path, RECIPES["three classes"])
    with torch.inference_mode():
        batch = eval_batch(data.val, [0, 1], make_view(loaded.recipe, loaded.input, augmented=False))
        expected = loaded.model(batch)
    stored = [np.array(data.val.picture(index)) for index in (0, 1)]
    torch.testing.assert_close(logits_of(loaded, stored), expected, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    recipe = tiny_recipe()
    torch.manual_seed(0)
    built = build_classifier(recipe, 3).eval()
    return LoadedModel(built, recipe, ("a", "b", "c"), built.input, recipe.eval_resize)


def test_unreadable_files_get_a_reason_and_keep_their_place(model: LoadedModel, tmp_path: Path) -> None:
    count = BATCH + 3
    for index in range(count):
        noise(index).save(tmp_path / f"{index:02d}.png")
    (tmp_path / "01.png").write_bytes(b"no picture")
    (tmp_path / f"{BATCH}.png").write_bytes(b"")
    (tmp_path / "02.png").unlink()
    files = [tmp_path / f"{index:02d}.png" for index in range(count)]
    found = list(predict(model, files))
    assert [prediction.path for prediction in found] == files
    reasons = {index: prediction.problem for index, prediction in enumerate(found) if prediction.predicted is None}
    assert reasons.keys() == {1, 2, BATCH}
    assert reasons[2] == "cannot be read (No such file or directory)"
    assert reasons[BATCH] == "empty file"
    alone = [next(predict(model, [file])) for file in files]
    for one, other in zip(found, alone, strict=True):
        assert (one.predicted, one.problem) == (other.predicted, other.problem)
        assert list(one.probabilities) == (["a", "b", "c"] if one.predicted else [])
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_a_batch_of_unreadable_files_is_no_error(model: LoadedModel, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert [prediction.predicted for prediction in predict(model, [tmp_path / "a.png"])] == [None]
    assert list(predict(model, [])) == []


@pytest.mark.parametrize("kind", ["L", "RGBA", "P", "CMYK"])
def test_every_kind_of_picture_is_one(model: LoadedModel, tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("x.jpg" if kind == "CMYK" else "x.png")
    noise(1).convert(kind).save(path)
    assert next(predict(model, [path])).predicted in model.classes


def test_a_long_and_a_tiny_picture_are_classified(model: LoadedModel, tmp_path: Path) -> None:
    Image.new("RGB", (400, 3)).save(tmp_path / "long.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "tiny.png")
    found = list(predict(model, pictures_in([tmp_path])))
    assert [sum(prediction.probabilities.values()) for prediction in found] == pytest.approx([1, 1])


def test_a_tie_is_decided_as_in_the_tables(model: LoadedModel, tmp_path: Path) -> None:
    """Logits so close that their probabilities are equal: the larger logit decides."""
    layer = model.model.head[-1]
    assert isinstance(layer, torch.nn.Linear)
    with torch.no_grad():
        saved = {name: value.clone() for name, value in layer.state_dict().items()}
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1e-9, 2e-9, -90.0]))
    noise(1).save(tmp_path / "x.png")
    found = next(predict(model, [tmp_path / "x.png"]))
    layer.load_state_dict(saved)
    assert found.probabilities["a"] == found.probabilities["b"] == 0.5
    assert found.predicted == "b"


def test_pictures_are_found_in_a_fixed_order(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/1.jpg", "a/deep/3.webp", ".hidden/4.png", "b/._5.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b" / "folder.png").mkdir()
    named = tmp_path / "b" / "notes.txt"
    found = pictures_in([named, tmp_path])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "b/notes.txt", "a/deep/3.webp", "b/1.jpg", "b/2.PNG",
    ]  # fmt: skip


def test_all_paths_that_give_nothing_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        pictures_in([tmp_path / "x", tmp_path / "empty", tmp_path / "y"])
    assert [line.partition(": ")[2].partition(";")[0] for line in caught.value.problems] == [
        "no such file or folder", "no picture in this folder or below it", "no such file or folder",
    ]  # fmt: skip


def test_the_recipe_of_other_eval_pixels_is_honored(model: LoadedModel, tmp_path: Path) -> None:
    """A picture twice as large gives the same prediction: both are resized to the shorter side the model knows."""
    noise(3, 40, 30).save(tmp_path / "small.png")
    noise(3, 40, 30).resize((80, 60), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    wide = replace(model, eval_resize=30)
    small, large = predict(wide, [tmp_path / "small.png", tmp_path / "large.png"])
    assert small.probabilities == pytest.approx(large.probabilities, abs=0.05)


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_the_batch_size_changes_no_prediction(batch: int, model: LoadedModel, tmp_path: Path) -> None:
    for index in range(7):
        noise(index).save(tmp_path / f"{index}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    files = pictures_in([tmp_path])
    sizes = [len(seen) for seen in see(model, files, batch)]
    assert sum(sizes) == 7 and set(sizes[:-1]) <= {batch} and 0 < sizes[-1] <= batch
    for one, other in zip(predict(model, files, batch), predict(model, files), strict=True):
        assert (one.path, one.predicted, one.problem) == (other.path, other.predicted, other.problem)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_no_more_than_two_batches_are_read_before_they_are_asked_for(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    original = predict_module._pixels

    def counted(path: Path, sides: tuple[int, ...]) -> predict_module.Read:
        read.append(path)
        return original(path, sides)

    monkeypatch.setattr(predict_module, "_pixels", counted)
    noise(0).save(tmp_path / "x.png")
    batches = see(model, [tmp_path / "x.png"] * 40, 4)
    for asked in range(1, 4):
        next(batches)
        time.sleep(0.1)
        assert 4 * asked <= len(read) <= 4 * (asked + 1)
    batches.close()  # type: ignore[attr-defined]
    assert len(read) <= 16


def test_the_predicted_class_comes_first_whatever_probabilities_round_to() -> None:
    chances = {"a": 0.4, "b": 0.4, "c": 0.05, "d": 0.15}
    prediction = Prediction(Path("x"), "b", chances)
    assert [label for label, _ in likeliest(prediction, 4)] == ["b", "a", "d", "c"]
    assert likeliest(prediction, 1) == [("b", 0.4)] and likeliest(Prediction(Path("x"), None, {}, "bad"), 2) == []


def test_pictures_that_can_be_read_are_those_of_the_store(model: LoadedModel, tmp_path: Path) -> None:
    noise(1, 40, 30).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    (found,) = read_pictures(pictures_in([tmp_path]), 20)
    assert np.array_equal(found, resize_shorter(noise(1, 40, 30), 20))
