"""Recipes: what they refuse, all at once, and what names them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace

import pytest

from raytl.choice import Choice
from raytl.errors import ConfigError
from raytl.recipe import FIELD_NAMES, FIELD_TYPES, Recipe, make_recipe, recipe_hash, trial_id

# The fields of a recipe as the design's table names them, by group.
DOCUMENTED = {
    "backbone": "backbone weights image_size eval_resize normalize pool",
    "freezing": "freeze_depth unfreeze_epoch unfreeze_lr_scale head_epochs",
    "head": "head dropout attention aux_loss_weight",
    "optimizer": "optimizer lr head_lr_scale layer_decay weight_decay momentum clip_norm ema_decay",
    "schedule": "schedule warmup_epochs epochs early_stop",
    "batch": "batch_size precision",
    "loss": "loss label_smoothing focal_gamma class_weights sampler",
    "pictures": "augment mixup cutmix views",
    "chance": "seed",
}
RECIPE = Recipe(backbone="resnet18")


def test_the_fields_are_those_documented() -> None:
    assert [name for names in DOCUMENTED.values() for name in names.split()] == list(FIELD_NAMES)


@pytest.mark.parametrize(
    "values",
    [
        {"head": "mlp:256-128-64", "attention": "cbam:8", "schedule": "plateau:0.5,2,1e-6", "early_stop": "rises:5"},
        {"schedule": "step:10,0.5", "early_stop": "patience:5,0.001", "normalize": "half", "pool": "flatten"},
        {"augment": "rotate:15+jitter:0.2+affine:15,0.1+zoom:0.4+blur", "attention": "se:8", "head": "mlp:512"},
        {"augment": "autoaugment", "loss": "focal", "class_weights": "effective", "sampler": "balanced"},
        {"optimizer": "rmsprop", "unfreeze_epoch": 2, "clip_norm": 1.0, "views": 4, "schedule": "onecycle"},
    ],
)
def test_every_documented_choice_can_be_written(values: dict[str, object]) -> None:
    recipe = make_recipe(RECIPE, values)
    assert {name: recipe.values()[name] for name in values} == values


def test_choices_are_parsed() -> None:
    recipe = replace(RECIPE, head="mlp:256-128", schedule="step:10,0.5", augment="medium", attention="se:8")
    assert recipe.parsed_head == Choice("mlp", (256, 128))
    assert recipe.parsed_schedule == Choice("step", (10, 0.5))
    assert recipe.parsed_attention == Choice("se", (8,))
    assert recipe.parsed_early_stop == Choice("none")
    assert recipe.parsed_augment == (Choice("crop"), Choice("flip"), Choice("jitter", (0.2,)))
    assert replace(RECIPE, augment="none").parsed_augment == ()


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong: dict[str, object] = {
        "lr": -1.0,
        "epochs": "3",
        "seed": True,
        "optimizer": "rmspropp",
        "head": "mlp",
        "augment": "crop+rotate:200",
        "dropout": float("nan"),
        "clip_norm": float("inf"),
    }
    with pytest.raises(ConfigError) as caught:
        make_recipe(RECIPE, wrong)
    said = {problem.partition("=")[0]: problem for problem in caught.value.problems}
    assert said.keys() == wrong.keys() and len(caught.value.problems) == len(wrong)
    assert said["optimizer"].endswith("must be one of adamw, adam, sgd, rmsprop, did you mean 'rmsprop'?")
    assert said["epochs"] == "epochs='3': must be int, not str"
    assert said["lr"] == "lr=-1.0: must lie between 1e-09 and 100"


def test_what_must_go_together_is_checked() -> None:
    with pytest.raises(ConfigError) as caught:
        replace(RECIPE, image_size=224, eval_resize=200, epochs=2, warmup_epochs=3)
    assert [problem.split()[1] for problem in caught.value.problems] == ["eval_resize", "warmup_epochs"]
    assert "200 and 224" in caught.value.problems[0]


def test_an_unknown_field_offers_the_nearest_and_hides_no_other_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        make_recipe(RECIPE, {"freze_depth": 3, "lr": -1.0})
    assert caught.value.problems[0] == "recipe field 'freze_depth' does not exist, did you mean 'freeze_depth'?"
    assert caught.value.problems[1].startswith("lr=-1.0")


def _golden(values: dict[str, object], data: str, seed: int, stage: str) -> tuple[str, str]:
    """Hash and trial's name as documented, worked out from plain values."""
    without_seed = {name: value for name, value in values.items() if name != "seed"}
    text = json.dumps({"data": data, "recipe": without_seed}, sort_keys=True)
    recipe = hashlib.sha256(text.encode()).hexdigest()[:16]
    name = json.dumps({"recipe": recipe, "seed": seed, "stage": stage}, sort_keys=True)
    return recipe, hashlib.sha256(name.encode()).hexdigest()[:12]


