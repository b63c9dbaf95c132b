"""The model of one recipe: backbone, attention, head and auxiliary heads, all made afresh."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from raytl.errors import ConfigError
from raytl.models.attention import make_attention
from raytl.models.backbones import Backbone, InputSpec, create_backbone, shapes_of
from raytl.models.chance import seed_torch
from raytl.models.heads import make_head
from raytl.models.plan import Stage, Tap
from raytl.models.sources import HALF
from raytl.models.stages import check_depth, hold_frozen, set_freeze_depth
from raytl.models.weights import WeightsReport, load_into
from raytl.recipe import Recipe

HEAD_STREAM = 1  # chosen: keeps a head's first values apart from other draws of the same seed
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's published constants


class Classifier(nn.Module):
    """A backbone with a head: x (B, 3, H, W) float, normalized by `input` -> logits (B, K).

    `notes` say in words what was decided while it was made; `weights` says where the backbone's weights came from.
    """

    def __init__(
        self,
        backbone: Backbone,
        attention: nn.Module,
        head: nn.Sequential,
        auxiliary: nn.ModuleDict,
        input: InputSpec,
        weights: WeightsReport,
        notes: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.attention = attention
        self.head = head
        self.auxiliary = auxiliary
        self.input = input
        self.weights = weights
        self.notes = notes
        self.freeze_depth = 0

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The backbone's freezable stages in the order they run."""
        return self.backbone.stages

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, H, W) float -> logits (B, K)."""
        return self.suffix(x, 0)

    def suffix_with_auxiliary(self, x: Tensor, depth: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What `prefix(..., depth)` gave -> logits (B, K) and those of each auxiliary head (B, K).

        Auxiliary heads that listen within the first `depth` stages cannot be asked (`hears_prefix`).
        """
        if self.pools(depth):
            return self._logits(x), ()
        taps: dict[str, Tensor] = {}
        to_map = self.backbone.stages_to_map
        logits = self._behind_map(self.backbone.run_stages(x, min(depth, to_map), to_map, taps))
        return logits, tuple(head(taps[step]) for step, head in self.auxiliary.items())

    def hears_prefix(self, depth: int) -> bool:
        """Whether an auxiliary head listens to one of the first `depth` stages."""
        steps = {step for stage in self.stages[:depth] for step in stage.steps}
        return any(step in steps for step in self.auxiliary)

    def prefix(self, x: Tensor, depth: int) -> Tensor:
        """What the first `depth` stages make of x (B, 3, H, W): what `suffix` goes on from, ready to be stored.

        With all stages and no attention, that is the vector the head reads, (B, F).

        Raises:
            ConfigError: where the backbone cannot be interrupted there (`backbone.splits_at`).
        """
        to_map = self.backbone.stages_to_map
        x = self.backbone.run_stages(x, 0, min(depth, to_map))
        return self.backbone.pooled(self.backbone.to_map(x)) if self.pools(depth) else x

    def suffix(self, x: Tensor, depth: int) -> Tensor:
        """What `prefix(..., depth)` gave -> logits (B, K)."""
        if self.pools(depth):
            return self._logits(x)
        to_map = self.backbone.stages_to_map
        return self._behind_map(self.backbone.run_stages(x, min(depth, to_map), to_map))

    def train(self, mode: bool = True) -> Classifier:
        """Like `nn.Module.train`, but frozen stages stay in eval mode."""
        super().train(mode)
        if mode:
            hold_frozen(self.backbone, self.freeze_depth)
        return self

    def pools(self, depth: int) -> bool:
        """Whether what lies behind the first `depth` stages is the vector that the head reads."""
        return depth == len(self.stages) and isinstance(self.attention, nn.Identity)

    def _behind_map(self, x: Tensor) -> Tensor:
        return self._logits(self.backbone.pooled(self.attention(self.backbone.to_map(x))))

    def _logits(self, features: Tensor) -> Tensor:
        """In float32 whatever the backbone computes in: it costs nothing, and many heads at once do the same."""
        if features.dtype == torch.bfloat16:
            features = features.float()
        with nullcontext() if features.is_meta else torch.autocast(features.device.type, enabled=False):
            result = self.head(features)
        assert isinstance(result, Tensor)
        return result


