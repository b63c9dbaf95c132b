"""Costs against published counts and closed forms."""

from __future__ import annotations

import pytest
import torch

from raytl.models.classifier import build_classifier, count_parameters
from raytl.models.cost import BackboneFacts, facts_of
from raytl.recipe import Recipe


def _facts(name: str, size: int, normalize: str = "backbone") -> BackboneFacts:
    return facts_of(Recipe(backbone=name, image_size=size, eval_resize=size, normalize=normalize), 1000)


@pytest.mark.parametrize(
    ("name", "size", "giga_macs", "mega_parameters"),
    [
        ("resnet50", 224, 4.09, 25.557),  # torchvision's table of its models
        ("vgg16", 224, 15.47, 138.358),
        ("vit_base_patch16_224", 224, 17.56, 86.568),
        ("mobilenet_v2", 224, 0.301, 3.505),
    ],
)
def test_published_counts(name: str, size: int, giga_macs: float, mega_parameters: float) -> None:
    facts = _facts(name, size)
    assert facts.forward_flops / 2e9 == pytest.approx(giga_macs, rel=0.01)
    assert facts.parameters / 1e6 == pytest.approx(mega_parameters, rel=1e-3)


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("test_vit", 64), ("vgg11", 64), ("test_byobnet", 64)])
def test_fractions_rise_from_nothing_to_all_but_the_head(name: str, size: int) -> None:
    facts = _facts(name, size)
    head = 2 * 1000 * (facts.trainable_parameters[-1] - 1000) / 1000  # one multiplication and addition per weight
    assert facts.frozen_fractions[0] == 0
    assert list(facts.frozen_fractions) == sorted(facts.frozen_fractions)
    assert facts.frozen_fractions[-1] == pytest.approx(1 - head / facts.forward_flops, abs=1e-6)
    assert len(facts.frozen_fractions) == len(facts.trainable_parameters) == len(facts.stage_names) + 1


def test_a_plain_cnn_by_hand() -> None:
    facts = _facts("plain_cnn", 16)
    convolutions = [2 * 9 * a * b * size**2 for a, b, size in ((3, 32, 16), (32, 64, 8), (64, 128, 4))]
    total = sum(convolutions) + 2 * 128 * 1000
    assert facts.forward_flops == total
    assert facts.frozen_fractions == pytest.approx([sum(convolutions[:d]) / total for d in range(4)])


def test_trainable_parameters_are_those_of_the_model() -> None:
    for depth in range(4):
        recipe = Recipe(backbone="plain_cnn", weights="none", image_size=16, freeze_depth=depth, attention="se:8")
        model = build_classifier(recipe, 5)
        facts = facts_of(recipe, 5)
        trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
        assert facts.trainable_parameters[depth] == trained
        assert facts.parameters == count_parameters(model)


def test_counting_leaves_the_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    facts_of(Recipe(backbone="tiny_resnet", image_size=40), 3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_normalization_is_the_recipes() -> None:
    assert _facts("tiny_resnet", 32, normalize="imagenet").mean == (0.485, 0.456, 0.406)
    assert _facts("resnet18", 32, normalize="half").std == (0.5, 0.5, 0.5)
