"""What is sent to a worker and what comes back: one recipe to train, and a report after every epoch."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from raytl.data.album import Album
from raytl.data.store import FitData, build_store, open_data
from raytl.metric import find_metric
from raytl.recipe import Recipe
from raytl.results.schemas import EpochRow
from raytl.train.checkpoint import load_snapshot, save_snapshot
from raytl.train.final import FinalFigures, read_test_set
from raytl.train.guards import Diverged
from raytl.train.loop import Run
from raytl.train.memory import peak_bytes, reset_peak
from raytl.train.world import World


@dataclass(frozen=True)
class Job:
    """One recipe to be trained. `role` says who asked for it: searcher, default, probe or best."""

    trial_id: str
    stage: str
    role: str
    recipe: Recipe
    split: int = 0

    @property
    def reads_test_set(self) -> bool:
        """Only final models see test pictures, and once."""
        return self.stage == "confirm"


@dataclass(frozen=True)
class Workplace:
    """What all workers of a study share; small, since it travels to each of them.

    `albums` are the same pictures under each split. Decoded pictures lie in `cache` on every node.
    """

    albums: tuple[Album, ...]
    metric: str
    checkpoints: Path
    cache: Path
    threads: int
    use_gpu: bool

    def data(self, job: Job) -> FitData:
        """The pictures a job trains on, memory-mapped; opened once per process."""
        return _open(self.cache, self.albums[job.split], job.recipe.eval_resize)

    def device(self) -> torch.device:
        """The GPU that Ray has given to this process, or the processors."""
        return torch.device("cuda:0") if self.use_gpu else torch.device("cpu")


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

    `ended` is None while the job goes on, else completed or diverged. `test` comes with the last report of a final
    model; `row` is None where the loss stopped being a number within the epoch.
    """

    job: Job
    row: EpochRow | None
    facts: RunFacts
    ended: str | None = None
    reason: str | None = None
    test: FinalFigures | None = None


def work(job: Job, workplace: Workplace, world: World) -> Iterator[Report]:
    """Trains a job from its checkpoint, if there is one, and yields a report per epoch, checkpoint written first."""
    torch.set_num_threads(workplace.threads)
    reset_peak(world.device)
    folder = workplace.checkpoints / job.trial_id
    run = Run(
        job.recipe,
        workplace.data(job),
        world,
        load_snapshot(folder),
        metric=find_metric(workplace.metric),
        trial_id=job.trial_id,
    )
    try:
        for row in run.epochs():
            if world.is_main:
                row = replace(row, checkpoint=save_snapshot(folder, run.snapshot()))
            yield _report(job, run, row)
    except Diverged as error:
        yield Report(job, None, _facts(run), ended="diverged", reason=str(error))


def _report(job: Job, run: Run, row: EpochRow) -> Report:
    if not run.finished:
        return Report(job, row, _facts(run))
    test = read_test_set(run) if job.reads_test_set else None
    return Report(job, row, _facts(run), ended="completed", test=test)


def _facts(run: Run) -> RunFacts:
    return RunFacts(
        node=socket.gethostname(),
        precision=run.precision.name,
        peak_memory_bytes=peak_bytes(run.world.device),
        notes=tuple(run.notes),
        weights=vars(run.model.weights),
    )


@cache
def _open(cache_folder: Path, album: Album, resize: int) -> FitData:
    return open_data(album, build_store(album, resize, cache_folder))


def stop_together(stop: bool, world: World) -> bool:
    """Rank 0's decision on every worker."""
    flag = torch.tensor([float(stop and world.is_main)], device=world.device)
    return bool(world.sum(flag).item() > 0)
