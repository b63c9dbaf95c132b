"""A folder for timm: opened by timm alone, with timm's own way of preparing pictures, and never over another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from raytl.errors import ConfigError, StorageError
from raytl.models.classifier import build_classifier
from raytl.recipe import Recipe
from raytl.use.card import ModelCard
from raytl.use.export import load_model, save_model
from raytl.use.predict import predict
from raytl.use.timm_folder import write_timm
from tests.pictures import noise

CLASSES = ("ant", "bee", "wasp")


def saved(folder: Path, classes: tuple[str, ...] = CLASSES, **values: object) -> Path:
    recipe = Recipe(**{"backbone": "tiny_resnet", "image_size": 32, "eval_resize": 37, "weights": "none", **values})  # type: ignore[arg-type]
    torch.manual_seed(0)
    save_model(folder, build_classifier(recipe, len(classes)), recipe, classes, ModelCard("patterns"))
    return folder


@pytest.mark.parametrize("sizes", [(32, 37), (64, 73), (24, 28), (224, 256)])
def test_timms_own_transform_gives_the_pixels_of_predict(sizes: tuple[int, int], tmp_path: Path) -> None:
    """On square pictures to the bit; of others timm rounds the longer side and the crop another way."""
    source = saved(tmp_path / "m", image_size=sizes[0], eval_resize=sizes[1])
    loaded = load_model(source)
    (source / "grad_cam.jpg").write_bytes(b"test pictures")
    written = write_timm(source, loaded, tmp_path / "given")
    assert sorted(path.name for path in written.path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert written.difference <= 1e-6
    theirs = timm.create_model(f"local-dir:{written.path}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs), is_training=False)
    pictures = [noise(index, 90, 90) for index in range(3)]
    files = [tmp_path / f"{index}.png" for index in range(3)]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file)
    with torch.inference_mode():
        found = theirs(torch.stack([transform(picture) for picture in pictures])).softmax(1).numpy()
    expected = [list(each.probabilities.values()) for each in predict(loaded, files)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "classes", "why"),
    [
        ({"backbone": "plain_cnn", "image_size": 16}, CLASSES, "its backbone is not timm's"),
        ({"head": "mlp:8"}, CLASSES, "head='mlp:8'"),
        ({"attention": "se:8"}, CLASSES, "attention='se:8'"),
        ({"pool": "flatten"}, CLASSES, "pool='flatten'"),
        ({"loss": "bce"}, CLASSES[:2], "one logit for two classes"),
    ],
)
def test_what_timm_cannot_say_is_refused_with_the_reason(
    values: dict[str, object], classes: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    source = saved(tmp_path / "m", classes, **values)
    with pytest.raises(ConfigError, match="timm has no form for this model") as caught:
        write_timm(source, load_model(source), tmp_path / "given")
    assert why in str(caught.value) and str(caught.value).endswith("type --format onnx")
    assert not (tmp_path / "given").exists()


def test_a_folder_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    source = saved(tmp_path / "m")
    (tmp_path / "given").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        write_timm(source, load_model(source), tmp_path / "given")


def test_a_folder_that_gives_other_probabilities_is_removed(tmp_path: Path) -> None:
    source = saved(tmp_path / "m")
    loaded = load_model(source)
    tensors = load_file(source / "model.safetensors")
    tensors["fc.bias"] += torch.tensor([0.1, 0.0, 0.0])
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(StorageError, match=r"gives other probabilities, by up to 0\.0"):
        write_timm(source, loaded, tmp_path / "given")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]
