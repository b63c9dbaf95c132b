"""The names of recipes and trials."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace

import pytest

from raytl.identity import distilled_hash, distilled_id, ensemble_id, recipe_hash, trial_id
from raytl.recipe import FIELD_NAMES, FIELD_TYPES, Recipe, make_recipe

RECIPE = Recipe(backbone="resnet18")


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


def test_an_ensemble_is_named_by_its_members_and_weights_in_any_order() -> None:
    name = ensemble_id({"s": 0.25, "t": 0.75})
    assert name == ensemble_id({"t": 0.75, "s": 0.25}) and len(name) == 12
    assert len({name, ensemble_id({"s": 0.75, "t": 0.25}), ensemble_id({"s": 0.25, "u": 0.75})}) == 3


def test_a_student_is_named_by_its_recipe_pictures_teacher_and_seed() -> None:
    student = distilled_hash(RECIPE, "data", "t", 4.0, 0.9)
    others = [
        distilled_hash(replace(RECIPE, lr=0.5), "data", "t", 4.0, 0.9),
        distilled_hash(RECIPE, "other", "t", 4.0, 0.9),
        distilled_hash(RECIPE, "data", "u", 4.0, 0.9),
        distilled_hash(RECIPE, "data", "t", 2.0, 0.9),
        distilled_hash(RECIPE, "data", "t", 4.0, 0.5),
        recipe_hash(RECIPE, "data"),
    ]
    assert len({student, *others}) == 7 and len(student) == 16
    assert distilled_hash(replace(RECIPE, seed=9), "data", "t", 4.0, 0.9) == student
    assert distilled_id(student, 0) != distilled_id(student, 1) and len(distilled_id(student, 0)) == 12
