"""Families: names sorted, defaults that lie inside their own search space, and the linear probe."""

from __future__ import annotations

import pytest

from raytl.family import (
    CARRIED_NAMES,
    FAMILIES,
    SCRATCH,
    default_recipe,
    default_space,
    family_of,
    freeze_depths,
    head_recipe,
    head_space,
    probe_recipe,
)
from raytl.models.carried import CARRIED
from raytl.space import Choices, LogUniform

EXAMPLES = {
    "tiny": CARRIED_NAMES,
    "mobile": ("mobilenetv2_100", "mobilenet_v3_large", "tf_efficientnetv2_s", "efficientnet_b0", "squeezenet1_1"),
    "residual": ("resnet50", "resnext50_32x4d", "densenet121", "googlenet", "inception_v3", "regnety_016"),
    "plain": ("vgg16", "vgg19_bn", "alexnet", "plain_cnn"),
    "convnext": ("convnext_tiny", "convnextv2_nano"),
    "transformer": ("vit_base_patch16_224", "deit_base_patch16_224", "swinv2_tiny_window8_256", "tiny_vit_5m_224"),
    "other": ("mlp_mixer", "tiny_unknown"),
}
BALANCED = [50, 50, 49]


@pytest.mark.parametrize(("family", "backbone"), [(name, each) for name, all_ in EXAMPLES.items() for each in all_])
def test_a_backbone_belongs_to_its_family(family: str, backbone: str) -> None:
    assert family_of(backbone).name == family
    assert family in {each.name for each in FAMILIES}


def test_the_carried_names_are_those_of_the_package() -> None:
    assert set(CARRIED_NAMES) == set(CARRIED)
    for name, carried in CARRIED.items():
        assert default_recipe(name).image_size == carried.image_size


@pytest.mark.parametrize(
    ("backbone", "image_size", "pixels"),
    [
        ("swinv2_tiny_window8_256", None, (256, 288)),
        ("tf_efficientnetv2_s", None, (300, 320)),
        ("inception_v3", None, (299, 342)),
        ("vit_base_patch16_384", None, (384, 439)),
        ("mobilenetv2_100", None, (224, 256)),
        ("regnety_320", None, (224, 256)),
        ("resnet50", 256, (256, 288)),
        ("tf_efficientnetv2_s", 224, (224, 256)),
        ("tiny_resnet", None, (64, 64)),
        ("plain_cnn", None, (64, 64)),
        ("plain_cnn", 96, (96, 96)),
    ],
)
def test_pixels_follow_the_name_unless_given(backbone: str, image_size: int | None, pixels: tuple[int, int]) -> None:
    recipe = default_recipe(backbone, image_size=image_size)
    assert (recipe.image_size, recipe.eval_resize) == pixels


@pytest.mark.parametrize("backbone", [each for all_ in EXAMPLES.values() for each in all_])
@pytest.mark.parametrize("weights", ["pretrained", "none"])
@pytest.mark.parametrize("stage_count", [1, 5])
@pytest.mark.parametrize("class_counts", [BALANCED, [900, 30], [2, 2, 2]])
def test_the_default_lies_in_its_own_space(
    backbone: str, weights: str, stage_count: int, class_counts: list[int]
) -> None:
    recipe = default_recipe(backbone, weights)
    space = default_space(backbone, stage_count, class_counts, weights)
    assert space.contains(recipe.values())
    space.check(recipe)
    assert 4 <= len(space.domains) <= 10
    if "freeze_depth" in space.domains:
        probe = probe_recipe(recipe, stage_count)
        assert space.contains(probe.values())
        assert space.contains(head_recipe(probe, recipe).values())


def test_random_weights_are_neither_frozen_nor_spared() -> None:
    space = default_space("resnet50", 5, BALANCED, weights="none")
    assert not {"freeze_depth", "head_lr_scale", "layer_decay"} & set(space.domains)
    assert default_recipe("resnet50", "none").lr == SCRATCH.default_lr == default_recipe("plain_cnn").lr


def test_the_probe_trains_a_linear_head_on_plain_pictures() -> None:
    default = default_recipe("vit_base_patch16_224", epochs=4, seed=3)
    probe = probe_recipe(default, 5)
    assert (probe.freeze_depth, probe.head, probe.augment, probe.mixup, probe.views) == (5, "linear", "none", 0.0, 0)
    assert probe.lr * probe.head_lr_scale == pytest.approx(1e-2)
    assert (probe.epochs, probe.seed, probe.backbone) == (4, 3, "vit_base_patch16_224")


def test_a_transformer_is_not_offered_the_rates_of_a_cnn() -> None:
    rates = {name: family_of(names[0]).lr for name, names in EXAMPLES.items()}
    assert rates["transformer"].high < rates["residual"].high
    assert rates["plain"].high < rates["residual"].high
    space = default_space("vit_base_patch16_224", 5, BALANCED)
    assert "layer_decay" in space.domains and "head_lr_scale" not in space.domains


def test_fields_that_need_pictures_depend_on_their_number() -> None:
    few, many = default_space("resnet50", 5, [20, 20]), default_space("resnet50", 5, [300, 310])
    assert "batch_size" not in few.domains
    assert many.domains["batch_size"] == Choices((16, 32, 64))
    assert "class_weights" not in many.domains
    assert "class_weights" in default_space("resnet50", 5, [1000, 152]).domains


@pytest.mark.parametrize("epochs", [1, 4, 5, 30])
def test_short_runs_have_a_short_warmup(epochs: int) -> None:
    recipe = default_recipe("resnet50", epochs=epochs)
    assert recipe.epochs == epochs
    assert 0.5 <= recipe.warmup_epochs <= 1.0


def test_depths_are_whole_quarters_with_both_ends() -> None:
    assert freeze_depths(1) == (0, 1)
    assert freeze_depths(5) == (0, 1, 2, 4, 5)
    assert freeze_depths(8) == (0, 2, 4, 6, 8)


def test_rates_of_all_families_hold_their_default() -> None:
    for family in (*FAMILIES, SCRATCH):
        assert isinstance(family.lr, LogUniform) and family.lr.contains(family.default_lr)


def test_the_head_recipe_is_the_probe_with_augmented_pictures_and_averaged_weights() -> None:
    default = default_recipe("resnet50")
    probe = probe_recipe(default, 5)
    head = head_recipe(probe, default)
    differing = {name for name, value in head.values().items() if value != probe.values()[name]}
    assert differing == {"augment", "ema_decay", "views"}
    assert head.augment == default.augment
    assert 0 < head.ema_decay < 1


@pytest.mark.parametrize(("pixels", "sizes"), [(224, (224, 256)), (64, None), (96, None), (128, (128, 160))])
def test_heads_are_tried_at_a_larger_size_where_there_is_one(pixels: int, sizes: tuple[int, ...] | None) -> None:
    space = head_space(default_recipe("resnet50", image_size=pixels), BALANCED)
    domain = space.domains.get("image_size")
    assert (domain.values if isinstance(domain, Choices) else None) == sizes
