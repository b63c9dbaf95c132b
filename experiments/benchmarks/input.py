"""S5: what reading, augmenting and normalizing pictures costs a training step; and how often a picture is decoded.

Command:   python experiments/benchmarks/input.py [--device cpu|cuda] [--threads N] [--quick] [--out FILE]
Hardware:  one processor core or one GPU; no network
Minutes:   4
Expected:  B/A at least 0.97: pictures cost a step under 3%; one decoding for each picture, beside that of the check.
           Without a store it is what decoding costs: no goal

Both arms are the same run of raytl's loop, all stages trained, augmentation `crop+flip`; what is compared is pictures
per second of its training part. Arm A is fed one batch of noise that lies in memory, normalized and in the right
layout; arm B the drawn flowers from the memory-mapped store. Weights are random where none are carried: speed does
not depend on them. In the rows `no store` arm A is the store, and arm B decodes pictures as it reads them, in threads
ahead of the steps: the drawn flowers, enlarged to 500 x 375 as JPEG files; the check compares the losses of one more
epoch. Decodings are counted in a study of three sizes of trials over one data set: the scan that checks the files
decodes each once, the store once more for all trials and epochs together.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measure import Arm, Finding, Goal, conclude, parser, take_turns
from shown import PIXELS, add_device_options, device_of, open_sample, photographs, ready, shortened

from raytl.data import pixels, scan
from raytl.data.album import open_album
from raytl.data.store import FitData, build_store, open_data, open_files
from raytl.metric import METRICS
from raytl.models.carried import CARRIED
from raytl.recipe import Recipe
from raytl.train.device import memory_format
from raytl.train.loop import Run
from raytl.train.world import World

GOAL = Goal(0.97)
METRIC = METRICS["val_accuracy"]


@dataclass(frozen=True)
class Case:
    """A backbone, its pictures and how many of them an epoch has."""

    backbone: str
    pixels: int
    batch_size: int
    pictures: int

    def __str__(self) -> str:
        return f"{self.backbone}, {self.pixels} px, batch {self.batch_size}"

    @property
    def recipe(self) -> Recipe:
        weights = "pretrained" if self.backbone in CARRIED else "none"
        return Recipe(
            backbone=self.backbone,
            weights=weights,
            image_size=self.pixels,
            eval_resize=self.pixels,
            batch_size=self.batch_size,
            augment="crop+flip",
            epochs=1000,
            precision="auto",
        )


CPU_CASES = (
    Case("tiny_resnet", 64, 32, 320),
    Case("tiny_vit", 64, 32, 320),
    Case("resnet18", 224, 16, 64),
    Case("mobilenetv2_100", 224, 16, 64),
)
GPU_CASES = (Case("resnet50", 224, 256, 1024), Case("vit_base_patch16_224", 224, 128, 1024))


def main() -> None:
    made = parser(__doc__, "input")
    add_device_options(made)
    made.set_defaults(threads=1)  # as trials have it on two cores
    options = made.parse_args()
    device = device_of(options)
    cases: Sequence[Case] = GPU_CASES if device.type == "cuda" else CPU_CASES
    cases = cases[: 2 if options.quick else None]
    with tempfile.TemporaryDirectory() as place:
        findings = [compare(case, Path(place), device, options.quick) for case in cases]
        findings += [compare_unstored(case, Path(place) / f"unstored {case}", device, options.quick) for case in cases]
        findings.append(count_decodings(Path(place) / "counted", 4 if options.quick else 20))
    conclude(findings, options)


def compare(case: Case, place: Path, device: torch.device, quick: bool) -> Finding:
    """Pictures per second from memory (A) and from the store (B)."""
    data = shortened(open_sample(place / str(case), -(-case.pictures // 3), case.pixels), case.pictures)
    synthetic, real = (started(case.recipe, data, device) for _ in range(2))
    synthetic.learner.inputs = ready(case.batch_size, case.pixels, device, memory_format(synthetic.model))  # type: ignore[attr-defined]
    taken = take_turns(speed(synthetic), speed(real), quick)
    return Finding(
        measure="S5",
        case=str(case),
        figure="B/A",
        values=taken.b_over_a,
        goal=GOAL,
        unit="pictures/s",
        a=taken.a,
        b=taken.b,
    )


def compare_unstored(case: Case, place: Path, device: torch.device, quick: bool) -> Finding:
    """Pictures per second from the store (A) and from files that are decoded as they are read (B)."""
    album = open_album(photographs(place / "pictures", -(-case.pictures // 3)))
    resize = case.recipe.eval_resize
    sources = open_data(album, build_store(album, resize, place)), open_files(album, resize)
    stored, read = (started(case.recipe, shortened(data, case.pictures), device) for data in sources)
    taken = take_turns(speed(stored), speed(read), quick)
    losses = [next(run.epochs()).train_loss for run in (stored, read)]
    return Finding(
        measure="S5",
        case=f"no store, {case}",
        figure="B/A",
        values=taken.b_over_a,
        unit="pictures/s",
        a=taken.a,
        b=taken.b,
        check=f"the same loss: {losses[0] == losses[1]}",
        check_passed=losses[0] == losses[1],
    )


def started(recipe: Recipe, data: FitData, device: torch.device) -> Run:
    """A run whose first epoch, with all that happens once, is over."""
    run = Run(recipe, data, World(device=device), metric=METRIC, trial_id="bench")
    next(run.epochs())
    return run


def speed(run: Run) -> Arm:
    """Trains one more epoch and returns its pictures per second, evaluation left out."""
    return lambda: next(run.epochs()).images_per_second


def count_decodings(folder: Path, per_class: int) -> Finding:
    """How often a picture was decoded by the check, and by three trials of two epochs together."""
    folder.mkdir(parents=True)
    counts: Counter[str] = Counter()
    with counted(scan, counts), counted(pixels, counts):
        data = open_sample(folder, per_class)
        for depth in (0, 2, 5):
            recipe = Recipe(backbone="tiny_resnet", image_size=PIXELS, eval_resize=PIXELS, freeze_depth=depth, epochs=2)
            list(Run(recipe, data, World(), metric=METRIC, trial_id="bench").epochs())
    pictures = len(data.train) + len(data.val) + len(data.test)
    return Finding(
        measure="S5",
        case="three trials of two epochs",
        figure="decodings per picture",
        values=(counts[pixels.__name__] / pictures,),
        goal=Goal(1, at_least=False),
        check=f"and {counts[scan.__name__] / pictures:g} by the check of the files",
    )


@contextmanager
def counted(module: Any, counts: Counter[str]) -> Iterator[None]:
    """Within the block, decodings that `module` asks for are counted under its name."""
    decode: Callable[[bytes], object] = module.decode

    def counting(data: bytes) -> object:
        counts[module.__name__] += 1
        return decode(data)

    module.decode = counting
    try:
        yield
    finally:
        module.decode = decode


if __name__ == "__main__":
    main()
