"""Freeze depth: which stages of a model are trained, and how frozen ones are kept as they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import nn

from raytl.errors import ConfigError
from raytl.models.backbones import Backbone
from raytl.models.plan import Stage

HEAD = "head"
"""Name of the parameter group of everything that is no stage: head, attention, auxiliary heads."""


class Staged(Protocol):
    """A model with a backbone that can be frozen in part; `train()` must keep frozen stages in eval mode."""

    backbone: Backbone
    freeze_depth: int
    training: bool

    def train(self, mode: bool = True) -> object:
        """Training or eval mode."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters, the backbone's included."""


def stage_parameters(backbone: Backbone, stage: Stage) -> list[nn.Parameter]:
    """All parameters of one stage, trainable or not."""
    return [parameter for name, parameter in backbone.net.named_parameters() if stage.owns(name)]


def check_depth(backbone: Backbone, depth: int) -> None:
    """Raises ConfigError where the backbone has fewer than `depth` stages."""
    if not 0 <= depth <= len(backbone.stages):
        names = ", ".join(stage.name for stage in backbone.stages)
        raise ConfigError(
            f"freeze_depth={depth}: {backbone.name} has {len(backbone.stages)} stages ({names}); "
            f"choose 0 (all trained) to {len(backbone.stages)} (head only)"
        )


def set_freeze_depth(model: Staged, depth: int) -> None:
    """Freezes the first `depth` stages and opens all others; the head is always open.

    Raises:
        ConfigError: where the backbone has fewer stages.
    """
    check_depth(model.backbone, depth)
    for index, stage in enumerate(model.backbone.stages):
        for parameter in stage_parameters(model.backbone, stage):
            parameter.requires_grad_(index >= depth)
    model.freeze_depth = depth
    model.train(model.training)


def hold_frozen(backbone: Backbone, depth: int) -> None:
    """Puts the first `depth` stages, and with the last one all of the backbone, into eval mode."""
    if depth == len(backbone.stages):
        backbone.eval()
        return
    for stage in backbone.stages[:depth]:
        for name, module in backbone.net.named_modules():
            if stage.owns(name):
                module.training = False


def parameter_groups(model: Staged) -> tuple[tuple[str, list[nn.Parameter]], ...]:
    """Trainable parameters: one group for each open stage in order, then the group `head`."""
    stages = [(stage.name, stage_parameters(model.backbone, stage)) for stage in model.backbone.stages]
    stages = [(name, [parameter for parameter in group if parameter.requires_grad]) for name, group in stages]
    inside = {id(parameter) for parameter in model.backbone.parameters()}
    head = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    return (*((name, group) for name, group in stages if group), (HEAD, head))
