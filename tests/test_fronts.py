"""Training from stored activations is training from pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from raytl.data.store import FitData
from raytl.models.classifier import build_classifier
from raytl.recipe import Recipe
from raytl.train.cache import PrefixCache
from raytl.train.device import resolve_precision
from raytl.train.fronts import can_store, open_fronts, repeats, stored_views, train_inputs
from raytl.train.inputs import FixedView, FreshViews, StoredViews
from raytl.train.loop import Run
from raytl.train.world import World
from tests.tiny import ACCURACY, figures, start, tiny_data, tiny_recipe

GB = 1_000_000_000
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Storing pays whatever it costs: models here are so small that it mostly would not."""
    monkeypatch.setattr("raytl.train.prefix_pass.Cost.pays", lambda *_: True)


def cached(recipe: Recipe, data: FitData, cache: PrefixCache) -> Run:
    return Run(recipe, data, World(), metric=ACCURACY, trial_id="t", cache=cache)


@pytest.mark.parametrize(
    "values",
    [
        {"freeze_depth": 1, "augment": "none"},
        {"freeze_depth": 2, "augment": "crop+flip", "views": 2},
        {"freeze_depth": 2, "augment": "crop+flip", "views": 9, "epochs": 3},
        {"freeze_depth": 3, "augment": "none", "ema_decay": 0.9, "dropout": 0.3},
        {"freeze_depth": 3, "attention": "se:8", "augment": "none"},
        {"freeze_depth": 2, "unfreeze_epoch": 3, "augment": "crop+flip", "views": 2, "epochs": 4},
        {"freeze_depth": 2, "augment": "crop+flip"},
        {"freeze_depth": 2, "mixup": 0.3, "augment": "none"},
        {"freeze_depth": 0},
        {"backbone": "tiny_resnet", "freeze_depth": 3, "augment": "none", "precision": "bf16"},
    ],
)
def test_a_cache_changes_no_figure(values: dict[str, Any], data: FitData, tmp_path: Path, always: None) -> None:
    recipe = tiny_recipe(**values)
    expected = figures(start(recipe, data).epochs())
    for _ in range(2):  # the first run fills the cache, the second reads it
        found = figures(cached(recipe, data, PrefixCache(tmp_path, GB)).epochs())
        for row, other in zip(found, expected, strict=True):
            assert row == {
                name: pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value
                for name, value in other.items()
            }


def test_what_repeats_is_stored_and_what_does_not_is_not(data: FitData, tmp_path: Path, always: None) -> None:
    def opened(**values: Any) -> tuple[type, bool]:
        recipe = tiny_recipe(**values)
        model = build_classifier(recipe, 3)
        cache = PrefixCache(tmp_path, GB)
        fronts = open_fronts(model, recipe, data, World(), resolve_precision("fp32", CPU), cache)
        return type(fronts.train), fronts.val is not None

    assert opened(freeze_depth=2, augment="none") == (StoredViews, True)
    assert opened(freeze_depth=2, augment="crop", views=2) == (StoredViews, True)
    assert opened(freeze_depth=2, augment="crop") == (FreshViews, True)
    assert opened(freeze_depth=2, augment="none", cutmix=1.0) == (FixedView, True)
    assert opened(freeze_depth=0, augment="none") == (FixedView, False)


def test_what_does_not_pay_is_not_stored_and_said_so(data: FitData, tmp_path: Path) -> None:
    recipe = tiny_recipe(freeze_depth=1, augment="crop", views=4, epochs=1)  # each view is seen by one run, once
    run = cached(recipe, data, PrefixCache(tmp_path, GB))
    list(run.epochs())
    assert isinstance(run.fronts.train, StoredViews) and set(run.fronts.train.entries.values()) == {None}
    assert any("stage 1 of plain_cnn" in note for note in run.notes)


def test_validation_pictures_that_are_not_worth_storing_are_said_so(data: FitData, tmp_path: Path) -> None:
    recipe = tiny_recipe(freeze_depth=1, augment="crop")  # each view of the training pictures is seen once
    model, precision = build_classifier(recipe, 3), resolve_precision("fp32", CPU)
    fronts = open_fronts(model, recipe, data, World(), precision, PrefixCache(tmp_path, limit_bytes=0))
    assert fronts.val is None and len(fronts.notes) == 1 and "stage 1 of plain_cnn" in fronts.notes[0]


def test_without_room_every_run_computes_for_itself(data: FitData, tmp_path: Path, always: None) -> None:
    recipe = tiny_recipe(freeze_depth=2, augment="none")
    found = figures(cached(recipe, data, PrefixCache(tmp_path, limit_bytes=0)).epochs())
    assert found == figures(start(recipe, data).epochs())
    assert not list(tmp_path.rglob("rows.bin"))


def test_views_seen_are_those_of_the_recipe() -> None:
    recipe = tiny_recipe(freeze_depth=1, augment="crop", views=5, epochs=3)
    assert stored_views(recipe) == (1, 2, 3)
    assert stored_views(replace(recipe, epochs=9)) == (1, 2, 3, 4, 5)
    assert stored_views(replace(recipe, augment="none", views=0)) == (0,)
    assert repeats(recipe) and not repeats(replace(recipe, views=0)) and repeats(replace(recipe, augment="none"))


def test_nothing_frozen_is_nothing_to_store(data: FitData) -> None:
    model = build_classifier(tiny_recipe(), 3)
    assert not can_store(model, tiny_recipe())
    assert can_store(model, tiny_recipe(freeze_depth=1))
    assert isinstance(train_inputs(tiny_recipe(augment="none"), model, data), FixedView)
    assert isinstance(train_inputs(tiny_recipe(augment="flip"), model, data), FreshViews)


def test_a_small_limit_is_kept_while_trials_come_and_go(data: FitData, tmp_path: Path, always: None) -> None:
    """Six trials at two depths in four views want a megabyte and more; they get by with a quarter of it."""
    limit, largest, wanted = 250_000, 0, 0
    folder, free = tmp_path / "tight", tmp_path / "free"
    for depth, seed in ((1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)):
        recipe = tiny_recipe(freeze_depth=depth, augment="crop+flip", views=4, epochs=4, seed=seed, batch_size=5)
        expected = figures(cached(recipe, data, PrefixCache(free, GB)).epochs())
        losses = []
        for row in cached(recipe, data, PrefixCache(folder, limit)).epochs():
            losses.append(row.val_loss)
            largest = max(largest, size_of(folder))
        assert losses == pytest.approx([row["val_loss"] for row in expected], rel=1e-4)
        wanted = size_of(free)
    assert 0 < largest <= limit < wanted / 4


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
