"""Learning curves to replay searches with, recorded and made up, and the stand-ins of Tune that carry them."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray.tune.schedulers import TrialScheduler

from raytl.on_ray.schedulers import BackboneSchedulers

SLOTS = 4  # trials that run at a time
BACKBONES = {"imagenet_resnet": "resnet50", "imagenet_vit": "vit_small_patch16_224"}


@dataclass(frozen=True)
class Curve:
    """One run: a score for each epoch, more is better."""

    name: str
    backbone: str
    scores: tuple[float, ...]


def recorded_curves(epochs: int) -> list[Curve]:
    """Real curves of ImageNet training, each run's own length cut into `epochs` equal parts.

    Skips the test where the recordings are not at hand.
    """
    folder = os.environ.get("RAYTL_TEST_DATA")
    if not folder or not (Path(folder) / "curves").is_dir():
        pytest.skip("RAYTL_TEST_DATA names no folder with recorded curves")
    return _read(Path(folder) / "curves" / "imagenet_runs.parquet", epochs)


def synthetic_curves(count: int, epochs: int, seed: int, backbones: tuple[str, ...] = ("a", "b")) -> list[Curve]:
    """Saturating curves of random height and speed, with noise; they cross, as real ones do."""
    rng = random.Random(seed)
    curves = []
    for number in range(count):
        height, speed = rng.uniform(0.3, 0.95), rng.uniform(0.3, 3)
        scores = tuple(height * (1 - 2 ** (-speed * epoch)) + rng.gauss(0, 0.01) for epoch in range(1, epochs + 1))
        curves.append(Curve(f"run{number}", backbones[number % len(backbones)], scores))
    return curves


@cache
def _read(path: Path, epochs: int) -> list[Curve]:
    table = pq.read_table(path, columns=["run", "workload", "step", "val_accuracy"])
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    runs: dict[str, list[tuple[int, float]]] = {}
    kinds: dict[str, str] = {}
    rows = zip(*(columns[name].to_pylist() for name in ("run", "workload", "step", "val_accuracy")), strict=True)
    for run, kind, step, accuracy in rows:
        runs.setdefault(run, []).append((step, accuracy))
        kinds[run] = kind
    return [Curve(run, BACKBONES[kinds[run]], _resampled(sorted(points), epochs)) for run, points in runs.items()]


def _resampled(points: list[tuple[int, float]], epochs: int) -> tuple[float, ...]:
    """The last score measured by each of `epochs` equal parts of the run."""
    length = points[-1][0]
    return tuple(
        [score for step, score in points if step <= length * epoch / epochs or step == points[0][0]][-1]
        for epoch in range(1, epochs + 1)
    )


@dataclass(eq=False)
class StubTrial:
    """What the schedulers read of a trial of Tune."""

    trial_id: str
    config: dict[str, str]
    status: str = "PENDING"


@dataclass
class StubController:
    """What the schedulers read of Tune's controller."""

    trials: list[StubTrial] = field(default_factory=list)

    def get_trials(self) -> list[StubTrial]:
        """All trials in the order of their making."""
        return self.trials

    def get_live_trials(self) -> list[StubTrial]:
        """Those that have not ended."""
        return [trial for trial in self.trials if trial.status != "TERMINATED"]


class Replay:
    """Runs curves through a scheduler, several at a time, in a random order that the seed decides."""

    def __init__(self, scheduler: BackboneSchedulers, curves: Sequence[Curve], seed: int = 0) -> None:
        self.scheduler = scheduler
        self.rng = random.Random(seed)
        self.curves = {curve.name: curve for curve in curves}
        self.trials = [StubTrial(f"tune{i}", {"backbone": c.backbone, "name": c.name}) for i, c in enumerate(curves)]
        self.controller = StubController(self.trials)
        self.reached = dict.fromkeys(self.curves, 0)
        self.rows: list[tuple[Curve, int, str]] = []

    def run(self) -> Replay:
        """To the end of every trial; as in Tune, the scheduler chooses who starts."""
        for trial in self.trials:
            self.scheduler.on_trial_add(self.controller, trial)  # type: ignore[arg-type]
        running: list[StubTrial] = []
        while chosen := self._start(running):
            self._step(chosen, running)
        return self

    def _start(self, running: list[StubTrial]) -> StubTrial | None:
        while len(running) < SLOTS and (trial := self.scheduler.choose_trial_to_run(self.controller)) is not None:
            trial.status = "RUNNING"
            running.append(trial)  # type: ignore[arg-type]
        return self.rng.choice(running) if running else None

    def _step(self, trial: StubTrial, running: list[StubTrial]) -> None:
        curve = self.curves[trial.config["name"]]
        self.reached[curve.name] += 1
        epoch = self.reached[curve.name]
        result = {"epoch": epoch, "score": curve.scores[epoch - 1], "other": "ignored"}
        answer = self.scheduler.on_trial_result(self.controller, trial, result)  # type: ignore[arg-type]
        self.rows.append((curve, epoch, answer))
        if answer == TrialScheduler.STOP or epoch == len(curve.scores):
            self.scheduler.on_trial_complete(self.controller, trial, result)  # type: ignore[arg-type]
            trial.status = "TERMINATED"
            running.remove(trial)

    @property
    def answers(self) -> list[tuple[str, int, str]]:
        """Every decision in order."""
        return [(curve.name, epoch, answer) for curve, epoch, answer in self.rows]

    def best(self) -> float:
        """The best score at the end of a trial that ran its whole length."""
        return max(curve.scores[-1] for curve in self.curves.values() if self.reached[curve.name] == len(curve.scores))
