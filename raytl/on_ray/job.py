"""What is sent to a worker and what comes back. Imports no torch: several processes only pass these things on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from raytl.data.album import Album
from raytl.recipe import Recipe
from raytl.results.final_figures import FinalFigures
from raytl.results.histogram import Histogram
from raytl.results.schemas import CONFIRM, EpochRow
from raytl.train.cache import PrefixCache

UNWRITABLE = "unwritable"  # how a job ends whose checkpoint cannot be written: its trial goes on when the study does


@dataclass(frozen=True)
class Twin:
    """A run of another stage with the recipe, seed and pictures of a job, which is the same work: its recorded epochs.

    The job takes them over with the run's checkpoint, where that is there, and goes on from it. `notes` are what was
    said of a run that came to its end.
    """

    trial_id: str
    epochs: tuple[EpochRow, ...]
    notes: tuple[str, ...] = ()


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
    twin: Twin | None = None

    @property
    def backbone(self) -> str:
        """Whose recipe it is."""
        return self.recipe.backbone

    @property
    def reads_test_set(self) -> bool:
        """Only final models see test pictures, and once."""
        return self.stage == CONFIRM


@dataclass(frozen=True)
class Workplace:
    """What all workers of a study share; small, since it travels to each of them.

    `albums` are the same pictures under each split. Decoded pictures lie in `cache` on every node, and so does what
    frozen stages make of them, in `prefixes`; so do the pictures of the archives and samples that `sources` names:
    each node unpacks or draws them when it first needs them. At most `store_limit_bytes` of decoded pictures are kept
    on a node (None: as the disk allows), others are decoded as they are read. Workers of one trial wait
    `peer_timeout_seconds` for each other.
    """

    albums: tuple[Album, ...]
    metric: str
    checkpoints: Path
    cache: Path
    threads: int
    use_gpu: bool
    prefixes: PrefixCache | None = None
    peer_timeout_seconds: float = 300.0
    weight_histograms: bool = False
    sources: tuple[str, ...] = ()
    store_limit_bytes: int | None = None


class Chore(Protocol):
    """Work for a worker that is no trial and leaves no row: what it gives goes back to the stage that asked for it."""

    @property
    def backbone(self) -> str:
        """Whose work it is."""

    def do(self, workplace: Workplace) -> object:
        """Does it, on one worker."""


@dataclass(frozen=True)
class Done:
    """What became of a chore: its value, or why there is none, and how long it took."""

    chore: Chore
    value: object = None
    reason: str | None = None
    seconds: float = field(default=0.0, compare=False)  # measured: no two are alike

    @property
    def ended(self) -> str:
        """As a trial's report says it; a chore has but one."""
        return "completed" if self.reason is None else "failed"


Task = Job | Chore


@dataclass(frozen=True)
class RunFacts:
    """What a worker found out about a run, beside its epochs."""

    node: str
    precision: str
    peak_memory_bytes: int | None
    notes: tuple[str, ...]
    stored_bytes: int | None = None
    node_id: str = ""


@dataclass(frozen=True)
class Report:
    """One epoch of a job, or how it ended without one.

    `ended` is None while the job goes on, else completed, diverged, failed or `UNWRITABLE`. `test` comes with the last
    report of a final model, `weights` where they are wanted; `row` is None where an epoch was not finished, or where
    nothing was left to train. A group that had no machine yet left its task waiting for `waited_seconds`.
    """

    job: Job
    row: EpochRow | None
    facts: RunFacts
    ended: str | None = None
    reason: str | None = None
    test: FinalFigures | None = None
    weights: tuple[Histogram, ...] = ()
    waited_seconds: float = field(default=0.0, compare=False)  # measured, as above
