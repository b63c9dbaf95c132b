"""Recorded training runs to replay searches with: read, cut into epochs, and placed in a search space.

The runs are those of the AlgoPerf benchmark's public logs (mlcommons/submissions_algorithms, Apache-2.0); the names of
runs and hyperparameters are theirs.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from raytl.space import Choices, Domain, LogUniform, Space, Uniform, Value, Values

FILE = "imagenet_runs.parquet"
POOLS = {"imagenet_resnet": "ResNet-50, ImageNet", "imagenet_vit": "ViT, ImageNet"}
EPOCHS = 27  # chosen: equal parts of a run, so that rungs fall on whole epochs
NEAR = 0.005  # half a point of accuracy
SUBMISSION = "weights"  # a space holds fields of recipes only: this one, a text, stands for the submission
HYPERPARAMETERS = {  # field of a recipe: names that submissions give it
    "lr": ("learning_rate",),
    "weight_decay": ("weight_decay", "l2"),
    "label_smoothing": ("label_smoothing",),
    "dropout": ("dropout_rate",),
}
# <submission>/study_<repetition>/<workload>_<framework>/trial_<setting>
RUN_NAME = re.compile(r"(?P<submission>.+)/study_\d+/\w+_(?P<framework>jax|pytorch)/trial_\d+")


@dataclass(frozen=True)
class Run:
    """One recorded run: its score after each epoch, and its point in the searcher's space."""

    name: str
    scores: tuple[float, ...]
    point: Values


@dataclass(frozen=True)
class Pool:
    """All recorded runs of one workload."""

    name: str
    runs: tuple[Run, ...]

    @cached_property
    def target(self) -> float:
        """The score at which a search has come near enough."""
        return max(max(run.scores) for run in self.runs) - NEAR

    @cached_property
    def space(self) -> Space:
        """The submissions there are, and each number between its ends."""
        domains: dict[str, Domain] = {
            SUBMISSION: Choices(tuple(sorted({str(run.point[SUBMISSION]) for run in self.runs})))
        }
        for name in HYPERPARAMETERS:
            values = [_float(run.point[name]) for run in self.runs]
            kind = LogUniform if min(values) > 0 else Uniform
            domains[name] = kind(min(values), max(values))
        return Space(domains)

    def distance(self, one: Values, other: Values) -> float:
        """Sum over the fields: 1 for another submission, else the part of the range that lies between."""
        domains = self.space.domains
        parts = [abs(_place(domains[name], one[name]) - _place(domains[name], other[name])) for name in HYPERPARAMETERS]
        return sum(parts) + (one[SUBMISSION] != other[SUBMISSION])


def read_pools(file: Path) -> list[Pool]:
    """The recorded runs of each workload."""
    frame = pq.read_table(file, columns=["run", "workload", "hyperparameters", "step", "val_accuracy"]).to_pandas()
    return [_pool(name, frame[frame["workload"] == name]) for name in POOLS]


def _pool(name: str, frame: Any) -> Pool:
    runs = []
    for run, rows in frame.groupby("run", observed=True, sort=True):
        points = sorted(zip(rows["step"], rows["val_accuracy"], strict=True))
        runs.append(Run(run, resampled(points), point_of(run, json.loads(rows["hyperparameters"].iloc[0]))))
    medians = {
        field: statistics.median(_float(run.point[field]) for run in runs if run.point[field] is not None)
        for field in HYPERPARAMETERS
    }
    filled = (replace(run, point={**run.point, **_missing(run.point, medians)}) for run in runs)
    return Pool(name, tuple(filled))


def _missing(point: Values, medians: Mapping[str, float]) -> Values:
    return {name: value for name, value in medians.items() if point[name] is None}


def point_of(run: str, hyperparameters: Mapping[str, float]) -> Values:
    """What the searcher sees of a run; None for a number that its submission does not have."""
    match = RUN_NAME.fullmatch(run)
    if match is None:
        raise ValueError(f"run {run!r}: not named <submission>/study_<n>/<workload>_<framework>/trial_<n>")
    numbers = {
        field: next((hyperparameters[name] for name in names if name in hyperparameters), None)
        for field, names in HYPERPARAMETERS.items()
    }
    return {SUBMISSION: f"{match['submission']} ({match['framework']})", **numbers}


def _float(value: Value) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _place(domain: Domain, value: Value) -> float:
    """Where a value lies in its domain, from 0 to 1."""
    assert isinstance(domain, LogUniform | Uniform)
    change = math.log if isinstance(domain, LogUniform) else float
    low, high = change(domain.low), change(domain.high)
    return (change(_float(value)) - low) / (high - low)


def resampled(points: list[tuple[int, float]]) -> tuple[float, ...]:
    """The last score measured by the end of each of the run's equal parts."""
    length = points[-1][0]
    ends = [length * epoch / EPOCHS for epoch in range(1, EPOCHS + 1)]
    return tuple([score for step, score in points if step <= end or step == points[0][0]][-1] for end in ends)
