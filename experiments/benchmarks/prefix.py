"""S4: partly frozen backbones: computing the frozen part anew in each epoch, against taking it from the cache.

Command:   python experiments/benchmarks/prefix.py [--device cpu|cuda] [--threads N] [--quick] [--out FILE]
Hardware:  two processor cores or one GPU, 1 GB of disk, no network
Minutes:   8 on two cores
Expected:  A/B at least 0.90 of the bound at every depth, and no run slower with the cache than without it

With a share f of the forward operations frozen, an epoch without cache costs 1 + 2 (1 - f) forward passes and one
with it 3 (1 - f): the bound on A/B is their ratio. Both arms are raytl's own loop with one recipe (no augmentation),
arm A without a cache, arm B with one. For the bound the cache is full, and the training part of single epochs is
compared. For "never slower" whole runs are compared, building the model and filling an empty cache included, which for
one run of a few epochs is the worst case. The store measures for itself whether an entry pays; where it refuses, the
table says so. The check: after the last epoch both arms have the same validation loss to 1%.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from measure import Arm, Finding, Goal, conclude, parser, take_turns
from shown import add_device_options, device_of, open_sample, shortened

from raytl.data.store import FitData
from raytl.metric import METRICS
from raytl.models.carried import CARRIED
from raytl.models.cost import facts_of
from raytl.recipe import Recipe
from raytl.train.cache import PrefixCache
from raytl.train.inputs import StoredViews
from raytl.train.loop import Run
from raytl.train.world import World

METRIC = METRICS["val_accuracy"]
LIMIT_BYTES = 4_000_000_000
STUDY_SHARERS = 4  # what a study counts with; for a single run the store is told of one
EPOCHS = 4  # chosen: of a whole run; fewer than the nine of a study, so that filling the cache weighs more
TOLERANCE = 0.01
NEVER_SLOWER = Goal(1.0)


@dataclass(frozen=True)
class Case:
    """A backbone, its pictures and how many there are to train with."""

    backbone: str
    pixels: int
    batch_size: int
    pictures: int

    def recipe(self, depth: int) -> Recipe:
        """Fine-tuning behind the first `depth` stages."""
        return Recipe(
            backbone=self.backbone,
            weights="pretrained" if self.backbone in CARRIED else "none",
            image_size=self.pixels,
            eval_resize=self.pixels,
            freeze_depth=depth,
            batch_size=self.batch_size,
            augment="none",
            schedule="constant",
            lr=1e-4,
            epochs=EPOCHS,
        )


CPU_CASES = (Case("tiny_resnet", 64, 32, 480), Case("tiny_vit", 64, 32, 320), Case("resnet18", 224, 16, 48))
GPU_CASES = (Case("resnet50", 224, 128, 1024), Case("vit_base_patch16_224", 224, 128, 1024))


def main() -> None:
    made = parser(__doc__, "prefix")
    add_device_options(made)
    options = made.parse_args()
    device = device_of(options)
    cases = GPU_CASES if device.type == "cuda" else CPU_CASES
    share = 0.85 if device.type == "cuda" else 0.90
    with tempfile.TemporaryDirectory() as place:
        findings = [
            finding
            for case in cases[: 1 if options.quick else None]
            for finding in Depths(case, Path(place), device, options.quick).findings(share)
        ]
    conclude(findings, options)


class Depths:
    """One case at all depths that leave something of the backbone to train."""

    def __init__(self, case: Case, place: Path, device: torch.device, quick: bool) -> None:
        self.case, self.quick = case, quick
        self.world = World(device=device)
        self.place = place / case.backbone
        self.data: FitData = shortened(open_sample(self.place, -(-case.pictures // 3), case.pixels), case.pictures)
        self.fractions = facts_of(case.recipe(0), len(self.data.classes)).frozen_fractions
        self._folders = (self.place / f"cache{number}" for number in itertools.count())

    def findings(self, share: float) -> Iterator[Finding]:
        """Per depth: the training epoch against the bound, and the whole run."""
        depths = range(1, len(self.fractions) - 1)
        for depth in list(depths)[-1:] if self.quick else depths:
            yield self.epochs_at(depth, share)
            yield self.runs_at(depth)

    def epochs_at(self, depth: int, share: float) -> Finding:
        """Seconds of single training epochs with a full cache."""
        recipe = replace(self.case.recipe(depth), epochs=1000)
        without, cached = self.run(recipe, None), self.run(recipe, self.cache(STUDY_SHARERS))
        for run in (without, cached):
            next(run.epochs())  # with all that happens once
        taken = take_turns(epoch_seconds(without), epoch_seconds(cached), self.quick)
        most = bound(self.fractions[depth])
        stored = isinstance(cached.fronts.train, StoredViews)
        return Finding(
            measure="S4",
            case=f"{self.name(depth)}: training epoch",
            figure="A/B, of the bound",
            values=tuple(ratio / most for ratio in taken.a_over_b),
            goal=Goal(share) if stored else None,
            a=taken.a,
            b=taken.b,
            check=f"bound {most:.2f}; " + ("stored" if stored else "; ".join(cached.fronts.notes)),
        )

    def runs_at(self, depth: int) -> Finding:
        """Seconds of whole runs, each of arm B with an empty cache."""
        recipe = self.case.recipe(depth)
        losses: dict[str, float] = {}

        def arm(name: str) -> float:
            begin = time.perf_counter()
            run = self.run(recipe, self.cache(1) if name == "B" else None)
            losses[name] = list(run.epochs())[-1].val_loss
            return time.perf_counter() - begin

        taken = take_turns(lambda: arm("A"), lambda: arm("B"), self.quick)
        return Finding(
            measure="S4",
            case=f"{self.name(depth)}: run of {EPOCHS} epochs, empty cache",
            figure="A/B",
            values=taken.a_over_b,
            goal=NEVER_SLOWER,
            a=taken.a,
            b=taken.b,
            check=f"val_loss: A {losses['A']:.4f}, B {losses['B']:.4f}",
            check_passed=abs(losses["A"] - losses["B"]) <= TOLERANCE * losses["A"],
        )

    def name(self, depth: int) -> str:
        """The case and what is frozen."""
        return f"{self.case.backbone}, {self.case.pixels} px, depth {depth}, f {self.fractions[depth]:.2f}"

    def cache(self, sharers: int) -> PrefixCache:
        """An empty cache that as many runs are expected to read."""
        return PrefixCache(next(self._folders), LIMIT_BYTES, sharers)

    def run(self, recipe: Recipe, cache: PrefixCache | None) -> Run:
        """A run before its first epoch; what it needs of the cache is there."""
        return Run(recipe, self.data, self.world, metric=METRIC, trial_id="bench", cache=cache)


def bound(frozen: float) -> float:
    """How much faster an epoch can be at most, where the share `frozen` of a forward pass need not be computed."""
    return (1 + 2 * (1 - frozen)) / (3 * (1 - frozen))


def epoch_seconds(run: Run) -> Arm:
    """Trains one more epoch and returns the seconds of its training part."""
    return lambda: len(run.data.train) / next(run.epochs()).images_per_second


if __name__ == "__main__":
    main()
