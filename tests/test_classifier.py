"""The whole model of a recipe: fresh, seeded, with the outputs, notes and auxiliary heads that the recipe asks for."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from raytl.errors import ConfigError
from raytl.models.backbones import shapes_of
from raytl.models.classifier import build_classifier, fresh_head, output_count
from raytl.models.heads import feature_count
from raytl.models.sources import _generic_plan
from raytl.models.stages import parameter_groups
from raytl.recipe import Recipe

SMALL = Recipe(backbone="plain_cnn", weights="none", image_size=16)
GOOGLENET = Recipe(backbone="googlenet", weights="none", image_size=64, aux_loss_weight=0.3)


def test_the_seed_decides_whether_or_not_shapes_are_known() -> None:
    recipe = Recipe(backbone="test_byobnet", weights="none", image_size=48)
    shapes_of.cache_clear()
    _generic_plan.cache_clear()
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(build_classifier(recipe, 3).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_two_models_share_nothing() -> None:
    first, second = build_classifier(SMALL, 3), build_classifier(SMALL, 3)
    assert not {p.data_ptr() for p in first.parameters()} & {p.data_ptr() for p in second.parameters()}


@pytest.mark.parametrize(("loss", "classes", "outputs"), [("bce", 2, 1), ("bce", 3, 3), ("cross_entropy", 2, 2)])
def test_output_count(loss: str, classes: int, outputs: int) -> None:
    recipe = replace(SMALL, loss=loss)
    assert output_count(recipe, classes) == outputs
    assert build_classifier(recipe, classes)(torch.zeros(2, 3, 16, 16)).shape == (2, outputs)


@torch.no_grad()
def test_forward_is_backbone_attention_head() -> None:
    model = build_classifier(replace(SMALL, attention="cbam:8", head="mlp:16"), 3).eval()
    x = torch.randn(2, 3, 16, 16)
    last_map = model.backbone.net(x)
    torch.testing.assert_close(model(x), model.head(model.attention(last_map).mean((2, 3))))


def test_attention_is_part_of_the_head_and_never_frozen() -> None:
    model = build_classifier(replace(SMALL, attention="se:8", freeze_depth=3), 3)
    ((name, parameters),) = parameter_groups(model)
    assert name == "head"
    assert {id(p) for p in parameters} == {id(p) for part in (model.attention, model.head) for p in part.parameters()}


@torch.no_grad()
@pytest.mark.parametrize("attention", ["none", "se:8"])
@pytest.mark.parametrize("pool", ["backbone", "avg", "flatten"])
def test_prefix_and_suffix_under_every_pooling(attention: str, pool: str) -> None:
    model = build_classifier(
        Recipe(backbone="mobilenetv3_small_050", weights="none", image_size=64, pool=pool, attention=attention), 3
    ).eval()
    x = torch.randn(2, 3, 64, 64)
    for depth in range(len(model.stages) + 1):
        torch.testing.assert_close(model.suffix(model.prefix(x, depth), depth), model(x), rtol=1e-4, atol=1e-5)
    assert model.prefix(x, len(model.stages)).ndim == (2 if attention == "none" else 4)


@torch.no_grad()
def test_auxiliary_heads_listen_where_torchvision_lets_them() -> None:
    """Independent reference: torchvision's own training-mode forward with the same tensors."""
    model = build_classifier(GOOGLENET, 3).eval()
    net = copy.deepcopy(model.backbone.net)
    heard: list[torch.Tensor] = []
    for name, step in (("aux1", "inception4a"), ("aux2", "inception4d")):
        setattr(net, name, copy.deepcopy(model.auxiliary.get_submodule(step)))
    net.training = True  # torchvision runs its auxiliary heads in training only; all layers stay in eval mode
    x = torch.randn(2, 3, 64, 64)
    _, second, first = net._forward(x)  # type: ignore[operator]
    logits, auxiliary = model.suffix_with_auxiliary(x, 0)
    heard.extend(auxiliary)
    torch.testing.assert_close(logits, model(x))
    torch.testing.assert_close(heard[0], first)
    torch.testing.assert_close(heard[1], second)
    assert heard[0].shape == (2, 3)


def test_an_auxiliary_head_behind_a_frozen_tap_is_left_out_and_said_so() -> None:
    open_, frozen = (
        build_classifier(replace(GOOGLENET, freeze_depth=2), 3),
        build_classifier(replace(GOOGLENET, freeze_depth=3), 3),
    )
    assert len(open_.auxiliary) == 2 and open_.notes == ()
    assert len(frozen.auxiliary) == 0
    assert len(frozen.notes) == 2 and "aux1 is left out: it listens to inception4a, which is frozen" in frozen.notes[0]
    thawing = build_classifier(replace(GOOGLENET, freeze_depth=3, unfreeze_epoch=2), 3)
    assert len(thawing.auxiliary) == 2 and thawing.notes == ()


def test_auxiliary_parameters_are_trained_with_the_head() -> None:
    model = build_classifier(GOOGLENET, 3)
    head = dict(parameter_groups(model))["head"]
    assert {id(p) for p in model.auxiliary.parameters()} <= {id(p) for p in head}


def test_an_auxiliary_loss_without_auxiliary_heads_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"aux_loss_weight=0.3: plain_cnn has no auxiliary heads.*googlenet"):
        build_classifier(replace(SMALL, aux_loss_weight=0.3), 3)


def test_cbam_on_tokens_is_refused_before_weights_are_read() -> None:
    with pytest.raises(ConfigError, match="cbam:8"):
        build_classifier(Recipe(backbone="tiny_vit", image_size=64, attention="cbam:8"), 3)


@torch.no_grad()
def test_a_copy_runs_on_its_own_tensors() -> None:
    """Averaged copies are made with deepcopy: no step may still point at the original."""
    model = build_classifier(SMALL, 3).eval()
    twin = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.zero_()
    assert twin(torch.randn(1, 3, 16, 16)).abs().sum() > 0


def test_frozen_stages_stay_in_eval_mode_through_train() -> None:
    model = build_classifier(Recipe(backbone="tiny_mobilenet", weights="none", image_size=32, freeze_depth=3), 3)
    model.eval()
    model.train()
    norms = [(n, m) for n, m in model.backbone.net.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms
    for name, module in norms:
        assert module.training != any(stage.owns(name) for stage in model.stages[:3])


@torch.no_grad()
def test_channels_last_changes_order_not_results() -> None:
    model = build_classifier(Recipe(backbone="tiny_resnet", weights="none", image_size=32), 3).eval()
    x = torch.randn(2, 3, 32, 32)
    expected = model(x)
    fast = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(x.to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-5)


def test_input_is_the_recipes() -> None:
    model = build_classifier(replace(SMALL, image_size=24, normalize="imagenet"), 3)
    assert (model.input.image_size, model.input.mean) == (24, (0.485, 0.456, 0.406))


def test_a_heads_first_values_depend_on_the_seed_alone() -> None:
    first, second = build_classifier(SMALL, 3), build_classifier(replace(SMALL, backbone="tiny_resnet"), 3)
    again, other = build_classifier(SMALL, 3), build_classifier(replace(SMALL, seed=1), 3)
    weights = [model.head.state_dict()["out.weight"] for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    torch.rand(5)
    alone = fresh_head(SMALL, feature_count(first.head), 3)
    assert torch.equal(alone.state_dict()["out.weight"], weights[0])
    assert feature_count(second.head) == second.head.state_dict()["out.weight"].shape[1]
