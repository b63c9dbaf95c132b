"""Many heads together are the same heads alone."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from raytl.data.store import FitData
from raytl.errors import ConfigError
from raytl.metric import METRICS
from raytl.recipe import Recipe
from raytl.train.cache import PrefixCache
from raytl.train.loop import Run
from raytl.train.probing import HeadEvent, fill_views, fit_heads
from raytl.train.world import World
from tests.tiny import figures, start, tiny_data, tiny_recipe

STAGES = 3  # of the plain CNN
HEAD: dict[str, Any] = {"freeze_depth": STAGES, "epochs": 4, "augment": "crop+flip", "views": 3}
VARIED: tuple[dict[str, Any], ...] = (
    {},
    {"lr": 0.3, "weight_decay": 0.1, "label_smoothing": 0.1},
    {"ema_decay": 0.9, "class_weights": "balanced", "epochs": 2},
    {"early_stop": "patience:1,10", "schedule": "plateau:0.5,0,1e-6"},
    {"head": "mlp:5", "dropout": 0.3},
    {"batch_size": 5, "augment": "none", "views": 0},
    {"loss": "focal", "sampler": "balanced", "seed": 3},
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


def recipes() -> dict[str, Recipe]:
    return {f"head{index}": tiny_recipe(**{**HEAD, **values}) for index, values in enumerate(VARIED)}


def together(recipes: dict[str, Recipe], data: FitData, cache: PrefixCache | None = None) -> list[HeadEvent]:
    epochs = fit_heads(recipes, data, World(), METRICS["val_accuracy"], cache)
    return [event for events in epochs for event in events]


def assert_alike(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Equal but for the last digits of floats."""
    for row, other in zip(found, expected, strict=True):
        for name, value in row.items():
            same = pytest.approx(other[name], rel=1e-4, abs=1e-6) if isinstance(value, float) else other[name]
            assert value == same, name


@pytest.mark.parametrize("cached", [False, True])
def test_heads_together_are_heads_alone(cached: bool, data: FitData, tmp_path: Path) -> None:
    cache = PrefixCache(tmp_path, 100_000_000) if cached else None
    events = together(recipes(), data, cache)
    for name, recipe in recipes().items():
        own = [event for event in events if event.trial_id == name]
        found = figures(event.row for event in own if event.row)
        expected = figures(start(recipe, data, trial_id=name).epochs())
        assert len(found) == len(expected)
        assert_alike(found, expected)
        assert [event.ended for event in own] == [None] * (len(own) - 1) + ["completed"]


def test_a_head_that_diverges_leaves_the_others_alone(data: FitData) -> None:
    good = tiny_recipe(**HEAD)
    events = together({"good": good, "bad": replace(good, lr=100.0, head_lr_scale=1e4, weight_decay=10.0)}, data)
    bad = [event for event in events if event.trial_id == "bad"]
    assert bad[-1].ended == "diverged" and bad[-1].row is None and "lower lr" in str(bad[-1].reason)
    alone = figures(start(good, data, trial_id="good").epochs())
    found = figures(event.row for event in events if event.trial_id == "good" and event.row)
    assert_alike(found, alone)


def test_heads_that_train_together_share_the_time(data: FitData) -> None:
    rows = [event.row for event in together(dict(list(recipes().items())[:4]), data) if event.row]
    first = sorted((row for row in rows if row.epoch == 1), key=lambda row: row.started_at)
    assert all(one.ended_at <= other.started_at for one, other in pairwise(first))
    assert all(math.isfinite(row.images_per_second) and row.images_per_second > 0 for row in rows)


def test_filled_views_are_read_by_whoever_comes_later(
    data: FitData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, recipe = PrefixCache(tmp_path, 100_000_000, sharers=9), tiny_recipe(**HEAD)
    fill_views(recipe, data, World(), cache, (0, 1, 2, 3))

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    expected = figures(start(recipe, data).epochs())
    monkeypatch.setattr("raytl.train.fronts.compute", fail)
    events = together({"t": recipe}, data, cache)
    found = figures(event.row for event in events if event.row)
    assert_alike(found, expected)


def test_more_than_a_head_is_refused(data: FitData) -> None:
    with pytest.raises(ConfigError, match="freeze_depth=1"):
        together({"t": tiny_recipe(freeze_depth=1)}, data)


def test_shallower_depths_are_stored_in_passing(data: FitData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, recipe = PrefixCache(tmp_path, 100_000_000, sharers=9), tiny_recipe(**HEAD)
    fill_views(recipe, data, World(), cache, (0, 1, 2, 3), depths=(2,))
    deep = replace(recipe, freeze_depth=2)
    expected = figures(start(deep, data).epochs())
    monkeypatch.setattr("raytl.train.fronts.compute", lambda *_, **__: pytest.fail("computed again"))
    run = Run(deep, data, World(), metric=METRICS["val_accuracy"], trial_id="t", cache=cache)
    assert_alike(figures(run.epochs()), expected)
