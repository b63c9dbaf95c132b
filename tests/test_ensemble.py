"""Ensembles on disk: whole or not at all, opened as they were saved, and their probabilities a mean."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from raytl.errors import ConfigError, StorageError
from raytl.models.classifier import build_classifier
from raytl.recipe import Recipe
from raytl.use.card import ModelCard
from raytl.use.ensemble import LoadedEnsemble, SavedMember, open_model, save_ensemble
from raytl.use.explain import heat_pngs
from raytl.use.export import LoadedModel, load_model, save_model
from raytl.use.predict import classify, mean_probabilities, predict, probabilities_of
from raytl.use.sight import Sight
from raytl.use.viewer import Viewer
from tests.pictures import noise
from tests.tiny import tiny_recipe

CLASSES = ("a", "b", "c")
RECIPES = (
    tiny_recipe(),
    tiny_recipe(eval_resize=30, image_size=24, normalize="half"),
    tiny_recipe(loss="bce"),
)


def write_model(recipe: Recipe, seed: int, folder: Path) -> None:
    torch.manual_seed(seed)
    save_model(folder, build_classifier(recipe, len(CLASSES)).eval(), recipe, CLASSES, ModelCard("noise"))


def saved(folder: Path, weights: tuple[float, ...] = (0.5, 0.3, 0.2)) -> Path:
    members = [
        SavedMember(f"t{seed}", weight, partial(write_model, recipe, seed))
        for seed, (recipe, weight) in enumerate(zip(RECIPES, weights, strict=True))
    ]
    save_ensemble(folder, members, CLASSES, "# card\n")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("ensemble") / "e")


@pytest.fixture(scope="module")
def ensemble(folder: Path) -> LoadedEnsemble:
    loaded = open_model(folder)
    assert isinstance(loaded, LoadedEnsemble)
    return loaded


def test_files_get_exactly_the_weighted_mean_of_what_each_member_says(
    folder: Path, ensemble: LoadedEnsemble, tmp_path: Path
) -> None:
    for index in range(5):
        noise(index, 40 + 9 * index, 50).save(tmp_path / f"{index}.png")
    paths = [*sorted(tmp_path.iterdir()), tmp_path / "absent.png"]
    alone = [list(predict(load_model(folder / f"member-{place}"), paths)) for place in (1, 2, 3)]
    together = list(predict(ensemble, paths))
    assert ensemble.sides == (20, 30)
    for index in range(5):
        rows = [np.array(list(each[index].probabilities.values()), dtype=np.float64) for each in alone]
        expected = 0.5 * rows[0] + 0.3 * rows[1] + 0.2 * rows[2]
        found = list(together[index].probabilities.values())
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        assert together[index].predicted == CLASSES[int(np.argmax(expected))]
        assert sum(found) == pytest.approx(1)
    assert together[5].predicted is None and "No such file" in (together[5].problem or "")


@given(st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_copies_of_one_model_say_what_it_says_whatever_their_weights(
    ensemble: LoadedEnsemble, parts: list[int]
) -> None:
    member = ensemble.members[0]
    copies = LoadedEnsemble((member,) * len(parts), tuple(part / sum(parts) for part in parts))
    picture = np.asarray(noise(1, 20))
    expected = probabilities_of(member, [picture])
    torch.testing.assert_close(mean_probabilities(copies, [(picture,)]), expected, rtol=0, atol=1e-12)


def test_nothing_to_look_at_gives_nothing(ensemble: LoadedEnsemble) -> None:
    assert classify(ensemble, []) == []


def test_a_server_answers_as_the_command_does(ensemble: LoadedEnsemble, tmp_path: Path) -> None:
    noise(3, 40, 30).save(tmp_path / "x.png")
    viewer = Viewer(ensemble, 10_000)
    opened = viewer.open((tmp_path / "x.png").read_bytes())
    assert not isinstance(opened, Sight)
    (sight,), (expected,) = viewer.classify([opened]), predict(ensemble, [tmp_path / "x.png"])
    assert (sight.predicted, sight.probabilities) == (expected.predicted, expected.probabilities)
    assert viewer.classify([viewer.drawn()])[0].predicted in CLASSES
    assert "an ensemble has no heat map of its own" in str(viewer.explain([opened], ["a"])[0])
    with pytest.raises(ConfigError, match="member-1"):
        heat_pngs(ensemble, [opened.sizes[0]], ["a"])


def test_what_takes_one_model_names_a_member(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds an ensemble.*member-1"):
        load_model(folder)
    assert isinstance(open_model(folder / "member-2"), LoadedModel)


def test_a_member_that_cannot_be_written_leaves_what_was_there(folder: Path, tmp_path: Path) -> None:
    place = saved(tmp_path / "e", (0.2, 0.2, 0.6))
    before = open_model(place)

    def fails(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="nothing there was changed"):
        save_ensemble(place, [SavedMember("t0", 1.0, fails)], CLASSES, "")
    after = open_model(place)
    assert isinstance(before, LoadedEnsemble) and isinstance(after, LoadedEnsemble)
    assert after.weights == before.weights and [path.name for path in tmp_path.iterdir()] == ["e"]
    saved(place)
    assert open_model(place).classes == CLASSES and open_model(place).sides == (20, 30)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight": 0.9}, "do not fit"),
        ({"weight": -0.5}, "do not fit"),
        ({"weight": "much"}, "cannot be read"),
        ({"folder": "member-9"}, "no saved model here"),
        ({"folder": "/etc"}, "no saved model here"),
    ],
)
def test_a_damaged_ensemble_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    place = saved(tmp_path / "e")
    config = json.loads((place / "config.json").read_text("utf-8"))
    config["raytl"]["members"][0].update(change)
    (place / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(StorageError, match=said):
        open_model(place)
