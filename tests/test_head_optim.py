"""Steps of many heads at once against torch's own optimizers, one for each head."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from raytl.recipe import OPTIMIZERS, Recipe
from raytl.train import head_optim
from raytl.train.head_optim import HeadOptimizer
from raytl.train.optim import make_optimizer, set_rates

torch.set_num_threads(1)
ALL_AT_ONCE, ONE_AFTER_THE_OTHER = 1 << 60, 1  # sizes from which a head's numbers are many
VARIED: list[dict[str, Any]] = [
    {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.0},
    {"lr": 0.01, "weight_decay": 0.3, "momentum": 0.9},
    {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.5},
]


def recipes_of(optimizer: str, fields: Sequence[dict[str, Any]] = VARIED) -> list[Recipe]:
    return [Recipe(backbone="resnet18", optimizer=optimizer, **each) for each in fields]


def values(seed: int, heads: int = 3, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Stacked numbers of a layer of two outputs: parameters, or the gradients of one step."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"out.weight": (heads, 2, 5), "out.bias": (heads, 2)}
    return {name: torch.randn(shape, generator=generator, dtype=dtype) for name, shape in shapes.items()}


def torchs(recipe: Recipe, layer: nn.Linear) -> Optimizer:
    """Written out as in torch's documents: biases have no weight decay."""
    matrices: dict[str, Any] = {"params": [layer.weight], "weight_decay": recipe.weight_decay}
    groups: list[dict[str, Any]] = [matrices, {"params": [layer.bias]}]
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=recipe.lr, weight_decay=0.0, foreach=False)
    if recipe.optimizer == "adam":
        return Adam(groups, lr=recipe.lr, foreach=False)
    if recipe.optimizer == "sgd":
        return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, foreach=False)
    return RMSprop(groups, lr=recipe.lr, foreach=False)


def factor(step: int, head: int) -> float:
    """Any schedule, another for each head; 0 in a step of the last."""
    return abs((step + 1) * (2 - head)) / 6


def stepped_alone(recipe: Recipe, head: int, steps: int) -> dict[str, Tensor]:
    start = values(0)
    layer = nn.Linear(5, 2, dtype=torch.float64)
    layer.load_state_dict({"weight": start["out.weight"][head], "bias": start["out.bias"][head]})
    optimizer = torchs(recipe, layer)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * factor(step, head)
        gradients = values(step + 1)
        layer.weight.grad, layer.bias.grad = gradients["out.weight"][head], gradients["out.bias"][head]
        optimizer.step()
    return {"out.weight": layer.weight.detach(), "out.bias": layer.bias.detach()}


def step_all(optimizer: HeadOptimizer, recipes: Sequence[Recipe], steps: range, heads: Sequence[int]) -> None:
    """Steps with the gradients of `heads` out of three."""
    for step in steps:
        rates = [recipe.lr * factor(step, head) for recipe, head in zip(recipes, heads, strict=True)]
        gradients = {name: value[list(heads)] for name, value in values(step + 1).items()}
        optimizer.step(gradients, torch.tensor(rates, dtype=torch.float64))


@pytest.fixture(params=[ALL_AT_ONCE, ONE_AFTER_THE_OTHER], ids=["all at once", "one after the other"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_optim, "LARGE", request.param)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_head_takes_the_steps_of_torchs_optimizer(name: str) -> None:
    recipes, parameters = recipes_of(name), values(0)
    optimizer = HeadOptimizer(recipes, parameters)
    step_all(optimizer, recipes, range(12), [0, 1, 2])
    for head, recipe in enumerate(recipes):
        found = {parameter: value[head] for parameter, value in parameters.items()}
        torch.testing.assert_close(found, stepped_alone(recipe, head, 12), rtol=1e-10, atol=1e-12)
    assert optimizer.steps.tolist() == [12, 12, 12]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_that_of_the_loop_for_whole_models(name: str) -> None:
    """The same recipe, factor and gradients in float32, by `train.optim`."""
    recipe = Recipe(backbone="resnet18", optimizer=name, lr=0.02, head_lr_scale=3.0, weight_decay=0.2)
    start = values(0, heads=1, dtype=torch.float32)
    layer = nn.Linear(5, 2)
    layer.load_state_dict({"weight": start["out.weight"][0], "bias": start["out.bias"][0]})
    loops = make_optimizer(recipe, [("head", list(layer.parameters()))])
    optimizer = HeadOptimizer([recipe], start)
    for step in range(5):
        gradients = values(step + 1, heads=1, dtype=torch.float32)
        layer.weight.grad, layer.bias.grad = (value[0].clone() for value in gradients.values())
        set_rates(loops, recipe.lr * 0.5)
        loops.step()
        optimizer.step(gradients, torch.tensor([recipe.lr * 3.0 * 0.5], dtype=torch.float64))
    expected = {"out.weight": layer.weight.detach()[None], "out.bias": layer.bias.detach()[None]}
    torch.testing.assert_close(start, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dropping_heads_leaves_the_others_alone(name: str) -> None:
    recipes, parameters = recipes_of(name), values(0)
    optimizer = HeadOptimizer(recipes, parameters)
    step_all(optimizer, recipes, range(4), [0, 1, 2])
    places = [2, 0]
    kept = {parameter: value[places].clone() for parameter, value in parameters.items()}
    optimizer.keep(places, [recipes[place] for place in places], kept)
    step_all(optimizer, [recipes[place] for place in places], range(4, 9), places)
    for place, head in enumerate(places):
        found = {parameter: value[place] for parameter, value in kept.items()}
        torch.testing.assert_close(found, stepped_alone(recipes[head], head, 9), rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_head_that_has_stopped_goes_on_beside_one_that_begins(name: str) -> None:
    recipes, parameters = recipes_of(name), values(0)
    stopped = HeadOptimizer(recipes, parameters)
    step_all(stopped, recipes, range(4), [0, 1, 2])
    mixed = {parameter: torch.stack([values(0)[parameter][0], value[1]]) for parameter, value in parameters.items()}
    resumed = HeadOptimizer(recipes[:2], mixed)
    resumed.load(1, stopped.tensors(1), int(stopped.steps[1]))
    for step in range(4, 8):
        gradients = {key: torch.stack([values(step - 3)[key][0], values(step + 1)[key][1]]) for key in mixed}
        rates = [recipes[0].lr * factor(step - 4, 0), recipes[1].lr * factor(step, 1)]
        resumed.step(gradients, torch.tensor(rates, dtype=torch.float64))
    for head, steps in ((0, 4), (1, 8)):
        found = {parameter: value[head] for parameter, value in mixed.items()}
        torch.testing.assert_close(found, stepped_alone(recipes[head], head, steps), rtol=1e-10, atol=1e-12)


def test_what_is_saved_is_a_copy() -> None:
    recipes, parameters = recipes_of("adamw"), values(0)
    optimizer = HeadOptimizer(recipes, parameters)
    step_all(optimizer, recipes, range(1), [0, 1, 2])
    saved = optimizer.tensors(1)
    before = {name: value.clone() for name, value in saved.items()}
    step_all(optimizer, recipes, range(1, 2), [0, 1, 2])
    assert all(torch.equal(saved[name], before[name]) for name in saved)
    assert not torch.equal(optimizer.tensors(1)["out.weight/exp_avg"], before["out.weight/exp_avg"])
