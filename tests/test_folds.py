"""Cross-validation of heads, against training each fold by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raytl.data.pixels import StoredPixels
from raytl.data.store import FitData, PictureSet
from raytl.metric import Figures
from raytl.train import folds
from raytl.train.cache import PrefixCache
from raytl.train.course import Course
from raytl.train.folds import FOLDS, REPEATS, _best_figures, _folds, _side_by_side, cross_validate
from raytl.train.world import World
from tests.tiny import ACCURACY, start, tiny_data, tiny_recipe

HEAD = tiny_recipe(freeze_depth=3, epochs=3, optimizer="adamw", lr=0.01, augment="crop+flip", views=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"), sizes=(40, 13, 11))


def picked(pictures: PictureSet, rows: np.ndarray) -> PictureSet:
    assert isinstance(pictures.pixels, StoredPixels)
    return replace(
        pictures,
        pixels=replace(pictures.pixels, places=pictures.pixels.places[rows]),
        labels=pictures.labels[torch.from_numpy(rows)],
        keys=pictures.keys[rows],
        paths=tuple(pictures.paths[row] for row in rows),
    )


def test_folds_hold_every_picture_out_as_often_and_keep_classes_together(data: FitData) -> None:
    made = _folds(data)
    assert len(made) == FOLDS * REPEATS
    held = np.concatenate([rows for _, rows in made])
    assert np.bincount(held).tolist() == [REPEATS] * len(data.train)
    labels = data.train.labels.numpy()
    for train, rows in made:
        assert not set(train) & set(rows) and len(train) + len(rows) == len(labels)
        assert np.ptp(np.bincount(labels[rows], minlength=3) - np.bincount(labels, minlength=3) / FOLDS) <= 2


@pytest.mark.parametrize("numbers", [1, folds.NUMBERS])
@pytest.mark.parametrize("cached", [False, True])
def test_figures_are_the_means_of_runs_on_the_folds(
    cached: bool, numbers: int, data: FitData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "NUMBERS", numbers)  # 1: one fold after the other
    recipes = {
        "a": HEAD,
        "b": replace(HEAD, lr=0.03, ema_decay=0.9),
        "c": replace(HEAD, batch_size=5),
        "d": replace(HEAD, dropout=0.3, class_weights="balanced", label_smoothing=0.1),
        "e": replace(HEAD, dropout=0.1, epochs=6, early_stop="patience:1,0.0"),
        "f": replace(HEAD, sampler="balanced", schedule="plateau:0.5,1,1e-6"),
    }
    cache = PrefixCache(tmp_path, 100_000_000) if cached else None
    found = cross_validate(recipes, data, World(), ACCURACY, cache)
    for name, recipe in recipes.items():
        best = []
        for train, held in _folds(data):
            fold = replace(data, train=picked(data.train, train), val=picked(data.train, held))
            best.append([row for row in start(recipe, fold).epochs() if row.is_best][-1])
        assert found[name].val_accuracy == pytest.approx(np.mean([row.val_accuracy for row in best]), abs=0.02)
        assert found[name].val_loss == pytest.approx(np.mean([row.val_loss for row in best]), rel=1e-3)


def test_folds_lie_side_by_side_where_they_are_of_one_size(data: FitData) -> None:
    made = _folds(replace(data, train=picked(data.train, np.arange(38))))
    joined = list(_side_by_side(made, folds.NUMBERS // 4))
    assert max(len(train) for train, _ in joined) == 4
    assert sorted(map(bytes, (rows for _, held in joined for rows in held))) == sorted(bytes(held) for _, held in made)
    for train, held in joined:
        for each, rows in zip(train, held, strict=True):
            assert sorted([*each, *rows]) == list(range(38))


def test_a_class_of_one_picture_cannot_be_cross_validated(data: FitData) -> None:
    labels = data.train.labels.clone()
    labels[labels == 2] = 1
    labels[0] = 2
    lone = replace(data, train=replace(data.train, labels=labels))
    assert cross_validate({"a": HEAD}, lone, World(), ACCURACY, None) == {}


def test_a_head_that_is_done_in_its_fold_may_diverge_while_the_others_go_on() -> None:
    class Stopping:
        """One recipe in two folds: the first is done after an epoch, and its loss is no number any more after that."""

        recipe_count = 1

        def __init__(self) -> None:
            self.courses = [Course(replace(HEAD, epochs=epochs), 1, ACCURACY) for epochs in (1, 3)]
            self.epoch = 0

        def heads_of(self, place: int) -> range:
            return range(2)

        def train(self, epoch: int) -> tuple[None, set[int]]:
            self.epoch = epoch
            return None, {0} if epoch > 1 else set()

        def validate(self) -> Stopping:
            return self

        def figures(self) -> list[Figures]:
            return [Figures(0.5, 0.5, 0.7 if self.epoch == 1 else math.nan), Figures(0.2 * self.epoch, 0.5, 0.7)]

        def keep(self, places: list[int]) -> None:
            assert places == [0]

    found = list(_best_figures(Stopping()))  # type: ignore[arg-type]
    assert [(place, figures.val_accuracy) for place, figures in found] == [(0, 0.5), (0, pytest.approx(0.6))]


def test_a_head_that_diverges_is_left_out(data: FitData) -> None:
    bad = replace(HEAD, optimizer="sgd", lr=100.0, head_lr_scale=1e4, weight_decay=10.0)
    assert cross_validate({"bad": bad}, data, World(), ACCURACY, None) == {}