def output_count(recipe: Recipe, class_count: int) -> int:
    """How many logits the head has: one for two classes under `bce`, else one for each class."""
    return 1 if recipe.loss == "bce" and class_count == 2 else class_count


def build_classifier(recipe: Recipe, class_count: int) -> Classifier:
    """A fresh model for `recipe`: weights loaded, head drawn by the recipe's seed alone, freeze depth set.

    What no weights are loaded for, other than the head, is drawn from torch's global generator.

    Raises:
        ConfigError: where backbone, freeze depth, attention or auxiliary loss do not go together.
        MachineError: where the weights cannot be had.
    """
    shapes = shapes_of(recipe.backbone, recipe.pool, recipe.image_size)
    auxiliary = recipe.aux_loss_weight > 0
    backbone = create_backbone(recipe.backbone, auxiliary, recipe.pool, recipe.image_size)
    check_depth(backbone, recipe.freeze_depth)
    outputs = output_count(recipe, class_count)
    attention = make_attention(recipe.parsed_attention, shapes.channels, backbone.plan.layout, recipe.backbone)
    weights = load_into(backbone, recipe.weights)
    head = fresh_head(recipe, shapes.features, outputs)
    heads, notes = _auxiliary_heads(backbone, recipe, outputs)
    model = Classifier(backbone, attention, head, heads, input_of(backbone.input, recipe), weights, notes)
    set_freeze_depth(model, recipe.freeze_depth)
    return model


def fresh_head(recipe: Recipe, feature_count: int, outputs: int) -> nn.Sequential:
    """The recipe's head with its first values, which depend on the recipe's seed alone; torch is seeded by it."""
    seed_torch(recipe.seed, HEAD_STREAM)
    return make_head(recipe.parsed_head, feature_count, outputs, recipe.dropout)


def input_of(published: InputSpec, recipe: Recipe) -> InputSpec:
    """What pictures the model of `recipe` expects, given what its backbone was published with."""
    if recipe.normalize == "imagenet":
        published = replace(published, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    if recipe.normalize == "half":
        published = replace(published, mean=HALF, std=HALF)
    return replace(published, image_size=recipe.image_size)


def _auxiliary_heads(backbone: Backbone, recipe: Recipe, outputs: int) -> tuple[nn.ModuleDict, tuple[str, ...]]:
    """The backbone's auxiliary heads, with new last layers; those that could teach nothing are left out."""
    heads, notes = nn.ModuleDict(), []
    if recipe.aux_loss_weight > 0 and not backbone.plan.taps:
        raise ConfigError(
            f"aux_loss_weight={recipe.aux_loss_weight:g}: {backbone.name} has no auxiliary heads "
            "(googlenet and inception_v3 have); set it to 0"
        )
    for tap in backbone.plan.taps if recipe.aux_loss_weight > 0 else ():
        head = backbone.auxiliary[tap.step]
        if _is_deaf(backbone, tap, recipe):
            notes.append(f"auxiliary head {tap.module} is left out: it listens to {tap.step}, which is frozen")
            continue
        last = head.get_submodule(tap.classifier)
        assert isinstance(last, nn.Linear)
        setattr(head, tap.classifier, nn.Linear(last.in_features, outputs))
        heads[tap.step] = head
    backbone.auxiliary = nn.ModuleDict()
    return heads, tuple(notes)


def _is_deaf(backbone: Backbone, tap: Tap, recipe: Recipe) -> bool:
    """Whether nothing that `tap` hears is ever trained: its stage is frozen and stays so."""
    stage = next(i for i, stage in enumerate(backbone.plan.stages) if tap.step in stage.steps)
    return stage < recipe.freeze_depth and recipe.unfreeze_epoch is None


def count_parameters(model: nn.Module) -> int:
    """Numbers in the model's parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
