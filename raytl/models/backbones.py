"""Backbones by name: timm's, torchvision's where timm has none, the carried ones and the plain CNN."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from raytl.catalog import source_of
from raytl.errors import ConfigError
from raytl.models.plan import Plan, Stage, run_step
from raytl.models.sources import InputSpec, Net, make_net, make_plan

__all__ = ["Backbone", "InputSpec", "Shapes", "create_backbone", "shapes_of"]


@dataclass(frozen=True)
class Shapes:
    """What a backbone gives: `channels` of its last map and `features` of the pooled vector."""

    channels: int
    features: int


class Backbone(nn.Module):
    """A backbone without classifier: x (B, 3, H, W) float -> pooled features (B, F).

    `net` is the original model under its original names; `stages` are its freezable pieces in the order they run;
    `auxiliary` holds its auxiliary classifiers by the step they listen to, if they were asked for.
    """

    def __init__(self, name: str, made: Net, plan: Plan, pool: str) -> None:
        super().__init__()
        self.name = name
        self.source = made.source
        self.net = made.net
        self.input = made.input
        self.classifier_names = made.classifier_names
        self.plan = plan
        self.pool = pool
        self.stages = _stages(plan, pool)
        self.auxiliary = nn.ModuleDict()
        if pool != "backbone":
            for path in (*plan.tail_modules, *(plan.wide.modules if plan.wide else ())):
                if path in dict(self.net.named_modules()):
                    self.net.set_submodule(path, nn.Identity())

    @property
    def stages_to_map(self) -> int:
        """How many stages lie in front of the last map; the rest (VGG's wide layers) lie behind it."""
        return len(self.plan.stages)

    def splits_at(self, depth: int) -> bool:
        """Whether the pass can be interrupted after `depth` stages."""
        return depth in (0, self.stages_to_map, len(self.stages)) or bool(self.plan.stages[0].steps)

    def run_stages(self, x: Tensor, start: int, stop: int, taps: dict[str, Tensor] | None = None) -> Tensor:
        """Runs the stages start..stop-1 in front of the last map; what auxiliary heads hear is put into `taps`."""
        if start >= stop:
            return x
        if not self.plan.stages[0].steps:
            if (start, stop) != (0, self.stages_to_map):
                raise ConfigError(
                    f"{self.name} runs as a whole only; it cannot be interrupted after stage {start or stop}"
                )
            return self.net.forward_features(x)  # type: ignore[operator]
        listened = {tap.step for tap in self.plan.taps} if taps is not None else set()
        for stage in self.plan.stages[start:stop]:
            for step in stage.steps:
                x = run_step(self.net, step, x)
                if step in listened and taps is not None:
                    taps[str(step)] = x
        return x

    def to_map(self, x: Tensor) -> Tensor:
        """What the last stage gives, as (B, C, h, w) or (B, T, C)."""
        return x.permute(0, 3, 1, 2) if self.plan.layout == "map_channels_last" else x

    def features(self, x: Tensor) -> Tensor:
        """The last map before pooling: x (B, 3, H, W) float -> (B, C, h, w), or tokens (B, T, C)."""
        return self.to_map(self.run_stages(x, 0, self.stages_to_map))

    def pooled(self, last_map: Tensor) -> Tensor:
        """The map of `features` -> (B, F), by the backbone's own way, a global average, or not at all (`flatten`)."""
        if self.pool == "flatten":
            return last_map.flatten(1)
        if self.pool == "avg":
            tokens = self.plan.layout == "tokens"
            return last_map[:, self.plan.prefix_tokens :].mean(1) if tokens else last_map.mean((2, 3))
        native = last_map.permute(0, 2, 3, 1) if self.plan.layout == "map_channels_last" else last_map
        return self.plan.tail(self.net, native)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) float -> pooled features (B, F)."""
        return self.pooled(self.features(x))


def create_backbone(
    name: str, auxiliary: bool = False, pool: str = "backbone", image_size: int | None = None
) -> Backbone:
    """A fresh backbone with random weights.

    `auxiliary` keeps the auxiliary classifiers of GoogLeNet and Inception v3; `image_size` (pixels, default: the
    published one) matters for models with fixed position embeddings.

    Raises:
        ConfigError: for a name that does not exist, a size the model cannot take, or layers without an order.
    """
    made = make_net(name, source_of(name), auxiliary, image_size)
    backbone = Backbone(name, made, make_plan(name, made, image_size), pool)
    if auxiliary:
        for tap in backbone.plan.taps:
            backbone.auxiliary[tap.step] = backbone.net.get_submodule(tap.module)
            setattr(backbone.net, tap.module, None)
    return backbone


@lru_cache(maxsize=256)
def shapes_of(name: str, pool: str, image_size: int) -> Shapes:
    """Shapes of a backbone's map and pooled features at `image_size` pixels, found without computing anything.

    Raises:
        ConfigError: where the model cannot take pictures of that size.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        backbone = create_backbone(name, pool=pool, image_size=image_size).eval()
        try:
            last_map = backbone.features(torch.zeros(1, 3, image_size, image_size))
            features = backbone.pooled(last_map)
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"image_size={image_size}: {name} cannot take pictures of this size ({reason})"
            ) from error
    if 0 in last_map.shape:
        raise ConfigError(f"image_size={image_size}: too small for {name}, nothing is left of the picture at its end")
    channel = 2 if backbone.plan.layout == "tokens" else 1
    return Shapes(last_map.shape[channel], features.shape[1])


def _stages(plan: Plan, pool: str) -> tuple[Stage, ...]:
    if pool != "backbone":
        return plan.stages
    if plan.wide:
        return (*plan.stages, plan.wide)
    last = plan.stages[-1]
    return (*plan.stages[:-1], replace(last, modules=last.modules + plan.tail_modules))
