"""What the frozen first stages of a backbone make of pictures: what it depends on, and computing it.

Such activations are the same in every epoch and for every trial that freezes as much, as long as the stages are in
eval mode and the pictures come in stored views: they are computed once per machine and kept (`prefix_store`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
import timm
import torch
import torchvision
from torch import Tensor

from raytl import __version__
from raytl.data.store import PictureSet
from raytl.data.views import View, eval_batch, train_batch
from raytl.models.classifier import Classifier
from raytl.recipe import Recipe
from raytl.train.device import Precision

VIEW_SEED = 0
"""The seed that stored views are drawn with. Chosen: a constant, so that trials and seeds of a study share views."""

EVALUATION = 0
"""The number of the evaluation's view; stored views of the training pictures count from 1."""

_NAME_DIGITS = 24  # chosen: 96 bits, as a folder's name; the whole key is compared when an entry is opened
_SOFTWARE = (
    f"raytl {__version__}, torch {torch.__version__}, timm {timm.__version__}, torchvision {torchvision.__version__}"
)


@dataclass(frozen=True)
class PrefixKey:
    """Everything that activations depend on.

    `weights` is a digest of the tensors of the frozen stages; `pool` is empty unless the activations are pooled;
    `precision` names the device's type too; `augment` is empty and `view` is 0 for pictures as they are evaluated;
    `pictures` is a digest of the picture set, in order; `software` holds versions whose code computes them.
    """

    backbone: str
    weights: str
    depth: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pool: str
    precision: str
    augment: str
    view: int
    pictures: str
    software: str = _SOFTWARE

    @cached_property
    def name(self) -> str:
        """A short hexadecimal digest of the key: the name of its entry."""
        return _digest(asdict(self))

    @cached_property
    def forward_pass(self) -> str:
        """The same for all depths of a backbone that one forward pass can capture."""
        apart = ("weights", "depth", "pool")
        return _digest({name: value for name, value in asdict(self).items() if name not in apart})

    def __str__(self) -> str:
        shown = "as evaluated" if self.view == EVALUATION else f"in view {self.view}"
        return f"activations behind stage {self.depth} of {self.backbone} ({self.image_size} px, {shown})"


def key_of(
    model: Classifier, recipe: Recipe, pictures: PictureSet, depth: int, view: int, precision: Precision
) -> PrefixKey:
    """The key of what the first `depth` stages of `model` make of `pictures` in `view`.

    Without augmentation all views are the evaluation's. The model's own tensors are hashed, not the name of a file.
    """
    augment = _canonical_augment(recipe) if view != EVALUATION else ""
    return PrefixKey(
        backbone=recipe.backbone,
        weights=weights_digests(model)[depth],
        depth=depth,
        image_size=recipe.image_size,
        mean=tuple(model.input.mean),
        std=tuple(model.input.std),
        pool=recipe.pool if model.pools(depth) else "",
        precision=f"{precision.name} on {precision.device_type}",
        augment=augment,
        view=view if augment else EVALUATION,
        pictures=pictures_digest(pictures),
    )


def compute(
    model: Classifier,
    pictures: PictureSet,
    view: View,
    depths: Sequence[int],
    rows: np.ndarray,
    precision: Precision,
    seed: int,
    view_index: int,
) -> Iterator[Tensor]:
    """What `Classifier.prefix` gives at each of `depths` (ascending) for the pictures at `rows` (B,): (B, ...) each.

    One forward pass on the model's device with the model in eval mode. A boundary is given as soon as it is reached,
    so that a caller can time it; between two of them the model is as the caller left it.

    Raises:
        ValueError: where `depths` do not ascend.
        ConfigError: where the backbone cannot be interrupted at one of them.
    """
    if list(depths) != sorted(set(depths)):
        raise ValueError(f"depths={list(depths)}: must ascend; sort them and name each once")
    if view_index == EVALUATION:
        batch = eval_batch(pictures, rows, view)
    else:
        batch = train_batch(pictures, rows, view, seed, view_index)
    x = batch.to(next(model.parameters()).device, non_blocking=True)
    reached, to_map = 0, model.backbone.stages_to_map
    for depth in depths:
        with _looking_only(model, depth), precision.autocast():
            x = model.backbone.run_stages(x, reached, min(depth, to_map))
            boundary = model.backbone.pooled(model.backbone.to_map(x)) if model.pools(depth) else x
        reached = min(depth, to_map)
        yield boundary


def pictures_digest(pictures: PictureSet) -> str:
    """A digest of which pictures these are, in their order, and of the size that they were resized to."""
    return hashlib.sha256(pictures.pixels.name.encode() + b"\n" + pictures.keys.tobytes()).hexdigest()


def weights_digests(model: Classifier) -> tuple[str, ...]:
    """For each depth from 0 to the number of stages, a digest of all parameters and buffers of the stages before it.

    Buffers that are not saved, such as a transformer's index tables, count too; memory layout and device do not. As
    hashing takes about a second per gigabyte, digests are kept while no tensor has been written to.
    """
    tensors = dict(model.backbone.net.named_parameters()) | dict(model.backbone.net.named_buffers())
    versions = tuple((each.data_ptr(), each._version) for each in tensors.values())
    known = _DIGESTS.get(model)
    if known is None or known[0] != versions:
        known = _DIGESTS[model] = (versions, tuple(_stage_digests(model, tensors)))
    return known[1]


_DIGESTS: WeakKeyDictionary[Classifier, tuple[tuple[tuple[int, int], ...], tuple[str, ...]]] = WeakKeyDictionary()


def _stage_digests(model: Classifier, tensors: dict[str, Tensor]) -> Iterator[str]:
    """A running digest; tensors that no stage owns belong to the first, since any may read them."""
    running = hashlib.sha256()
    left = dict(tensors)
    yield running.hexdigest()
    for index, stage in enumerate(model.stages):
        later = model.stages[index + 1 :]
        ours = [n for n in left if stage.owns(n) or (index == 0 and not any(each.owns(n) for each in later))]
        for name in ours:
            value = left.pop(name).detach().cpu().contiguous()
            running.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            running.update(value.reshape(-1).view(torch.uint8).numpy().data)
        yield running.hexdigest()


def _canonical_augment(recipe: Recipe) -> str:
    """The recipe's steps in an order of their own: views apply them in one order, whatever a recipe writes."""
    steps = {step.name: step.arguments for step in recipe.parsed_augment}
    return "+".join(f"{name}:{','.join(map(repr, steps[name]))}" for name in sorted(steps))


@contextmanager
def _looking_only(model: Classifier, depth: int) -> Iterator[None]:
    """The first `depth` stages in eval mode, without gradients; afterwards the model is in the mode it was in.

    Not inference mode: what is computed in it could not be used for training, in which activations are read. Where they
    are in eval mode already nothing is switched: measured, a seventh of what it takes to store tiny_resnet's views.
    """
    switched = model.training and depth > model.freeze_depth
    if switched:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        if switched:
            model.train()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_NAME_DIGITS]
