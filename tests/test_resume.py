"""A run is a function of recipe and data: again, after other runs, and continued from any of its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from raytl.data.store import FitData
from raytl.train.checkpoint import Snapshot, load_snapshot, save_snapshot
from tests.tiny import counted, figures, fitted, start, tiny_data, tiny_recipe, weights_of

CONV = "backbone.net.block1.conv.weight"
EVERYTHING: dict[str, Any] = {
    "optimizer": "adamw",
    "lr": 0.01,
    "ema_decay": 0.9,
    "schedule": "plateau:0.5,0,1e-6",
    "early_stop": "patience:3,0.0",
    "dropout": 0.3,
    "head": "mlp:16",
    "freeze_depth": 3,
    "unfreeze_epoch": 3,
    "mixup": 0.4,
    "clip_norm": 1.0,
}
RECIPES: list[dict[str, Any]] = [
    {},
    {"momentum": 0.0},
    {"optimizer": "rmsprop", "lr": 1e-4, "schedule": "onecycle"},
    {"backbone": "tiny_resnet", "optimizer": "adam", "lr": 1e-3, "ema_decay": 0.5, "freeze_depth": 2},
    {"early_stop": "rises:2", "sampler": "balanced", "views": 2, "warmup_epochs": 1.5},
    {"head_epochs": 2, "freeze_depth": 1, "head_lr_scale": 3.0},
    EVERYTHING,
    {**EVERYTHING, "seed": 1, "schedule": "cosine"},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


def reread(snapshot: Snapshot, folder: Path) -> Snapshot:
    """The snapshot by way of the disk."""
    save_snapshot(folder, snapshot)
    loaded = load_snapshot(folder)
    assert loaded is not None
    return loaded


@pytest.mark.parametrize("values", RECIPES)
def test_a_run_continued_from_its_checkpoint_goes_on_as_if_never_stopped(
    values: dict[str, Any], data: FitData, tmp_path: Path
) -> None:
    recipe = tiny_recipe(epochs=4, **values)
    whole = start(recipe, data)
    expected = figures(whole.epochs())
    run = start(recipe, data)
    for epoch in range(1, len(expected)):
        assert figures([next(run.epochs())]) == expected[epoch - 1 : epoch]
        run = start(recipe, data, reread(run.snapshot(), tmp_path))
        torch.rand(1)  # what other work draws does not matter
    assert figures(run.epochs()) == expected[-1:]
    assert run.finished and run.course.best.epoch == whole.course.best.epoch
    first, second = weights_of(whole.load_best()), weights_of(run.load_best())
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_checkpoint_without_its_moments_would_be_noticed(data: FitData, tmp_path: Path) -> None:
    """The control of the test above: what it compares is sensitive enough."""
    recipe = tiny_recipe(epochs=3)
    run = start(recipe, data)
    next(run.epochs())
    snapshot = reread(run.snapshot(), tmp_path)
    kept = {name: value for name, value in snapshot.tensors.items() if not name.startswith("optimizer/")}
    assert len(kept) < len(snapshot.tensors)
    run = start(recipe, data, Snapshot(**{**vars(snapshot), "tensors": kept}))
    assert figures(run.epochs()) != fitted(recipe, data)[1:]


def test_a_run_stopped_early_stays_stopped(data: FitData, tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=9, lr=1e-9, early_stop="patience:2,0.1")
    run = start(recipe, data)
    assert len(list(run.epochs())) == 3
    again = start(recipe, data, reread(run.snapshot(), tmp_path))
    assert again.finished and list(again.epochs()) == []


def test_frozen_stages_are_not_stored_unless_they_will_open(data: FitData) -> None:
    for values, stored in (({}, False), ({"unfreeze_epoch": 5}, True)):
        run = start(tiny_recipe(freeze_depth=1, **values), data)
        list(run.epochs())
        snapshot = run.snapshot()
        assert ("model/backbone.net.block1.conv.weight" in snapshot.tensors) == stored
        assert ("backbone.net.block1.conv.weight" in snapshot.best) == stored
        assert "model/backbone.net.block2.conv.weight" in snapshot.tensors


def test_the_best_epoch_before_unfreezing_comes_back_whole(
    data: FitData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(freeze_depth=3, unfreeze_epoch=2, epochs=3)
    run = start(recipe, data)
    right = iter((7, 4, 4))
    monkeypatch.setattr(type(run.evaluator), "counts", lambda *_: counted(next(right)))
    epochs = run.epochs()
    next(epochs)
    kept = weights_of(run.model)
    list(epochs)
    snapshot = reread(run.snapshot(), tmp_path)
    assert snapshot.best_epoch == 1
    assert not torch.equal(weights_of(run.model)[CONV], kept[CONV])
    best = weights_of(start(recipe, data, snapshot).load_best())
    assert all(torch.equal(value, kept[name]) for name, value in best.items())


@pytest.mark.parametrize("backbone", ["plain_cnn", "tiny_resnet", "tiny_vit"])
def test_what_ran_before_in_the_process_does_not_matter(backbone: str, data: FitData) -> None:
    recipe = tiny_recipe(backbone=backbone, dropout=0.2, mixup=0.4)
    first = fitted(recipe, data)
    fitted(tiny_recipe(backbone="tiny_mobilenet", image_size=20, seed=5, dropout=0.5), data)
    start(recipe, data)
    assert fitted(recipe, data) == first


def test_two_runs_taken_in_turns_do_not_disturb_each_other(data: FitData) -> None:
    recipes = [tiny_recipe(dropout=0.3, seed=seed, epochs=3) for seed in (0, 1)]
    runs = [start(recipe, data).epochs() for recipe in recipes]
    rows = [[next(run) for run in runs] for _ in range(3)]
    assert [figures(column) for column in zip(*rows, strict=True)] == [fitted(recipe, data) for recipe in recipes]
