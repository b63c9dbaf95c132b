"""S10: two DDP workers of one core each, against one worker of one core with the same global batch.

Command:   python experiments/benchmarks/ddp_workers.py [--quick] [--out FILE]
Hardware:  two processor cores, no network
Minutes:   8
Expected:  B / (2 A) at least 0.9: two workers are nearly twice as fast

raytl's own loop without Ray, gloo over the loopback device, all stages trained, the same recipe, seed and pictures in
both arms; pictures per second of the training part of an epoch, the median of the epochs after the first. Every worker
has one thread. Processes are started anew for each turn and each imports everything before it begins. The check: both
arms have the same validation loss after the last epoch to 1%.

More rows say where the rest goes. Two runs of half the batch at the same time, which exchange nothing, show what
smaller batches and one memory for two cores cost (C). Two such runs that meet once in each step, and exchange two
numbers there, show what waiting for the slower one costs (D against C). What the two workers of B are slower than these
is the exchange of gradients: DDP's copies, gloo's sums and its threads, for which no core is free (B against D).
"""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from measure import Finding, Goal, conclude, parser, take_turns
from shown import open_sample, shortened
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from raytl.data.store import FitData
from raytl.models.carried import CARRIED
from raytl.recipe import Recipe
from raytl.results.schemas import EpochRow
from raytl.train.loop import fit
from raytl.train.world import World

WORKERS = 2
GOAL = Goal(0.9)
TOLERANCE = 0.01
PATIENCE = timedelta(minutes=5)
TOGETHER, MEETING, APART = "together", "meeting", "apart"  # what several workers do, by how much they exchange


@dataclass(frozen=True)
class Meeting(World):
    """One of several runs of their own, which wait for each other where workers would sum up a step's loss."""

    def sum(self, tensor: Tensor) -> Tensor:
        """The tensor as it is, when all have come."""
        dist.all_reduce(tensor.detach().clone())
        return tensor


@dataclass(frozen=True)
class Case:
    """A backbone, its pictures, the global batch and the length of an epoch."""

    backbone: str
    pixels: int
    batch_size: int
    pictures: int
    epochs: int

    @property
    def recipe(self) -> Recipe:
        return Recipe(
            backbone=self.backbone,
            weights="pretrained" if self.backbone in CARRIED else "none",
            image_size=self.pixels,
            eval_resize=self.pixels,
            batch_size=self.batch_size,
            epochs=self.epochs,
            schedule="constant",
            lr=1e-4,
            precision="fp32",
        )


CASES = (Case("tiny_vit", 64, 64, 640, 4), Case("resnet18", 224, 32, 64, 3))


def main() -> None:
    options = parser(__doc__, "ddp_workers").parse_args()
    with tempfile.TemporaryDirectory() as place:
        cases = CASES[: 1 if options.quick else None]
        findings = [finding for case in cases for finding in compare(case, Path(place), options.quick)]
    conclude(findings, options)


def compare(case: Case, place: Path, quick: bool) -> list[Finding]:
    """Pictures per second of one worker (A), of two (B), of two runs of their own (C), and of two that meet (D)."""
    folder = place / case.backbone
    data = shortened(open_sample(folder, -(-case.pictures // 3), case.pixels), case.pictures)
    losses: dict[int, float] = {}
    beside: dict[str, list[float]] = {APART: [], MEETING: []}

    def arm(size: int) -> float:
        rows, *_ = run_group(case.recipe, data, size, folder)
        losses[size] = rows[-1].val_loss
        return _speed(rows)

    def together_and_apart() -> float:
        half = replace(case.recipe, batch_size=case.batch_size // WORKERS)
        for how, speeds in beside.items():
            speeds.append(sum(map(_speed, run_group(half, data, WORKERS, folder, how))))
        return arm(WORKERS)

    taken = take_turns(lambda: arm(1), together_and_apart, quick)
    whole = Finding(
        measure="S10",
        case=f"{case.backbone}, {case.pixels} px, global batch {case.batch_size}",
        figure="B / (2 A)",
        values=tuple(ratio / WORKERS for ratio in taken.b_over_a),
        goal=GOAL,
        unit="pictures/s",
        a=taken.a,
        b=taken.b,
        check=f"val_loss: A {losses[1]:.4f}, B {losses[WORKERS]:.4f}",
        check_passed=abs(losses[1] - losses[WORKERS]) <= TOLERANCE * losses[1],
    )
    return [whole, *_parts(whole, case.backbone, tuple(beside[APART]), tuple(beside[MEETING]))]


def _parts(whole: Finding, backbone: str, c: tuple[float, ...], d: tuple[float, ...]) -> list[Finding]:
    """What lies between one worker and two: the machine, waiting for each other, and the exchange of gradients."""
    halves = tuple(WORKERS * a for a in whole.a)
    rows = [
        ("two runs of half the batch at once, nothing exchanged (C)", "C / (2 A)", whole.a, halves, c),
        ("two such runs that meet in each step (D)", "D / C", c, c, d),
        ("two workers, who exchange gradients, too", "B / D", d, d, whole.b),
    ]
    plain = replace(whole, goal=None, check="", check_passed=True)
    return [
        replace(plain, case=f"{backbone}: {case}", figure=figure, values=_ratios(above, below), a=a, b=above)
        for case, figure, a, below, above in rows
    ]


def _ratios(above: tuple[float, ...], below: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(b / a for a, b in zip(below, above, strict=True))


def _speed(rows: list[EpochRow]) -> float:
    return statistics.median(row.images_per_second for row in rows[1:])


def run_group(recipe: Recipe, data: FitData, size: int, folder: Path, how: str = TOGETHER) -> list[list[EpochRow]]:
    """The rows of a run by `size` workers in fresh processes, or of each of so many runs that begin together."""
    with tempfile.TemporaryDirectory(dir=folder) as meeting:
        spawn(_worker, args=(recipe, data, size, Path(meeting), how), nprocs=size)
        return [torch.load(each, weights_only=False) for each in sorted(Path(meeting).glob("*.pt"))]


def _worker(rank: int, recipe: Recipe, data: FitData, size: int, folder: Path, how: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    if size > 1:
        meeting = f"file://{folder}/meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size, timeout=PATIENCE)
        dist.barrier()
    worlds = {TOGETHER: World(rank, size), MEETING: Meeting(), APART: World()}
    rows = list(fit(recipe, data, worlds[how]))
    if rank == 0 or how != TOGETHER:
        torch.save(rows, folder / f"{rank}.pt")
    if size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
