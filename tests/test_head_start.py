"""A head trained alone before the stages behind the frozen ones are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from raytl.data.store import FitData
from raytl.errors import ConfigError
from raytl.recipe import Recipe
from raytl.train.cache import PrefixCache
from raytl.train.loop import fit
from raytl.train.world import World
from tests.tiny import figures, learner, start, tiny_data, tiny_recipe, weights_of

STAGES = 5  # of tiny_resnet
VALUES: dict[str, Any] = {"backbone": "tiny_resnet", "weights": "pretrained", "lr": 0.01, "head_lr_scale": 3.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


def alone(recipe: Recipe) -> Recipe:
    """The run of a head that a head start should equal."""
    return replace(recipe, freeze_depth=STAGES, epochs=recipe.head_epochs, head_epochs=0)


@pytest.mark.parametrize(
    "values",
    [
        {"augment": "none"},
        {"augment": "crop+flip", "views": 2},
        {"augment": "none", "ema_decay": 0.9, "label_smoothing": 0.1, "head": "mlp:8", "dropout": 0.2},
    ],
)
def test_a_run_begins_with_the_head_that_a_run_of_the_head_alone_ends_with(
    values: dict[str, Any], data: FitData
) -> None:
    recipe = tiny_recipe(**VALUES, freeze_depth=2, head_epochs=3, **values)
    run = start(recipe, data)
    head = start(alone(recipe), data)
    list(head.epochs())
    with head.learner.averaged():
        expected = weights_of(head.model)
    found = weights_of(run.model)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    plain = weights_of(start(replace(recipe, head_epochs=0), data).model)
    assert any(not torch.equal(plain[name], found[name]) for name in plain if name.startswith("head."))


def test_pictures_drawn_afresh_are_shown_to_the_head_as_they_are_evaluated(data: FitData) -> None:
    fresh = start(tiny_recipe(**VALUES, augment="crop+flip", head_epochs=2), data)
    plain = start(tiny_recipe(**VALUES, augment="none", head_epochs=2), data)
    for name, value in plain.model.head.state_dict().items():
        assert torch.equal(fresh.model.head.state_dict()[name], value)


@pytest.mark.parametrize(("head_epochs", "scale"), [(0, 3.0), (1, 1.0)])
def test_a_trained_head_learns_at_the_rate_of_the_stages(head_epochs: int, scale: float, data: FitData) -> None:
    run = start(tiny_recipe(**VALUES, freeze_depth=2, head_epochs=head_epochs), data)
    head = {id(parameter) for parameter in run.model.head.parameters()}
    groups = [group for group in learner(run).optimizer.param_groups if head & {id(each) for each in group["params"]}]
    assert groups and {group["lr_scale"] for group in groups} == {scale}


def test_stages_behind_the_frozen_ones_are_trained_afterwards(data: FitData) -> None:
    run = start(tiny_recipe(**VALUES, freeze_depth=2, head_epochs=1, epochs=1), data)
    before = weights_of(run.model)
    assert run.model.freeze_depth == 2
    (row,) = run.epochs()
    assert row.epoch == 1, "epochs of the head alone are not counted"
    after = weights_of(run.model)
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    frozen = run.model.stages[:2]
    assert moved and not any(
        stage.owns(name.removeprefix("backbone.net.")) for stage in frozen for name in moved if "backbone" in name
    )


def test_stored_features_give_the_same_run(data: FitData, tmp_path: Path) -> None:
    recipe = tiny_recipe(**VALUES, freeze_depth=2, head_epochs=3, augment="crop+flip", views=2, epochs=3)
    expected = figures(fit(recipe, data, World()))
    cache = PrefixCache(tmp_path / "prefixes", 50_000_000, sharers=100)
    found = figures(fit(recipe, data, World(), cache=cache))
    assert [row["val_loss"] for row in found] == pytest.approx([row["val_loss"] for row in expected], rel=1e-5)
    assert [row["train_loss"] for row in found] == pytest.approx([row["train_loss"] for row in expected], rel=1e-5)
    assert any((tmp_path / "prefixes").iterdir())


@pytest.mark.parametrize("values", [{"attention": "se:8"}, {"aux_loss_weight": 0.3}])
def test_a_head_over_more_than_pooled_features_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="head_epochs=2 trains a head over pooled features"):
        tiny_recipe(head_epochs=2, **values)
