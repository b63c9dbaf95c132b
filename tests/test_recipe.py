"""Recipes: what they refuse, all at once, and what names them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raytl.choice import Choice
from raytl.errors import ConfigError
from raytl.recipe import FIELD_NAMES, Recipe, make_recipe

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
