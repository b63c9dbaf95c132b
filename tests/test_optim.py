"""The optimizer: rates per stage, weight decay, and what is refused."""

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from raytl.errors import ConfigError
from raytl.recipe import OPTIMIZERS, Recipe
from raytl.train.optim import Group, make_optimizer, set_rates

torch.set_num_threads(1)


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 5), nn.LayerNorm(5), nn.Linear(5, 3))


def groups_of(model: nn.Sequential) -> list[Group]:
    first, second, norm, head = (list(child.parameters()) for child in model)
    return [("stem", first), ("blocks", [*second, *norm]), ("head", head)]


def recipe_of(**fields: object) -> Recipe:
    return Recipe(backbone="resnet18", **fields)  # type: ignore[arg-type]


def scales_of(optimizer: Optimizer) -> dict[str, float]:
    return {group["name"]: group["lr_scale"] for group in optimizer.param_groups}


def steps(model: nn.Sequential, optimizer: Optimizer, count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.randn(8, 4, generator=generator)).square().mean().backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_rates_fall_with_the_distance_from_the_head() -> None:
    recipe = recipe_of(lr=0.01, head_lr_scale=10.0, layer_decay=0.5)
    optimizer = make_optimizer(recipe, groups_of(make_model()), lr_scale=0.1)
    assert scales_of(optimizer) == pytest.approx({"stem": 0.025, "blocks": 0.05, "head": 1.0})
    assert all(group["lr"] == pytest.approx(0.01 * group["lr_scale"]) for group in optimizer.param_groups)


def test_set_rates_keeps_every_groups_share() -> None:
    optimizer = make_optimizer(recipe_of(head_lr_scale=2.0), groups_of(make_model()))
    for lr in (0.5, 0.25):
        set_rates(optimizer, lr)
        assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {
            "stem": lr,
            "blocks": lr,
            "head": 2 * lr,
        }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_trainable_parameter_is_in_one_group_and_vectors_do_not_decay(name: str) -> None:
    model = make_model()
    model[0].weight.requires_grad = False
    optimizer = make_optimizer(recipe_of(optimizer=name, weight_decay=0.3), groups_of(model))
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(map(id, held)) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    for group in optimizer.param_groups:
        assert {parameter.ndim >= 2 for parameter in group["params"]} == {group["weight_decay"] > 0}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_those_of_torchs_optimizer(name: str, momentum: float) -> None:
    """Without decay one plain optimizer over all parameters must arrive at the same weights."""
    ours, reference = make_model(), make_model()
    recipe = recipe_of(optimizer=name, lr=0.01, momentum=momentum, weight_decay=0.0)
    parameters = list(reference.parameters())
    expected: Optimizer = {
        "adamw": lambda: AdamW(parameters, lr=0.01, weight_decay=0.0),
        "adam": lambda: Adam(parameters, lr=0.01),
        "sgd": lambda: SGD(parameters, lr=0.01, momentum=momentum, nesterov=momentum > 0),
        "rmsprop": lambda: RMSprop(parameters, lr=0.01),
    }[name]()
    got = steps(ours, make_optimizer(recipe, groups_of(ours)))
    torch.testing.assert_close(got, steps(reference, expected), rtol=1e-5, atol=1e-6)
    assert not torch.equal(got[0], next(make_model().parameters()))


def test_adamw_decouples_weight_decay_and_adam_does_not() -> None:
    """With a gradient of 0, AdamW shrinks a weight by lr * decay; Adam takes a full step of lr against its sign."""
    weights = {}
    for name in ("adamw", "adam"):
        head = nn.Linear(1, 1)
        nn.init.constant_(head.weight, 2.0)
        optimizer = make_optimizer(
            recipe_of(optimizer=name, lr=0.1, weight_decay=0.5), [("head", list(head.parameters()))]
        )
        (head(torch.zeros(1, 1)) * 0).sum().backward()
        optimizer.step()
        weights[name] = float(head.weight.detach())
    assert weights == pytest.approx({"adamw": 2 - 0.1 * 0.5 * 2, "adam": 2 - 0.1})


def test_nothing_trainable_is_refused_by_the_name_of_the_field() -> None:
    model = make_model().requires_grad_(False)
    with pytest.raises(ConfigError, match="freeze_depth=4 leaves no trainable parameter in resnet18"):
        make_optimizer(recipe_of(freeze_depth=4), groups_of(model))


def test_a_parameter_in_two_groups_is_refused() -> None:
    first, *rest = groups_of(make_model())
    with pytest.raises(ConfigError, match=r"'stem' and 'head'"):
        make_optimizer(recipe_of(), [first, ("head", first[1]), *rest])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_loaded_state_goes_on_as_if_it_had_not_stopped(name: str) -> None:
    recipe = recipe_of(optimizer=name)
    whole, first, second = make_model(), make_model(), make_model()
    optimizer = make_optimizer(recipe, groups_of(whole))
    steps(whole, optimizer)
    stopped = make_optimizer(recipe, groups_of(first))
    steps(first, stopped)
    second.load_state_dict(first.state_dict())
    resumed = make_optimizer(recipe, groups_of(second))
    resumed.load_state_dict(stopped.state_dict())
    torch.testing.assert_close(steps(second, resumed), steps(whole, optimizer), rtol=0, atol=0)