def test_names_are_hashes_of_what_decides_a_run() -> None:
    recipe = replace(RECIPE, lr=3e-4, head="mlp:8", seed=7)
    values = {item.name: getattr(recipe, item.name) for item in fields(Recipe) if item.name != "head_epochs"}
    expected = _golden(values, "data-1", 7, "search")
    assert (recipe_hash(recipe, "data-1"), trial_id(recipe, "data-1", "search")) == expected


def test_the_names_of_today_stay_those_of_tomorrow() -> None:
    """Studies on disk are continued by these names: a change of any field's default or order of magnitude shows."""
    assert recipe_hash(RECIPE, "data") == "82e97dfa9fffd109"
    assert trial_id(RECIPE, "data", "search") == "b376e4914286"


def test_a_field_that_came_later_is_part_of_the_name_where_it_is_used() -> None:
    values = {item.name: getattr(RECIPE, item.name) for item in fields(Recipe)} | {"head_epochs": 5}
    assert recipe_hash(replace(RECIPE, head_epochs=5), "data") == _golden(values, "data", 0, "search")[0]


def test_the_seed_names_the_trial_and_not_the_recipe() -> None:
    other = RECIPE.with_seed(3)
    assert recipe_hash(other, "data") == recipe_hash(RECIPE, "data")
    assert trial_id(other, "data", "search") != trial_id(RECIPE, "data", "search")
    names = {trial_id(RECIPE, data, stage) for data in ("data", "other") for stage in ("search", "confirm")}
    assert len(names) == 4


@pytest.mark.parametrize("name", [name for name in FIELD_NAMES if FIELD_TYPES[name].startswith("float")])
def test_a_whole_number_is_the_same_recipe_as_its_float(name: str) -> None:
    whole = make_recipe(RECIPE, {name: 0 if name in ("dropout", "label_smoothing", "momentum", "ema_decay") else 1})
    number = getattr(whole, name)
    assert type(number) is float
    assert recipe_hash(whole, "") == recipe_hash(make_recipe(RECIPE, {name: number}), "")


def test_the_sign_of_zero_is_no_difference() -> None:
    assert recipe_hash(replace(RECIPE, dropout=-0.0), "") == recipe_hash(RECIPE, "")


OTHERS: dict[str, object] = {
    "weights": "none", "normalize": "half", "pool": "avg", "head": "mlp:8", "attention": "se:8", "optimizer": "sgd",
    "schedule": "constant", "early_stop": "rises:5", "precision": "bf16", "loss": "bce", "class_weights": "balanced",
    "sampler": "balanced", "augment": "none", "unfreeze_epoch": 2, "clip_norm": 1.0, "image_size": 200,
    "layer_decay": 0.5, "ema_decay": 0.5, "dropout": 0.5, "momentum": 0.5, "label_smoothing": 0.5,
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FIELD_NAMES if name not in ("seed", "backbone")])
def test_every_field_changes_the_hash(name: str) -> None:
    value = OTHERS[name] if name in OTHERS else getattr(RECIPE, name) + 1
    assert recipe_hash(make_recipe(RECIPE, {name: value}), "") != recipe_hash(RECIPE, "")
