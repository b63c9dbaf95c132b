"""What a backbone costs at each freeze depth, counted without computing anything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from raytl.models.classifier import Classifier, build_classifier, count_parameters, input_of
from raytl.models.stages import stage_parameters
from raytl.models.weights import NONE
from raytl.recipe import Recipe


@dataclass(frozen=True)
class BackboneFacts:
    """A backbone with a recipe's head, in figures.

    `frozen_fractions[d]` is the share of one picture's forward operations that lies in the first d stages, and
    `trainable_parameters[d]` the number of parameters trained when they are frozen; both have one entry more than
    there are stages. `forward_flops` counts additions and multiplications of one picture. `mean` and `std` belong to
    pixels from 0 to 1, `image_size` is in pixels.
    """

    name: str
    stage_names: tuple[str, ...]
    parameters: int
    trainable_parameters: tuple[int, ...]
    frozen_fractions: tuple[float, ...]
    forward_flops: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def facts_of(recipe: Recipe, class_count: int) -> BackboneFacts:
    """The figures of `recipe`'s model; each distinct architecture is counted once per process.

    Raises:
        ConfigError: where the model cannot be built.
    """
    shape = Recipe(
        backbone=recipe.backbone,
        weights=NONE,
        image_size=recipe.image_size,
        eval_resize=recipe.eval_resize,
        normalize=recipe.normalize,
        pool=recipe.pool,
        head=recipe.head,
        attention=recipe.attention,
        aux_loss_weight=recipe.aux_loss_weight,
        loss=recipe.loss,
    )
    return _facts(shape, class_count)


@lru_cache(maxsize=256)
def _facts(recipe: Recipe, class_count: int) -> BackboneFacts:
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        model = build_classifier(recipe, class_count).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            model(torch.zeros(1, 3, recipe.image_size, recipe.image_size))
    total = counter.get_total_flops()
    stage_flops = _stage_flops(model, counter.get_flop_counts())
    sizes = [sum(p.numel() for p in stage_parameters(model.backbone, stage)) for stage in model.stages]
    parameters = count_parameters(model)
    spec = input_of(model.backbone.input, recipe)
    return BackboneFacts(
        name=recipe.backbone,
        stage_names=tuple(stage.name for stage in model.stages),
        parameters=parameters,
        trainable_parameters=tuple(parameters - sum(sizes[:depth]) for depth in range(len(sizes) + 1)),
        frozen_fractions=tuple(sum(stage_flops[:depth]) / total for depth in range(len(sizes) + 1)),
        forward_flops=total,
        image_size=spec.image_size,
        mean=spec.mean,
        std=spec.std,
    )


def _stage_flops(model: Classifier, counts: dict[str, dict[object, int]]) -> list[int]:
    """Operations of each stage: those of the modules it owns, counted once where one lies within another."""
    prefix = f"{type(model).__name__}.backbone.net."
    own = {path: sum(counts.get(prefix + path, {}).values()) for path, _ in model.backbone.net.named_modules() if path}
    return [sum(own.get(module, 0) for module in stage.modules) for stage in model.stages]
