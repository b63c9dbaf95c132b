"""What is sent to a worker and what comes back. Imports no torch: several processes only pass these things on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from raytl.data.album import Album
from raytl.recipe import Recipe
from raytl.results.final_figures import FinalFigures
from raytl.results.schemas import EpochRow
from raytl.train.cache import PrefixCache

UNWRITABLE = "unwritable"  # how a job ends whose checkpoint cannot be written: its trial goes on when the study does


@dataclass(frozen=True)
class Job:
    """One recipe to be trained. `role` says why: searcher, default, probe, size, head, deepened or best.

    `recorded_epochs` of it are in the ledger already, from an earlier run of the study or an attempt that died;
    attempts count from 1.
    """

    trial_id: str
    stage: str
    role: str
    recipe: Recipe
    split: int = 0
    recorded_epochs: int = 0
    attempt: int = 1

    @property
    def reads_test_set(self) -> bool:
        """Only final models see test pictures, and once."""
        return self.stage == "confirm"


@dataclass(frozen=True)
class Workplace:
    """What all workers of a study share; small, since it travels to each of them.

    `albums` are the same pictures under each split. Decoded pictures lie in `cache` on every node, and so does what
    frozen stages make of them, in `prefixes`.
    """

    albums: tuple[Album, ...]
    metric: str
    checkpoints: Path
    cache: Path
    threads: int
    use_gpu: bool
    prefixes: PrefixCache | None = None


@dataclass(frozen=True)
class RunFacts:
    """What a worker found out about a run, beside its epochs."""

    node: str
    precision: str
    peak_memory_bytes: int | None
    notes: tuple[str, ...]
    weights: Mapping[str, object]


@dataclass(frozen=True)
class Report:
    """One epoch of a job, or how it ended without one.

    `ended` is None while the job goes on, else completed, diverged, failed or `UNWRITABLE`. `test` comes with the last
    report of a final model; `row` is None where an epoch was not finished, or where nothing was left to train.
    """

    job: Job
    row: EpochRow | None
    facts: RunFacts
    ended: str | None = None
    reason: str | None = None
    test: FinalFigures | None = None
