"""How fast a backbone trains here: measured over few pictures, leaving nothing behind."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from raytl.train import pace as pace_module
from raytl.train.pace import LEAST, MOST, measure_pace
from tests.plans import make_album
from tests.tiny import tiny_recipe

CPU = torch.device("cpu")


def test_a_pace_is_measured_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    album = make_album(tmp_path / "pictures")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    threads = torch.get_num_threads()
    begin = time.perf_counter()
    pace = measure_pace(tiny_recipe(), album, 1_000_000, CPU, 1, budget_seconds=1.0)
    passed = time.perf_counter() - begin
    pictures = len(album.part("train"))
    assert 0 < pace.train_seconds * pictures < passed and 0 < pace.evaluate_seconds * pictures < passed
    assert 0 < pace.decode_seconds * len(album.used) < passed
    assert list((tmp_path / "temporary").iterdir()) == [] and torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("flops", "seconds", "count"),
    [(1_000, 1.0, MOST), (10**12, 1.0, LEAST), (10**8, 1.0, 12), (10**8, 2.0, 25), (2 * 10**8, 3.0, 18)],
)
def test_as_many_pictures_are_timed_as_the_budget_allows(flops: int, seconds: float, count: int) -> None:
    # eight passes of 10^8 operations at 10^10 a second: 12.5 pictures in a second; of twice as many in three: 18.75
    assert pace_module._count(flops, CPU, 1, seconds) == count
    assert pace_module._count(flops, torch.device("cuda"), 1, seconds) == MOST


def test_recipes_that_need_rare_classes_or_stored_views_are_timed_all_the_same(tmp_path: Path) -> None:
    album = make_album(tmp_path / "pictures")
    recipe = tiny_recipe(class_weights="balanced", sampler="balanced", early_stop="patience:1,0.1", freeze_depth=2)
    pace = measure_pace(replace(recipe, views=2), album, 10**9, CPU, 1, budget_seconds=0.1)
    assert pace.train_seconds > 0
