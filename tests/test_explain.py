"""Heat maps in files: the map of the picture named, names that cannot collide, and a sentence where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from raytl.errors import ConfigError, StorageError
from raytl.models.classifier import build_classifier
from raytl.recipe import Recipe
from raytl.results.figures import overlay
from raytl.use.cam import heat_maps
from raytl.use.explain import LEAST_SIDE, HeatMaps, heat_name, save_heat_maps
from raytl.use.export import LoadedModel
from raytl.use.predict import pictures_in, see
from tests.pictures import noise
from tests.tiny import tiny_recipe


def loaded(recipe: Recipe) -> LoadedModel:
    torch.manual_seed(0)
    model = build_classifier(recipe, 3).eval()
    return LoadedModel(model, recipe, ("a", "b", "c"), model.input, recipe.eval_resize)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return loaded(tiny_recipe(image_size=32, eval_resize=40))


def test_a_file_shows_the_picture_under_its_own_map(model: LoadedModel, tmp_path: Path) -> None:
    for index in range(3):
        noise(index, 60, 50).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"no picture")
    (seen,) = see(model, pictures_in([tmp_path]))
    first, last = save_heat_maps(model, seen, tmp_path / "heat")
    assert [path.name.split("-")[0] for path in (first, last)] == ["0", "2"]
    picture = seen[2].pixels
    assert picture is not None
    (heat,) = heat_maps(model, [picture], [model.classes.index(str(seen[2].prediction.predicted))])
    top, left = (picture.shape[0] - 32) // 2, (picture.shape[1] - 32) // 2
    expected = overlay(
        np.asarray(Image.fromarray(picture[top : top + 32, left : left + 32]).resize((LEAST_SIDE,) * 2, 2)),
        np.asarray(Image.fromarray(heat).resize((LEAST_SIDE,) * 2, 2)),
    )
    shown = np.asarray(Image.open(last))
    assert shown.shape == (LEAST_SIDE, LEAST_SIDE, 3)
    assert np.abs(shown.astype(int) - expected).max() <= 1


def test_names_cannot_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [Path("a", name) for name in ("1.png", "1.jpg", "1 .png", "x" * 250, "ü*.png")] + [Path("b/1.png")]
    names = [heat_name(path) for path in paths]
    assert len({name.casefold() for name in names}) == len(paths)
    assert max(map(len, names)) < 90 and all("/" not in name and "*" not in name for name in names)
    assert heat_name(Path("a", "..", "a", "1.png")) == heat_name(tmp_path / "a" / "1.png") == names[0]


def test_the_same_picture_twice_is_one_map(model: LoadedModel, tmp_path: Path) -> None:
    noise(0).save(tmp_path / "x.png")
    heat = HeatMaps(model, tmp_path / "heat")
    for seen in see(model, [tmp_path / "x.png"] * 3, 2):
        heat.add(seen)
    assert heat.said == f"1 heat map in {tmp_path / 'heat'}"
    assert len(list((tmp_path / "heat").iterdir())) == 1


def test_a_model_without_maps_gets_a_sentence(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise(0).save(tmp_path / "x.png")
    calls: list[int] = []

    def refuse(*_given: object) -> None:
        calls.append(1)
        raise ConfigError("some_vit: its last map has 15 tokens, which form no square")

    monkeypatch.setattr("raytl.use.explain.heat_maps", refuse)
    heat = HeatMaps(model, tmp_path / "heat")
    for seen in see(model, [tmp_path / "x.png"] * 3, 1):
        assert seen[0].prediction.predicted
        heat.add(seen)
    assert heat.said == "raytl: no heat maps: some_vit: its last map has 15 tokens, which form no square"
    assert not (tmp_path / "heat").exists()
    assert len(calls) == 1, "what cannot be done is tried once"


def test_a_folder_that_cannot_be_made_is_named(model: LoadedModel, tmp_path: Path) -> None:
    noise(0).save(tmp_path / "x.png")
    (seen,) = see(model, [tmp_path / "x.png"])
    with pytest.raises(StorageError, match="give another folder with --explain-out"):
        save_heat_maps(model, seen, tmp_path / "x.png" / "heat")
