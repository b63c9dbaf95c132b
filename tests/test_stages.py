"""One contract for all families: stages own every parameter once, run in order, and stay as they are when frozen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from raytl.errors import ConfigError
from raytl.models.classifier import Classifier, build_classifier
from raytl.models.stages import parameter_groups, set_freeze_depth
from raytl.recipe import Recipe

pytestmark = pytest.mark.usefixtures("narrow_vgg")

# One small member of each family, at a size that leaves a map at its end.
FAMILIES = {
    "resnet10t": 32,
    "mobilenetv2_035": 32,
    "mobilenetv1_100": 32,
    "mobilenetv3_small_050": 32,
    "test_vit": 64,
    "deit_tiny_distilled_patch16_224": 32,
    "test_convnext": 64,
    "swin_tiny_patch4_window7_224": 32,
    "swinv2_tiny_window8_256": 32,
    "densenet121": 32,
    "regnetx_002": 32,
    "inception_v3": 96,
    "googlenet": 32,
    "squeezenet1_1": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "mnasnet0_5": 32,
    "shufflenet_v2_x0_5": 32,
    "plain_cnn": 16,
    "tiny_mobilenet": 32,
    "tiny_resnet": 32,
    "tiny_vit": 32,
    "test_nfnet": 64,  # from here on: no family of ours, timm's own groups
    "test_byobnet": 64,
    "levit_128s": 224,
}
WIDE = {"vgg11": 32, "alexnet": 64}  # 130 and 60 million parameters
EVERY = [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in WIDE)]


@pytest.fixture(scope="module", params=EVERY)
def model(request: pytest.FixtureRequest) -> Iterator[Classifier]:
    """A small classifier of one family."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size = {**FAMILIES, **WIDE}[request.param]
    yield build_classifier(Recipe(backbone=request.param, weights="none", image_size=size), 3)


def _pictures(model: Classifier, count: int = 2) -> Tensor:
    return torch.randn(count, 3, model.input.image_size, model.input.image_size)


def _states(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers: what must stay when frozen."""
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def test_every_parameter_and_statistic_belongs_to_one_stage(model: Classifier) -> None:
    for name, value in model.backbone.net.state_dict().items():
        owners = [stage.name for stage in model.backbone.stages if stage.owns(name)]
        assert len(owners) == 1 or (not owners and not value.is_floating_point()), (name, owners)


def test_groups_are_the_stages_and_the_head_and_hold_everything_once(model: Classifier) -> None:
    set_freeze_depth(model, 0)
    groups = parameter_groups(model)
    assert [name for name, _ in groups] == [*(stage.name for stage in model.stages), "head"]
    assert sorted(id(p) for _, group in groups for p in group) == sorted(id(p) for p in model.parameters())
    assert len({name for name, _ in groups}) == len(groups)


def test_stages_run_in_their_order(model: Classifier) -> None:
    """Order of execution of the original model's own forward, seen by hooks."""
    ran: list[int] = []

    def note(stage: int) -> None:
        ran.append(stage)

    hooks = []
    for path, module in model.backbone.net.named_modules():
        owners = [index for index, stage in enumerate(model.stages) if path and stage.owns(path)]
        if owners and next(module.parameters(), None) is not None:
            hooks.append(module.register_forward_pre_hook(lambda _m, _x, stage=owners[0]: note(stage)))
    model.eval()
    with torch.no_grad():
        model.backbone.net(_pictures(model, 1))
    for hook in hooks:
        hook.remove()
    assert ran == sorted(ran)
    assert set(ran) == set(range(len(model.stages)))


@torch.no_grad()
def test_stages_compute_what_the_original_model_computes(model: Classifier) -> None:
    model.eval()
    x = _pictures(model)
    expected = model.backbone.net(x)
    if model.backbone.name in ("squeezenet1_1", "plain_cnn"):  # their own forward ends on the map
        expected = expected.unflatten(1, (512, 1, 1)).mean((2, 3)) if expected.ndim == 2 else expected.mean((2, 3))
    torch.testing.assert_close(model.backbone(x), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_prefix_and_suffix_are_the_whole_at_every_depth(model: Classifier) -> None:
    model.eval()
    x = _pictures(model)
    whole = model(x)
    for depth in range(len(model.stages) + 1):
        if model.backbone.splits_at(depth):
            stored = model.prefix(x, depth)
            kept = stored.clone()
            torch.testing.assert_close(model.suffix(stored, depth), whole, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(stored, kept, rtol=0, atol=0)  # a stored prefix is read many times


def _train(model: Classifier, steps: int = 3) -> None:
    """Steps by the sign of the gradient, so that every parameter with any gradient moves."""
    model.train()
    for step in range(steps):
        torch.manual_seed(step)
        model.zero_grad()
        nn.functional.cross_entropy(model(_pictures(model, 4)), torch.tensor([0, 1, 2, 0])).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad.sign(), alpha=1e-3)


def test_training_changes_what_is_open_and_nothing_that_is_frozen(model: Classifier) -> None:
    for depth in (0, len(model.stages) // 2, len(model.stages)):
        set_freeze_depth(model, depth)
        before, head = _states(model.backbone.net), _states(model.head)
        _train(model)
        frozen = model.stages[:depth]
        open_parameters = dict(model.backbone.net.named_parameters())
        taught = [_has_gradient(p) for p in open_parameters.values() if p.requires_grad]
        assert sum(taught) >= 0.9 * len(taught)
        for name, value in model.backbone.net.state_dict().items():
            held = any(stage.owns(name) for stage in frozen)
            moved = not torch.equal(before[name], value)
            if held:
                assert not moved, f"depth {depth}: {name} is frozen and changed"
            elif name.endswith("running_mean") or (name in open_parameters and _has_gradient(open_parameters[name])):
                assert moved, f"depth {depth}: {name} is open and did not change"
        assert not torch.equal(head["out.weight"], model.head.state_dict()["out.weight"])


def _has_gradient(parameter: nn.Parameter) -> bool:
    assert parameter.requires_grad and parameter.grad is not None
    return bool(parameter.grad.abs().max() > 0)


def test_all_frozen_leaves_the_head(model: Classifier) -> None:
    set_freeze_depth(model, len(model.stages))
    ((name, parameters),) = parameter_groups(model)
    assert name == "head"
    assert {id(p) for p in parameters} == {id(p) for p in model.head.parameters()}
    model.train()
    assert not any(module.training for module in model.backbone.modules())
    assert model.head.training


def test_a_depth_beyond_the_stages_names_them(model: Classifier) -> None:
    with pytest.raises(ConfigError, match=f"has {len(model.stages)} stages"):
        set_freeze_depth(model, len(model.stages) + 1)


def test_too_deep_is_told_with_names() -> None:
    recipe = Recipe(backbone="plain_cnn", weights="none", image_size=16, freeze_depth=9)
    with pytest.raises(ConfigError, match=r"freeze_depth=9.*block1, block2, block3.*0 \(all trained\) to 3"):
        build_classifier(recipe, 3)
