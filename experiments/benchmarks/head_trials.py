"""S2: a search over heads: the frozen backbone run by every trial in every epoch, against one pass and one array.

Command:   python experiments/benchmarks/head_trials.py [--trials 16] [--pixels 64] [--backbone tiny_resnet]
           [--weights DIR] [--data DIR] [--device cpu|cuda] [--threads N] [--quick] [--out FILE]
           The full size: --trials 64 --pixels 224 --backbone mobilenetv2_100 --weights DIR --data DIR
Hardware:  two processor cores or one GPU, no network
Minutes:   5 on two cores; the full size takes hours, nearly all of them arm A's
Expected:  A/B at least 60 on two cores, 150 on a GPU

16 linear heads of different rates over the carried tiny_resnet, 10 epochs, 700 drawn flowers, no augmentation. Arm A
is PyTorch's tutorial on transfer learning, "ConvNet as fixed feature extractor": `ImageFolder`, a `DataLoader` with
workers, gradients of the backbone switched off, a new linear layer, an accuracy over the validation folder after each
epoch; once for each trial. (The backbone stays in eval mode, unlike there, so that both arms train the same thing.)
Arm B is raytl from the files on: scan, decoding, one pass over the pictures into an empty cache, and all heads as one
array. Without augmentation the bound is trials x epochs, less what the heads themselves cost. The check: the mean over
the trials of the best validation accuracy is not lower by more than a point in arm B.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from measure import Finding, Goal, conclude, parser, take_turns, timed
from shown import PIXELS, SAMPLE, add_device_options, device_of, split_folders
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from raytl.data.album import open_album
from raytl.data.samples import write_sample
from raytl.data.store import build_store, open_data
from raytl.metric import METRICS
from raytl.models.backbones import InputSpec
from raytl.models.classifier import build_classifier
from raytl.models.heads import feature_count
from raytl.recipe import Recipe
from raytl.train.cache import PrefixCache
from raytl.train.probing import fit_heads
from raytl.train.world import World

TRIALS, EPOCHS, BATCH = 16, 10, 32
LOADER_WORKERS = min(4, len(os.sched_getaffinity(0)))  # the tutorial takes four; torch warns of more than cores
LIMIT_BYTES = 4_000_000_000
LOWER = 0.01  # chosen: a point, on 150 validation pictures one and a half pictures


@dataclass(frozen=True)
class Task:
    """What both arms train: recipes of heads, over pictures in train/, val/ and test/ of `folder`."""

    folder: Path
    recipes: tuple[Recipe, ...]
    device: torch.device


def main() -> None:
    options = _parse()
    device = device_of(options)
    with tempfile.TemporaryDirectory() as place:
        task = Task(_pictures(options, Path(place)), make_recipes(options), device)
        conclude([compare(task, Path(place), options.quick)], options)


def _parse() -> argparse.Namespace:
    made = parser(__doc__, "head_trials")
    add_device_options(made)
    made.add_argument("--trials", type=int, default=TRIALS)
    made.add_argument("--pixels", type=int, default=PIXELS)
    made.add_argument("--backbone", default="tiny_resnet")
    made.add_argument("--weights", default="pretrained", help="as for raytl search")
    made.add_argument("--data", type=Path, help="a folder of pictures (default: drawn flowers)")
    return made.parse_args()


def _pictures(options: argparse.Namespace, place: Path) -> Path:
    source = options.data or write_sample(SAMPLE, place / SAMPLE, 20 if options.quick else None)
    return split_folders(open_album(source), place / "split")


def make_recipes(options: argparse.Namespace) -> tuple[Recipe, ...]:
    """Heads with rates over two orders of magnitude."""
    base = Recipe(
        backbone=options.backbone,
        weights=options.weights,
        image_size=options.pixels,
        eval_resize=options.pixels,
        augment="none",
        epochs=EPOCHS,
        batch_size=BATCH,
        precision="fp32",
    )
    depth = len(build_classifier(base, 2).stages)
    count = max(2, options.trials // 4 if options.quick else options.trials)
    return tuple(replace(base, freeze_depth=depth, lr=3e-4 * 100 ** (index / (count - 1))) for index in range(count))


def compare(task: Task, place: Path, quick: bool) -> Finding:
    """Seconds of the whole search over heads in both arms."""
    caches = (place / f"cache{number}" for number in range(1000))
    best: dict[str, list[float]] = {}

    def tutorial() -> None:
        best["A"] = [max(one_trial(task, recipe)) for recipe in task.recipes]

    def ours() -> None:
        best["B"] = all_heads(task, next(caches))

    taken = take_turns(timed(tutorial), timed(ours), quick)
    a, b = (statistics.mean(best[arm]) for arm in "AB")
    first = task.recipes[0]
    case = f"{len(task.recipes)} heads x {EPOCHS} epochs, {first.backbone}, {first.image_size} px, {task.device.type}"
    return Finding(
        measure="S2",
        case=case,
        figure="A/B",
        values=taken.a_over_b,
        goal=Goal(150) if task.device.type == "cuda" else Goal(60),
        a=taken.a,
        b=taken.b,
        check=f"best val_accuracy, mean of trials: A {a:.3f}, B {b:.3f}; highest: A {max(best['A']):.3f}, "
        f"B {max(best['B']):.3f}",
        check_passed=b >= a - LOWER,
    )


def one_trial(task: Task, recipe: Recipe) -> Iterator[float]:
    """Arm A: the validation accuracy after each epoch of one head, as the tutorial trains it."""
    made = build_classifier(recipe, 2)  # for its backbone, weights and normalization; the head is the tutorial's
    train, val = (open_folder(task.folder / split, recipe.image_size, made.input) for split in ("train", "val"))
    backbone = made.backbone.to(task.device).eval()
    for parameter in backbone.parameters():
        parameter.requires_grad = False
    head = nn.Linear(feature_count(made.head), len(train.classes)).to(task.device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    loader = DataLoader(train, batch_size=BATCH, shuffle=True, num_workers=LOADER_WORKERS)
    total = EPOCHS * len(loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / total)) / 2)
    for _ in range(EPOCHS):
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(head(backbone(inputs.to(task.device))), labels.to(task.device))
            loss.backward()
            optimizer.step()
            schedule.step()
        yield accuracy(nn.Sequential(backbone, head), val, task.device)


def open_folder(folder: Path, size: int, spec: InputSpec) -> datasets.ImageFolder:
    """A split's pictures as torchvision reads them."""
    steps = [transforms.Resize(size), transforms.CenterCrop(size)]
    steps += [transforms.ToTensor(), transforms.Normalize(spec.mean, spec.std)]
    return datasets.ImageFolder(str(folder), transforms.Compose(steps))


@torch.no_grad()
def accuracy(model: nn.Module, pictures: datasets.ImageFolder, device: torch.device) -> float:
    """The share of a split's pictures that the model gets right."""
    loader = DataLoader(pictures, batch_size=BATCH, num_workers=LOADER_WORKERS)
    right = sum(int((model(inputs.to(device)).argmax(1).cpu() == labels).sum()) for inputs, labels in loader)
    return right / len(pictures)


def all_heads(task: Task, cache: Path) -> list[float]:
    """Arm B: the best validation accuracy of each head, from the files on."""
    album = open_album(task.folder)
    data = open_data(album, build_store(album, task.recipes[0].eval_resize, cache))
    recipes = {f"{index:03d}": recipe for index, recipe in enumerate(task.recipes)}
    prefixes = PrefixCache(cache / "prefixes", LIMIT_BYTES, sharers=len(recipes))
    best: dict[str, float] = defaultdict(float)
    for events in fit_heads(recipes, data, World(device=task.device), METRICS["val_accuracy"], prefixes):
        for event in events:
            if event.row is not None:
                best[event.trial_id] = max(best[event.trial_id], event.row.val_accuracy)
    return [best[name] for name in recipes]


if __name__ == "__main__":
    main()
