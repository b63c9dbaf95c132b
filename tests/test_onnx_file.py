"""ONNX files: every family's probabilities are PyTorch's, and a study's own predictions come back."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from raytl.data.album import open_album
from raytl.data.store import FitData, build_store, open_data
from raytl.errors import ConfigError, StorageError
from raytl.models.classifier import build_classifier
from raytl.recipe import Recipe
from raytl.train.checkpoint import save_snapshot
from raytl.train.final import read_test_set
from raytl.use import onnx_file
from raytl.use.card import ModelCard
from raytl.use.export import LoadedModel, load_model
from raytl.use.finals import Final, save_final
from raytl.use.onnx_file import INPUT, MOST_DIFFERENCE, check_packages, drawn_pictures, metadata_of, write_onnx
from raytl.use.predict import predict
from raytl.use.timm_folder import write_timm
from tests.pictures import noise, write_classes
from tests.rows import confirmed_row
from tests.tiny import start, tiny_recipe

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

pytestmark = pytest.mark.usefixtures("narrow_vgg")

RECIPES: dict[str, dict[str, Any]] = {
    "plain_cnn": {"image_size": 16},
    "one logit": {"backbone": "plain_cnn", "image_size": 16, "loss": "bce"},
    "three sigmoids": {"backbone": "plain_cnn", "image_size": 16, "loss": "bce", "head": "mlp:8-4", "dropout": 0.5},
    "tiny_mobilenet": {"image_size": 32},
    "squeeze and excite": {"backbone": "tiny_resnet", "image_size": 32, "attention": "se:8", "precision": "bf16"},
    "block attention": {"backbone": "tiny_resnet", "image_size": 32, "attention": "cbam:8", "head": "mlp:16"},
    "tiny_vit": {"image_size": 32},
    "resnet10t": {"image_size": 32},
}
LARGE: dict[str, dict[str, Any]] = {
    "googlenet": {"image_size": 64, "aux_loss_weight": 0.3},
    "inception_v3": {"image_size": 96},
    "efficientnet_b0": {"image_size": 32},
    "mobilenetv3_small_050": {"image_size": 32},
    "densenet121": {"image_size": 32},
    "vgg11": {"image_size": 32},
    "test_convnext": {"image_size": 64},
    "swin_tiny_patch4_window7_224": {"image_size": 32},
    "deit_tiny_distilled_patch16_224": {"image_size": 32},
}
EVERY = [*RECIPES, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loaded(name: str) -> LoadedModel:
    """A model whose logits on drawn pictures are some units apart, so that a wrong operation moves probabilities."""
    values = {"backbone": name, "weights": "none", **(RECIPES | LARGE)[name]}
    recipe = Recipe(**{"eval_resize": values["image_size"] + 4, **values})
    classes = 2 if name == "one logit" else 3
    torch.manual_seed(1)
    model = build_classifier(recipe, classes).eval()
    found = LoadedModel(model, recipe, ("ä", "b", "c")[:classes], model.input, recipe.eval_resize)
    last = model.head[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        logits = model(next(onnx_file.batches(found, drawn_pictures(found.eval_resize))))
        last.weight /= logits.std()
        last.bias.copy_((last.bias - logits.mean(0)) / logits.std())
    return found


@pytest.mark.parametrize("name", EVERY)
def test_every_family_gives_pytorchs_outputs_for_any_number_of_pictures(name: str, tmp_path: Path) -> None:
    model = loaded(name)
    written = write_onnx(model, tmp_path / "m.onnx")
    assert written.difference <= 1e-5 and written.compared == 10
    assert written.bytes == written.path.stat().st_size and list(tmp_path.iterdir()) == [written.path]
    session = onnxruntime.InferenceSession(written.path)
    side = model.input.image_size
    for count in (1, 3, 5):
        x = next(onnx_file.batches(model, drawn_pictures(model.eval_resize, count)))
        assert x.shape == (count, 3, side, side)
        probabilities, logits = session.run(["probabilities", "logits"], {INPUT: x.contiguous().numpy()})
        with torch.inference_mode():
            expected = model.model(x).numpy()
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)
        assert probabilities.shape == (count, len(model.classes))
        np.testing.assert_allclose(probabilities, by_hand(expected, model.recipe.loss), rtol=0, atol=1e-5)


def by_hand(logits: np.ndarray, loss: str) -> np.ndarray:
    """Probabilities of logits, from their definitions."""
    sigmoids = 1 / (1 + np.exp(-logits.astype(np.float64)))
    if logits.shape[1] == 1:
        return np.concatenate([1 - sigmoids, sigmoids], 1)
    shares = sigmoids if loss == "bce" else np.exp(logits.astype(np.float64))
    result: np.ndarray = shares / shares.sum(1, keepdims=True)
    return result


@dataclass(frozen=True)
class Finished:
    """A final model as a study leaves it, and what its tables say of the test pictures."""

    folder: Path
    pictures: Path
    data: FitData
    predicted: tuple[int, ...]
    probabilities: np.ndarray


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Trained on pictures in files, tested through the store, saved from its checkpoint."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("study")
    recipe = tiny_recipe(
        backbone="tiny_resnet", weights="pretrained", image_size=24, eval_resize=28, epochs=2, normalize="backbone"
    )
    album = open_album(write_classes(root / "pictures", dict.fromkeys("abc", 24)))
    data = open_data(album, build_store(album, recipe.eval_resize, root / "cache"))
    run = start(recipe, data)
    list(run.epochs())
    save_snapshot(root / "t", run.snapshot())
    tested = read_test_set(run)
    save_final(Final(confirmed_row(), recipe, root / "t"), data.classes, root / "model", ModelCard("patterns"))
    return Finished(root / "model", root / "pictures", data, tested.predicted, tested.probabilities)


def test_onnx_timm_and_predict_give_the_studys_predictions_on_every_test_picture(
    finished: Finished, tmp_path: Path
) -> None:
    model = load_model(finished.folder)
    files = [finished.pictures / path for path in finished.data.test.paths]
    assert len(files) >= 9
    found = [list(each.probabilities.values()) for each in predict(model, files)]
    np.testing.assert_allclose(found, finished.probabilities, rtol=0, atol=MOST_DIFFERENCE)

    session = onnxruntime.InferenceSession(write_onnx(model, tmp_path / "m.onnx").path)
    theirs = timm.create_model(
        f"local-dir:{write_timm(finished.folder, model, tmp_path / 't').path}", pretrained=True
    ).eval()
    by_file = np.stack([prepared(file, session.get_modelmeta().custom_metadata_map) for file in files])
    (probabilities,) = session.run(["probabilities"], {INPUT: by_file})
    np.testing.assert_allclose(probabilities, finished.probabilities, rtol=0, atol=MOST_DIFFERENCE)
    assert tuple(probabilities.argmax(1)) == finished.predicted
    with torch.inference_mode():
        np.testing.assert_allclose(
            theirs(torch.from_numpy(by_file)).softmax(1), finished.probabilities, rtol=0, atol=MOST_DIFFERENCE
        )


def prepared(file: Path, metadata: dict[str, str]) -> np.ndarray:
    """A picture (3, S, S) as the file's metadata asks for it, by Pillow and NumPy alone."""
    image = Image.open(io.BytesIO(file.read_bytes())).convert("RGB")
    scale = int(metadata["resize_shorter_side"]) / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    side = int(metadata["image_size"])
    left, top = (image.width - side) // 2, (image.height - side) // 2
    pixels = np.asarray(image.crop((left, top, left + side, top + side)), np.float32) / 255
    normalized = (pixels - json.loads(metadata["mean"])) / json.loads(metadata["std"])
    return normalized.transpose(2, 0, 1).astype(np.float32)


