"""How fast a backbone trains here: one epoch over a few pictures, timed, with the loop that trials run in."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from raytl.data.album import Album
from raytl.data.store import build_store, open_data
from raytl.metric import METRICS
from raytl.recipe import Recipe
from raytl.train.loop import Run
from raytl.train.world import World

LEAST, MOST = 2, 32  # pictures of a timed epoch: batch statistics need two; more than a batch tells nothing new
FLOPS_PER_SECOND = 1e10  # chosen, low: what a core does at least; decides how many pictures are timed, not the time
PASSES = 8  # of one picture: forward and backward (3) and evaluation (1), in an epoch to warm up and in one that counts


@dataclass(frozen=True)
class Pace:
    """Seconds per picture: decoded and resized once, in a training step of all stages, and evaluated."""

    decode_seconds: float
    train_seconds: float
    evaluate_seconds: float


def measure_pace(
    recipe: Recipe, album: Album, forward_flops: int, device: torch.device, threads: int, budget_seconds: float
) -> Pace:
    """Times `recipe` with all stages trained, as long as about `budget_seconds`.

    `forward_flops` are those of one picture. Decoded pictures go to a folder that is removed again.

    Raises:
        RaytlError: where the model cannot be built or a picture cannot be read.
    """
    few = _few(album, _count(forward_flops, device, threads, budget_seconds))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with TemporaryDirectory(prefix="raytl-pace-") as folder:
            begin = time.perf_counter()
            store = build_store(few, recipe.eval_resize, Path(folder), workers=1)
            decode_seconds = (time.perf_counter() - begin) / len(few.used)
            train_seconds, evaluate_seconds = _timed(recipe, few, store, device)
    finally:
        torch.set_num_threads(before)
    return Pace(decode_seconds, train_seconds, evaluate_seconds)


def _count(forward_flops: int, device: torch.device, threads: int, budget_seconds: float) -> int:
    if device.type != "cpu":
        return MOST
    affordable = budget_seconds * threads * FLOPS_PER_SECOND / (PASSES * max(1, forward_flops))
    return int(min(MOST, max(LEAST, affordable)))


def _few(album: Album, count: int) -> Album:
    """So many pictures of the training set, and as many for validation."""
    rows = [*album.part("train")[:count], *album.part("val")[:count]]
    return replace(album, pictures=tuple(rows))


def _timed(recipe: Recipe, few: Album, store: Path, device: torch.device) -> tuple[float, float]:
    """Seconds per picture of the second epoch: trained, evaluated. The first one warms up."""
    data = open_data(few, store)
    whole = replace(
        recipe,
        epochs=2,
        batch_size=len(data.train),
        warmup_epochs=0.0,
        head_epochs=0,
        freeze_depth=0,
        unfreeze_epoch=None,
        views=0,
        sampler="uniform",
        class_weights="none",
        early_stop="none",
    )
    run = Run(whole, data, World(device=device), metric=METRICS["val_accuracy"], trial_id="pace")
    *_, row = run.epochs()
    train_seconds = len(data.train) / row.images_per_second
    evaluate_seconds = (row.ended_at - row.started_at).total_seconds() - train_seconds
    return train_seconds / len(data.train), max(0.0, evaluate_seconds) / max(1, len(data.val))
