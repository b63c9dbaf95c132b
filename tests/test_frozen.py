"""What heads share: the features of a frozen backbone, and who sees which pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("room_bytes", [None, 0, 100_000_000])
def test_features_are_those_of_the_whole_backbone_however_many_are_asked_for(
    room_bytes: int | None, data: FitData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "BATCH", 4)
    shared = freeze([HEAD], data, World(), None if room_bytes is None else PrefixCache(tmp_path, room_bytes))
    split = shared.split(data)
    rows = np.array([3, 17, 3, 0, 9, 21, 5, 5, 2])
    for inputs, numbers in ((split.held, rows % 13), (split.train, rows)):
        pictures = [inputs.batch(np.array([row]), 1) for row in numbers]  # what there is room for is stored by now
        with torch.no_grad():
            expected = torch.cat([one if inputs.depth == 3 else shared.model.prefix(one, 3) for one in pictures])
        with counted(shared, monkeypatch) as shown:
            found = shared.features(inputs, numbers, 1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert shown == ([] if room_bytes else [4, 4, 1])


@contextmanager
def counted(shared: frozen.Frozen, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many pictures the backbone is shown at a time within the block."""
    shown: list[int] = []
    run_stages = shared.model.backbone.run_stages

    def counting(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        shown.append(len(x))
        return run_stages(x, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(shared.model.backbone, "run_stages", counting)
        yield shown


def test_the_longest_recipe_says_how_many_views_are_made_ready(data: FitData) -> None:
    longer = tiny_recipe(freeze_depth=3, augment="crop+flip", views=2, epochs=7)
    assert freeze([HEAD, longer], data, World(), None).recipe == longer


def test_the_studys_split_is_one_fold_of_all_pictures(data: FitData) -> None:
    split = freeze([HEAD], data, World(), None).split(data)
    assert split.train_rows.tolist() == [list(range(22))] and split.held_rows.tolist() == [list(range(13))]
    assert split.class_counts(4) == [[*torch.bincount(data.train.labels).tolist(), 0]]
