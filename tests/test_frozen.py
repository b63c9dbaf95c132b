"""What heads share: the features of a frozen backbone, and who sees which pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from raytl.data.store import FitData
from raytl.train import frozen
from raytl.train.cache import PrefixCache
from raytl.train.frozen import freeze
from raytl.train.world import World
from tests.tiny import tiny_data, tiny_recipe

HEAD = tiny_recipe(freeze_depth=3, augment="crop+flip", views=2, epochs=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("cached", [False, True])
def test_features_are_those_of_the_whole_backbone_however_many_are_asked_for(
    cached: bool, data: FitData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "BATCH", 4)
    shared = freeze([HEAD], data, World(), PrefixCache(tmp_path, 100_000_000) if cached else None)
    split = shared.split(data)
    rows = np.array([3, 17, 3, 0, 9, 21, 5, 5, 2])
    found = shared.features(split.held, rows % 13, 1)
    pictures = [split.held.batch(np.array([row]), 1) for row in rows % 13]
    if not cached:
        with torch.no_grad():
            pictures = [shared.model.prefix(each, 3) for each in pictures]
    torch.testing.assert_close(found, torch.cat(pictures), rtol=1e-5, atol=1e-6)


def test_the_longest_recipe_says_how_many_views_are_made_ready(data: FitData) -> None:
    longer = tiny_recipe(freeze_depth=3, augment="crop+flip", views=2, epochs=7)
    assert freeze([HEAD, longer], data, World(), None).recipe == longer


def test_the_studys_split_is_one_fold_of_all_pictures(data: FitData) -> None:
    split = freeze([HEAD], data, World(), None).split(data)
    assert split.train_rows.tolist() == [list(range(22))] and split.held_rows.tolist() == [list(range(13))]
    assert split.class_counts(4) == [[*torch.bincount(data.train.labels).tolist(), 0]]
