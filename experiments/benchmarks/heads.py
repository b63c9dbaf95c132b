"""S3: many heads on cached features, as one batched product against a loop over heads.

Command:   python experiments/benchmarks/heads.py [--device cpu|cuda] [--threads N] [--heads 64] [--quick] [--out FILE]
Hardware:  one processor core or one GPU, no network
Minutes:   1
Expected:  A/B at least 3 on two cores, 25 on a GPU

64 linear heads with different rates and weight decays, 5 epochs of 700 made-up features of 128, 512 and 1280 numbers,
batches of 32. Arm A: for each head the loop that one writes for one head (`nn.Linear`, cross-entropy, AdamW, cosine
schedule). Arm B: raytl's array of heads. Both begin with the same values and see the same batches in the same order.
The check: after the last epoch no logit of any head differs by more than 0.1% of the largest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from measure import Finding, Goal, conclude, parser, take_turns, timed
from shown import add_device_options, device_of
from torch import Tensor, nn

from raytl.models.classifier import fresh_head
from raytl.recipe import Recipe
from raytl.train.head_array import HeadArray
from raytl.train.schedule import make_schedule

CLASSES, PICTURES, BATCH, EPOCHS = 5, 700, 32, 5
FEATURES = (128, 512, 1280)  # of tiny_resnet, resnet18 and mobilenetv2_100
HEADS = 64
TOLERANCE = 1e-3
PROBE = Recipe(backbone="any", freeze_depth=1, augment="none", head="linear", epochs=EPOCHS, batch_size=BATCH)


@dataclass(frozen=True, eq=False)
class Task:
    """Features (N, F) with labels (N,), and the batches of all epochs as rows."""

    features: Tensor
    labels: Tensor
    epochs: tuple[tuple[Tensor, ...], ...]


def main() -> None:
    made = parser(__doc__, "heads")
    add_device_options(made)
    made.set_defaults(threads=1)  # both arms: a head's operations are too small to share, and arm A would lose by it
    made.add_argument("--heads", type=int, default=HEADS)
    options = made.parse_args()
    device = device_of(options)
    goal = Goal(25) if device.type == "cuda" else Goal(3)
    counts = FEATURES[:1] if options.quick else FEATURES
    conclude([compare(make_task(count, device), options.heads, goal, options.quick) for count in counts], options)


def make_task(feature_count: int, device: torch.device) -> Task:
    """Features around one center per class, so that heads have something to learn."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(PICTURES) % CLASSES
    centers = torch.randn(CLASSES, feature_count, generator=generator)
    features = centers[labels] + 3 * torch.randn(PICTURES, feature_count, generator=generator)
    epochs = tuple(torch.randperm(PICTURES, generator=generator).to(device).split(BATCH) for _ in range(EPOCHS))
    return Task(features.to(device), labels.to(device), epochs)


def make_recipes(count: int) -> list[Recipe]:
    """Rates over two orders of magnitude, weight decays over three."""
    places = [index / max(1, count - 1) for index in range(count)]
    return [replace(PROBE, lr=1e-4 * 100**place, weight_decay=1e-4 * 1000 ** (1 - place)) for place in places]


def compare(task: Task, count: int, goal: Goal, quick: bool) -> Finding:
    """Both arms over one task."""
    recipes = make_recipes(count)
    check, passed = same_logits(task, recipes)
    taken = take_turns(timed(lambda: loop(task, recipes)), timed(lambda: array(task, recipes)), quick)
    return Finding(
        measure="S3",
        case=f"{count} heads, {task.features.shape[1]} features, {task.features.device.type}",
        figure="A/B",
        values=taken.a_over_b,
        goal=goal,
        a=taken.a,
        b=taken.b,
        check=check,
        check_passed=passed,
    )


def loop(task: Task, recipes: list[Recipe]) -> Tensor:
    """Arm A: one head after another; returns their logits (T, N, K)."""
    return torch.stack([one_head(task, recipe) for recipe in recipes])


def one_head(task: Task, recipe: Recipe) -> Tensor:
    """A head as one writes it: AdamW with weight decay on the matrix only, as raytl has it."""
    head = first_values(task, recipe)
    out = head.get_submodule("out")
    groups = [{"params": [out.weight], "weight_decay": recipe.weight_decay}, {"params": [out.bias], "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr)
    total = sum(len(epoch) for epoch in task.epochs)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / total)) / 2)
    criterion = nn.CrossEntropyLoss()
    for epoch in task.epochs:
        for rows in epoch:
            optimizer.zero_grad()
            criterion(head(task.features[rows]), task.labels[rows]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        logits: Tensor = head(task.features)
    return logits


def array(task: Task, recipes: list[Recipe]) -> Tensor:
    """Arm B: all heads at once; returns their logits (T, N, K)."""
    counts = torch.bincount(task.labels, minlength=CLASSES).tolist()
    heads = HeadArray(recipes, task.features.shape[1], [counts], task.features.device)
    heads.load_heads([first_values(task, recipe) for recipe in recipes])
    schedules = [make_schedule(recipe, len(task.epochs[0])) for recipe in recipes]
    for number, epoch in enumerate(task.epochs, start=1):
        for step, rows in enumerate(epoch):
            factors = [schedule.factor(number, step) for schedule in schedules]
            heads.step(task.features[rows], task.labels[rows], factors, None, None)
    return heads.logits(task.features)


def first_values(task: Task, recipe: Recipe) -> nn.Sequential:
    """The head that a recipe begins with."""
    return fresh_head(recipe, task.features.shape[1], CLASSES).to(task.features.device)


def same_logits(task: Task, recipes: list[Recipe]) -> tuple[str, bool]:
    """Whether the heads of both arms come out alike."""
    a, b = loop(task, recipes[:8]), array(task, recipes[:8])
    difference = float((a - b).abs().max() / a.abs().max())
    return f"logits of 8 heads differ by {difference:.1e} of the largest", difference <= TOLERANCE


if __name__ == "__main__":
    main()
