"""S6: the training step itself, against a loop as PyTorch's own tutorials write it.

Command:   python experiments/benchmarks/step.py [--device cpu|cuda] [--threads N] [--quick] [--out FILE]
Hardware:  two processor cores, or one GPU; no network
Minutes:   4 on two cores
Expected:  B/A at least 1.0 everywhere; resnet18 at 224 pixels several times faster where channels-last wins

Both arms train all weights of the same architecture from the same values on the same batch of noise in memory, AdamW
at a constant rate without weight decay, in the same number format. Arm A: zero_grad, forward, cross-entropy, backward,
step, everything else by PyTorch's defaults. Arm B: raytl's learner (its memory layout, its optimizer, its checks and
counts). The check: the mean loss of the first steps is the same but for rounding, that is, to 2%. On a GPU two more
figures: pictures per second of resnet50, and the share that vit_base reaches of the speed of a bf16 matrix product
timed in the same run (operations counted by torch, forward and backward).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from measure import Arm, Finding, Goal, conclude, parser, take_turns
from shown import Ready, add_device_options, device_of, ready
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from raytl.data.pixels import StoredPixels
from raytl.data.store import FitData, PictureSet
from raytl.models.carried import CARRIED, create_carried
from raytl.models.classifier import Classifier, build_classifier
from raytl.recipe import Recipe
from raytl.train.device import Precision, memory_format, resolve_precision
from raytl.train.learner import Learner
from raytl.train.schedule import make_schedule
from raytl.train.world import World

CLASSES = 5
TURN_SECONDS, QUICK_SECONDS = 4.0, 0.5  # chosen: long enough that a busy moment does not decide a turn
CHECKED_STEPS = 4
TOLERANCE = 0.02
PRODUCT_SIDE = 8192  # chosen: large enough that a GPU reaches its full speed on the product
GOAL, SPEED_GOAL, SHARE_GOAL = Goal(1.0), Goal(5_900), Goal(0.45)


@dataclass(frozen=True)
class Case:
    """An architecture and a batch; `extra` says which further figure is asked of it on a GPU."""

    backbone: str
    pixels: int
    batch_size: int
    extra: str = ""

    def __str__(self) -> str:
        return f"{self.backbone}, {self.pixels} px, batch {self.batch_size}"

    @property
    def recipe(self) -> Recipe:
        return Recipe(
            backbone=self.backbone,
            weights="none",
            image_size=self.pixels,
            eval_resize=self.pixels,
            batch_size=self.batch_size,
            lr=1e-4,
            weight_decay=0.0,
            schedule="constant",
            augment="none",
        )


CPU_CASES = (
    Case("resnet18", 224, 16),
    Case("tiny_resnet", 64, 32),
    Case("tiny_vit", 64, 32),
    Case("mobilenetv2_100", 224, 16),
)
GPU_CASES = (Case("resnet50", 224, 256, "speed"), Case("vit_base_patch16_224", 224, 256, "share"))
Steps = Callable[[int], float]
"""Takes a number of steps and returns their mean loss."""


def main() -> None:
    made = parser(__doc__, "step")
    add_device_options(made)
    options = made.parse_args()
    device = device_of(options)
    cases = GPU_CASES if device.type == "cuda" else CPU_CASES
    findings = [
        finding for case in cases[: 2 if options.quick else None] for finding in compare(case, device, options.quick)
    ]
    conclude(findings, options)


def compare(case: Case, device: torch.device, quick: bool) -> list[Finding]:
    """Pictures per second of both arms."""
    torch.manual_seed(0)
    ours = build_classifier(case.recipe, CLASSES)
    theirs = plain_copy(ours, case).to(device)
    ours.to(device).to(memory_format=memory_format(ours))
    precision = resolve_precision("auto", device)
    labels = torch.arange(case.batch_size) % CLASSES
    batch = ready(case.batch_size, case.pixels, device, memory_format(ours))
    a = tutorial(theirs, batch.pictures.contiguous(), labels.to(device), precision)
    b = learner(ours, case.recipe, batch, labels, precision)
    check, passed = same_losses(a, b)
    arm = partial(pictures_per_second, case.batch_size, QUICK_SECONDS if quick else TURN_SECONDS)
    taken = take_turns(arm(a), arm(b), quick)
    finding = Finding(
        measure="S6",
        case=f"{case}, {precision.name}",
        figure="B/A",
        values=taken.b_over_a,
        goal=GOAL,
        unit="pictures/s",
        a=taken.a,
        b=taken.b,
        check=check,
        check_passed=passed,
    )
    return [finding, *extra(case, taken.b, ours, batch)]


def plain_copy(model: Classifier, case: Case) -> nn.Module:
    """The same architecture with the same values, as timm makes it, and a linear layer."""
    net = create_carried(case.backbone) if case.backbone in CARRIED else timm.create_model(case.backbone, num_classes=0)
    net.load_state_dict(model.backbone.net.state_dict())
    last = model.head.get_submodule("out")
    assert isinstance(last, nn.Linear)
    linear = nn.Linear(last.in_features, CLASSES)
    linear.load_state_dict(last.state_dict())
    return nn.Sequential(net, linear)


def tutorial(model: nn.Module, pictures: Tensor, labels: Tensor, precision: Precision) -> Steps:
    """Arm A: the loop of the tutorials. The loss is read once per step, as they do for their running mean."""
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.0)
    model.train()

    def steps(count: int) -> float:
        running = 0.0
        for _ in range(count):
            optimizer.zero_grad()
            with precision.autocast():
                loss = criterion(model(pictures), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
        return running / count

    return steps


def learner(model: Classifier, recipe: Recipe, batch: Ready, labels: Tensor, precision: Precision) -> Steps:
    """Arm B: raytl's learner over the same pictures."""
    world = World(device=batch.pictures.device)
    made = Learner(recipe, model, labelled(labels), world, precision, batch)
    schedule = make_schedule(recipe, 1)
    rows = np.arange(len(labels))
    return lambda count: made.train_epoch(1, [rows] * count, schedule).mean_loss


