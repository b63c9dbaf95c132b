"""What stands in front of the trained part of a model: fresh pictures, or what the frozen part made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raytl.data.store import FitData, PictureSet
from raytl.data.views import View
from raytl.models.backbones import InputSpec
from raytl.models.classifier import Classifier
from raytl.recipe import Recipe
from raytl.train.cache import PrefixCache
from raytl.train.device import Precision
from raytl.train.inputs import AHEAD, FixedView, FreshViews, Inputs, StoredViews
from raytl.train.prefix import VIEW_SEED, compute, key_of
from raytl.train.prefix_pass import Produce
from raytl.train.prefix_store import Activations, Decision, PrefixStore
from raytl.train.world import World

DEVICE_SHARE = 0.1  # chosen: of a GPU's free memory, for one entry; a trial holds about ten
BUILD_BATCH = 32  # chosen: what trials train with, so that activations fit wherever a trial fits


@dataclass(frozen=True, eq=False)
class Fronts:
    """Inputs for training and, where they are stored, for validation; `notes` say what was not worth storing."""

    train: Inputs
    val: Inputs | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def stored_bytes(self) -> int:
        """What is read of the store so far; other runs may read the same."""
        return sum(each.stored_bytes for each in (self.train, self.val) if isinstance(each, StoredViews))


def open_fronts(
    model: Classifier, recipe: Recipe, data: FitData, world: World, precision: Precision, cache: PrefixCache | None
) -> Fronts:
    """The inputs of a run, taken from `cache` as far as the recipe's pictures repeat and it pays."""
    fronts = Fronts(train_inputs(recipe, model, data))
    if cache is None or not can_store(model, recipe):
        return fronts
    uses = recipe.epochs * cache.sharers
    val = store_view(model, recipe, data.val, 0, (recipe.freeze_depth,), precision, cache, uses)
    if val.entries is None:
        fronts.notes.append(val.reason)
    stored = partial(_stored_views, model, recipe, data.train, precision=precision, cache=cache, fronts=fronts)
    return replace(
        fronts,
        train=stored(device=world.device) if repeats(recipe) else fronts.train,
        val=_held(val.entries[0], recipe.freeze_depth, world.device) if val.entries else None,
    )


def open_view(
    model: Classifier, recipe: Recipe, pictures: PictureSet, precision: Precision, cache: PrefixCache | None
) -> Inputs | None:
    """Other pictures as they are evaluated, behind the frozen stages; None where none are, or it does not pay."""
    if cache is None or model.freeze_depth != recipe.freeze_depth or not can_store(model, recipe):
        return None
    uses = float(cache.sharers)
    decision = store_view(model, recipe, pictures, 0, (recipe.freeze_depth,), precision, cache, uses)
    return _held(decision.entries[0], recipe.freeze_depth, torch.device("cpu")) if decision.entries else None


def train_inputs(recipe: Recipe, model: Classifier, data: FitData) -> Inputs:
    """The training pictures as the recipe shows them, made ready anew each time."""
    view = make_view(recipe, model.input, augmented=True)
    if not view.augment:
        return FixedView(data.train, view)
    return FreshViews(data.train, view, recipe.seed, recipe.views)


def make_view(recipe: Recipe, spec: InputSpec, augmented: bool) -> View:
    """How the recipe wants pictures shown: size, normalization and, for training, augmentation."""
    return View(recipe.image_size, spec.mean, spec.std, recipe.parsed_augment if augmented else ())


def can_store(model: Classifier, recipe: Recipe) -> bool:
    """Whether the frozen stages make the same of a picture in every epoch, and the pass can be interrupted there."""
    depth = recipe.freeze_depth
    return depth > 0 and model.backbone.splits_at(depth) and not model.hears_prefix(depth)


def repeats(recipe: Recipe) -> bool:
    """Whether training shows the same views again: not with fresh augmentation, nor with mixed pictures."""
    fresh = recipe.augment != "none" and bool(recipe.parsed_augment) and recipe.views == 0
    return not (fresh or recipe.mixup or recipe.cutmix)


def stored_views(recipe: Recipe) -> tuple[int, ...]:
    """The views of the training pictures by number: 0 is the evaluation's, which training without augmentation sees."""
    if not recipe.parsed_augment:
        return (0,)
    return tuple(range(1, min(recipe.views, recipe.epochs) + 1))


def _stored_views(
    model: Classifier,
    recipe: Recipe,
    pictures: PictureSet,
    *,
    precision: Precision,
    cache: PrefixCache,
    fronts: Fronts,
    device: torch.device,
) -> StoredViews:
    """The recipe's views behind its frozen stages, each stored when it is first seen, if that pays."""
    views, depths = stored_views(recipe), (recipe.freeze_depth,)
    uses = recipe.epochs / len(views) * cache.sharers

    def open_entry(view: int) -> Activations | None:
        decision = store_view(model, recipe, pictures, view, depths, precision, cache, uses)
        if decision.entries is None:
            fronts.notes.append(decision.reason)
            return None
        return _on(decision.entries[0], device)

    def anew(rows: np.ndarray, view: int) -> Tensor:
        shown = make_view(recipe, model.input, augmented=view > 0)
        (made,) = compute(model, pictures, shown, depths, rows, precision, VIEW_SEED, view)
        return made

    return StoredViews(views, recipe.freeze_depth, open_entry, anew, pictures)


def _held(entry: Activations, depth: int, device: torch.device) -> StoredViews:
    """One view that is there already."""
    held = _on(entry, device)
    return StoredViews((0,), depth, lambda _: held, lambda rows, _: held.batch(rows))


def _on(entry: Activations, device: torch.device) -> Activations:
    """The entry, on a GPU where it takes less than a share of the free memory."""
    if device.type == "cuda" and entry.bytes < DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return entry.to(device)
    return entry


def store_view(
    model: Classifier,
    recipe: Recipe,
    pictures: PictureSet,
    view: int,
    depths: Sequence[int],
    precision: Precision,
    cache: PrefixCache,
    uses: float,
) -> Decision:
    """The entries of one view behind each of `depths`, computed in one pass where they are not there yet."""
    shown = make_view(recipe, model.input, augmented=view > 0)
    keys = [key_of(model, recipe, pictures, depth, view, precision) for depth in depths]
    produce = partial(compute, model, pictures, shown, depths, precision=precision, seed=VIEW_SEED, view_index=view)
    store = open_store(cache.folder, cache.limit_bytes)
    try:
        return store.build(keys, len(pictures), _expecting(pictures, produce), BUILD_BATCH, uses)
    finally:
        pictures.pixels.forget()


def _expecting(pictures: PictureSet, produce: Produce) -> Produce:
    """`produce`, which is given batches of pictures in order, with pixels of the next ones made ready meanwhile."""
    said = 0

    def produced(rows: np.ndarray) -> Iterable[Tensor]:
        nonlocal said
        until = min(len(pictures), int(rows[-1]) + 1 + AHEAD * len(rows))
        pictures.pixels.expect(range(max(said, int(rows[0])), until))
        said = max(said, until)
        return produce(rows)

    return produced


@lru_cache(maxsize=4)
def open_store(folder: Path, limit_bytes: int) -> PrefixStore:
    """One store object per process and folder: it remembers what it has verified and what did not pay."""
    return PrefixStore(folder, limit_bytes)
