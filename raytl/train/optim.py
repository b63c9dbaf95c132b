"""A recipe's optimizer: which parameters learn, and at which share of the learning rate.

The learning rate enters once, as `recipe.lr`. Each parameter group keeps its own constant share of it under the key
`lr_scale`; schedules are factors; `set_rates` multiplies the three.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from raytl.errors import ConfigError
from raytl.recipe import Recipe

Group = tuple[str, Sequence[nn.Parameter]]


def make_optimizer(recipe: Recipe, groups: Sequence[Group], lr_scale: float = 1.0) -> Optimizer:
    """The optimizer over every trainable parameter of `groups`.

    `groups` are the trainable stages, that nearest the picture first, and at last the head. The head learns at
    `lr * head_lr_scale`, the last stage at `lr * layer_decay`, the one before at `lr * layer_decay**2`, and so on.
    Parameters of fewer than two dimensions (biases, norms) have no weight decay. `lr_scale` multiplies every rate;
    gradual unfreezing uses it. Parameters with `requires_grad=False` are left out.

    Raises:
        ConfigError: where nothing is trainable, or a parameter stands in two groups.
    """
    _check(recipe, groups)
    scales = [lr_scale * scale for scale in _scales(recipe, len(groups))]
    options = [
        option
        for (name, parameters), scale in zip(groups, scales, strict=True)
        for option in _options(recipe, name, parameters, scale)
    ]
    return _build(recipe, options)


def set_rates(optimizer: Optimizer, lr: float) -> None:
    """Sets each group's rate to its own share of `lr`, which is `recipe.lr` times the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def _scales(recipe: Recipe, group_count: int) -> list[float]:
    stages = [recipe.layer_decay**distance for distance in range(group_count - 1, 0, -1)]
    return [*stages, recipe.head_lr_scale]


def _options(recipe: Recipe, name: str, parameters: Sequence[nn.Parameter], scale: float) -> list[dict[str, object]]:
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2]
    vectors = [parameter for parameter in trainable if parameter.ndim < 2]
    common = {"name": name, "lr_scale": scale, "lr": recipe.lr * scale}
    return [
        {"params": members, "weight_decay": decay, **common}
        for members, decay in ((matrices, recipe.weight_decay), (vectors, 0.0))
        if members
    ]


def _build(recipe: Recipe, options: list[dict[str, object]]) -> Optimizer:
    """`adamw` decouples weight decay; the others add it to the gradient (L2), as torch does.

    `momentum` is read by `sgd` alone (Nesterov's, where it is not 0): on top of RMSprop a momentum of 0.9 multiplies
    the rate by ten in the long run, so `rmsprop` is plain. Fused kernels exist on processors and GPUs alike.
    """
    if recipe.optimizer == "adamw":
        return AdamW(options, lr=recipe.lr, fused=True)
    if recipe.optimizer == "adam":
        return Adam(options, lr=recipe.lr, fused=True)
    if recipe.optimizer == "sgd":
        return SGD(options, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True)
    return RMSprop(options, lr=recipe.lr)  # has no fused form; torch takes foreach by itself on a GPU


def _check(recipe: Recipe, groups: Sequence[Group]) -> None:
    seen: dict[int, str] = {}
    for name, parameters in groups:
        for parameter in parameters:
            if id(parameter) in seen:
                raise ConfigError(
                    f"a parameter of shape {tuple(parameter.shape)} stands in the groups {seen[id(parameter)]!r} and "
                    f"{name!r}: it would be stepped twice; give each parameter to one stage"
                )
            seen[id(parameter)] = name
    if not any(parameter.requires_grad for _, parameters in groups for parameter in parameters):
        raise ConfigError(
            f"freeze_depth={recipe.freeze_depth} leaves no trainable parameter in {recipe.backbone}: at least the head "
            "must learn; lower freeze_depth, or give the head parameters that require gradients"
        )
