"""Saved models: raytl opens all of them, timm those it can say, and both give the same logits."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from raytl.errors import StorageError
from raytl.models.classifier import Classifier, build_classifier
from raytl.recipe import Recipe
from raytl.use.card import ModelCard
from raytl.use.export import _crop_share, drafted_folder, load_model, save_model

CLASSES = ("ant", "bee", "wasp")
CARD = ModelCard("300 pictures of insects", (("test accuracy", "0.910 (0.870 to 0.945)"),), ("a remark",))


def _model(recipe: Recipe) -> Classifier:
    """A model whose batch-norm statistics are not those of a fresh one."""
    torch.manual_seed(1)
    model = build_classifier(recipe, len(CLASSES))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet10t", 64),
        ("tiny_resnet", 64),
        ("tiny_vit", 64),
        ("tiny_mobilenet", 48),
        ("test_vit", 64),
        ("mobilenetv3_small_050", 64),
        ("test_convnext", 64),
    ],
)
def test_timm_and_raytl_open_the_same_model(tmp_path: Path, name: str, size: int) -> None:
    recipe = Recipe(backbone=name, weights="none", image_size=size, eval_resize=2 * size, freeze_depth=2, seed=7)
    model = _model(recipe)
    save_model(tmp_path / "m", model, recipe, CLASSES, CARD)
    x = torch.randn(4, 3, size, size)
    theirs = timm.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).eval()
    ours = load_model(tmp_path / "m")
    torch.testing.assert_close(theirs(x), model(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.model(x), model(x), rtol=0, atol=1e-5)
    assert (ours.recipe, ours.classes, ours.input, ours.eval_resize) == (recipe, CLASSES, model.input, 2 * size)
    config = timm.data.resolve_model_data_config(theirs)
    assert (tuple(config["mean"]), tuple(config["std"])) == (model.input.mean, model.input.std)
    assert (tuple(config["input_size"]), config["crop_pct"]) == ((3, size, size), 0.5)
    assert theirs.pretrained_cfg["label_names"] == list(CLASSES)


def test_the_code_on_the_card_opens_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(backbone="plain_cnn", weights="none", image_size=16)
    save_model(tmp_path / "m", _model(recipe), recipe, CLASSES, CARD)
    (code,) = re.findall("```python\n(import raytl\n.*?)```", (tmp_path / "m" / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path / "m")
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["model"].recipe == recipe and found["model"].classes == CLASSES


@torch.no_grad()
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(backbone="plain_cnn", weights="none", image_size=16, pool="flatten", head="mlp:8-4", dropout=0.5),
        Recipe(backbone="squeezenet1_1", weights="none", image_size=64),
        Recipe(backbone="tiny_resnet", weights="none", image_size=32, attention="cbam:8"),
        Recipe(backbone="tiny_vit", weights="none", image_size=32, pool="avg"),
        Recipe(backbone="googlenet", weights="none", image_size=64, aux_loss_weight=0.3),
    ],
    ids=lambda recipe: recipe.backbone,
)
def test_raytl_opens_what_timm_cannot_say(tmp_path: Path, recipe: Recipe) -> None:
    model = _model(recipe)
    save_model(tmp_path / "m", model, recipe, CLASSES, CARD)
    loaded = load_model(tmp_path / "m")
    x = torch.randn(2, 3, recipe.image_size, recipe.image_size)
    torch.testing.assert_close(loaded.model(x), model(x), rtol=0, atol=1e-6)
    assert loaded.recipe == recipe
    assert not loaded.model.training
    assert json.loads((tmp_path / "m" / "config.json").read_text())["raytl"]["format"] == "raytl"


def test_timm_comes_to_the_same_size_from_every_crop_share() -> None:
    """As timm computes it (`timm.data.transforms_factory.transforms_imagenet_eval`)."""
    shares = {(side, resize): _crop_share(Recipe(image_size=side, eval_resize=resize, backbone="plain_cnn"))
              for side in (16, 24, 64, 100, 224, 299) for resize in range(side, 2 * side)}  # fmt: skip
    assert [sizes for sizes, share in shares.items() if math.floor(sizes[0] / share) != sizes[1]] == []
    assert any(math.floor(side / (side / resize)) != resize for side, resize in shares), "no rounding to mend"
    assert all(share == pytest.approx(side / resize, rel=1e-12) for (side, resize), share in shares.items())


def test_one_logit_for_two_classes_comes_back(tmp_path: Path) -> None:
    recipe = Recipe(backbone="tiny_resnet", weights="none", image_size=32, loss="bce")
    model = build_classifier(recipe, 2).eval()
    save_model(tmp_path / "m", model, recipe, ("cat", "dog"), CARD)
    loaded = load_model(tmp_path / "m")
    assert loaded.model(torch.zeros(1, 3, 32, 32)).shape == (1, 1)
    assert loaded.classes == ("cat", "dog")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A saved plain CNN."""
    recipe = Recipe(backbone="plain_cnn", weights="none", image_size=16)
    save_model(tmp_path / "m", _model(recipe), recipe, CLASSES, CARD)
    return tmp_path / "m"