def labelled(labels: Tensor) -> FitData:
    """Data of which a learner reads labels and classes only."""
    nothing = StoredPixels(Path(), np.zeros((0, 3), dtype=np.int64))
    pictures = PictureSet(nothing, labels, np.zeros(len(labels), dtype=np.uint64), ("",) * len(labels))
    return FitData(tuple(map(str, range(CLASSES))), pictures, pictures, pictures, "noise")


def same_losses(theirs: Steps, ours: Steps) -> tuple[str, bool]:
    """Whether the first steps have the same mean loss in both arms."""
    a, b = theirs(CHECKED_STEPS), ours(CHECKED_STEPS)
    return f"loss over the first {CHECKED_STEPS} steps: A {a:.4f}, B {b:.4f}", abs(a - b) <= TOLERANCE * abs(a)


def pictures_per_second(batch_size: int, turn_seconds: float, steps: Steps) -> Arm:
    """Takes steps for about `turn_seconds` and returns pictures per second."""
    begin = time.perf_counter()
    steps(1)
    count = max(2, round(turn_seconds / (time.perf_counter() - begin)))

    def arm() -> float:
        begin = time.perf_counter()
        steps(count)  # both arms read losses to the processor, so the device is done when they return
        return count * batch_size / (time.perf_counter() - begin)

    return arm


def extra(case: Case, speeds: tuple[float, ...], model: Classifier, batch: Ready) -> list[Finding]:
    """What is asked of a case on a GPU beside the ratio."""
    if case.extra == "speed":
        return [Finding(measure="S6", case=str(case), figure="pictures/s", values=speeds, goal=SPEED_GOAL)]
    if case.extra == "share":
        best = product_flops_per_second(batch.pictures.device)
        per_picture = training_flops(model, batch.pictures) / case.batch_size
        shares = tuple(speed * per_picture / best for speed in speeds)
        check = f"product: {best / 1e12:.0f} TFLOP/s"
        figure = "share of a bf16 product"
        return [Finding(measure="S6", case=str(case), figure=figure, values=shares, goal=SHARE_GOAL, check=check)]
    return []


def training_flops(model: Classifier, pictures: Tensor) -> float:
    """Operations of one forward and backward pass."""
    with FlopCounterMode(display=False) as counter:
        model(pictures).sum().backward()
    model.zero_grad(set_to_none=True)
    return float(counter.get_total_flops())


def product_flops_per_second(device: torch.device, side: int = PRODUCT_SIDE, repeats: int = 20) -> float:
    """The speed of a product of two square bf16 matrices, the best of `repeats`."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        (left @ right).sum().item()
        best = min(best, time.perf_counter() - begin)
    return 2 * side**3 / best


if __name__ == "__main__":
    main()