def test_the_file_says_what_its_reader_needs_and_nothing_of_this_machine(tmp_path: Path) -> None:
    model = loaded("squeeze and excite")
    path = write_onnx(model, tmp_path / "m.onnx").path
    told = {each.key: each.value for each in onnx.load(path).metadata_props}
    assert told == metadata_of(model)
    assert json.loads(told["classes"]) == ["ä", "b", "c"]
    assert (told["precision"], told["trained_in"], told["resize_shorter_side"]) == ("float32", "bf16", "36")
    content = path.read_bytes()
    assert str(Path(onnx_file.__file__).parents[2]).encode() not in content
    assert b"site-packages" not in content and b".py" not in content


def test_a_file_that_differs_is_removed_and_the_one_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, save = tmp_path / "m.onnx", onnx_file._save
    path.write_bytes(b"before")
    right, other = loaded("plain_cnn"), loaded("plain_cnn")
    with torch.no_grad():
        other.model.head[-1].bias += torch.tensor([0.0, 0.01, 0.0])  # type: ignore[operator]
    monkeypatch.setattr(onnx_file, "_save", lambda _model, place: save(other, place))
    with pytest.raises(StorageError, match=r"differ from PyTorch's by up to 0\.00\d+ on 10 pictures, more than 0.0001"):
        write_onnx(right, path)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


def test_given_pictures_are_compared(tmp_path: Path) -> None:
    pictures = [np.asarray(noise(index, 30, 20)) for index in range(18)]
    assert write_onnx(loaded("plain_cnn"), tmp_path / "m.onnx", pictures).compared == 18


def test_missing_packages_are_named_with_the_command_that_brings_them(monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages()
    monkeypatch.setattr(onnx_file, "PACKAGES", ("onnx", "no_such_onnx"))
    with pytest.raises(ConfigError, match=r"needs no_such_onnx, .* pip install '.\[onnx\]'"):
        check_packages()


def test_a_model_that_has_no_form_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object, **_options: object) -> None:
        raise torch.onnx.errors.OnnxExporterError("no operation of that kind\nmore")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ConfigError, match=r"plain_cnn: has no form in ONNX \(no operation of that kind\)"):
        write_onnx(loaded("plain_cnn"), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