def test_saving_again_replaces_the_whole_and_leaves_nothing_else(saved: Path) -> None:
    (saved / "stale").write_text("x")
    recipe = Recipe(backbone="plain_cnn", weights="none", image_size=16, head="mlp:4")
    save_model(saved, _model(recipe), recipe, CLASSES, CARD)
    assert load_model(saved).recipe == recipe
    assert sorted(p.name for p in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert [p.name for p in saved.parent.iterdir()] == ["m"]


def test_a_failed_save_keeps_what_was_there(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("raytl.use.export.save_file", full)
    recipe = Recipe(backbone="plain_cnn", weights="none", image_size=16, head="mlp:4")
    with pytest.raises(StorageError, match="No space left"):
        save_model(saved, _model(recipe), recipe, CLASSES, CARD)
    assert load_model(saved).recipe.head == "linear"
    assert [p.name for p in saved.parent.iterdir()] == ["m"]


def test_a_drafted_folder_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "model"
    with drafted_folder(folder, "model") as draft:
        (draft / "first").touch()
        assert not folder.exists()
    for wrong, told in ((KeyError("x"), KeyError), (OSError(28, "disk full"), StorageError)):
        with pytest.raises(told), drafted_folder(folder, "model") as draft:
            (draft / "second").touch()
            raise wrong
        assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()] == [
            Path("new/model/first")
        ]
    with drafted_folder(folder, "model") as draft:
        (draft / "third").touch()
    assert [path.name for path in folder.parent.rglob("*")] == ["model", "third"]


def test_who_opens_a_model_while_another_takes_its_place_gets_one_of_them(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside, waits = saved.with_name("aside"), []
    saved.rename(aside)

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        aside.rename(saved)

    monkeypatch.setattr(time, "sleep", sleep)
    assert load_model(saved).classes == CLASSES
    shutil.rmtree(saved)
    (saved / "x").mkdir(parents=True)
    with pytest.raises(StorageError, match="no saved model here"):
        load_model(saved)
    assert len(waits) == 1, "a folder that is there is not waited for"


def test_damage_is_reported(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no saved model here"):
        load_model(tmp_path / "nowhere")
    (saved / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes()[:100])
    with pytest.raises(StorageError, match="cannot be read"):
        load_model(saved)
    (saved / "config.json").write_text("{")
    with pytest.raises(StorageError, match=r"config\.json cannot be read \(it is no JSON object\)"):
        load_model(saved)
    (saved / "config.json").write_text(json.dumps({"architecture": "resnet18"}))
    with pytest.raises(StorageError, match="open it with timm"):
        load_model(saved)


def test_a_study_in_the_place_of_a_model_names_its_models(saved: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    (study / "models").mkdir(parents=True)
    (study / "study.json").write_text("{}")
    with pytest.raises(StorageError, match=f"this study has none yet: `raytl resume {study}` goes on"):
        load_model(study)
    for name in ("tiny_vit", "tiny_resnet", ".tmp-1-tiny_vit"):
        shutil.copytree(saved, study / "models" / name)
    for folder in (study, study / "models"):
        with pytest.raises(StorageError) as caught:
            load_model(folder)
        named = f"{study}/models/tiny_resnet or {study}/models/tiny_vit"
        assert str(caught.value) == f"{folder}: no saved model here; give the folder of a model, {named}"
    with pytest.raises(StorageError, match="such as models/<backbone> of a study") as caught:
        load_model(tmp_path / "nowhere")
    assert "Errno" not in str(caught.value)


def test_tensors_of_another_model_are_refused(saved: Path, tmp_path: Path) -> None:
    recipe = Recipe(backbone="plain_cnn", weights="none", image_size=16, head="mlp:4")
    save_model(tmp_path / "other", _model(recipe), recipe, CLASSES, CARD)
    (saved / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    with pytest.raises(StorageError, match=r"do not fit the model.*hidden0"):
        load_model(saved)
