"""What a worker does with a job, in a warm actor and in a group alike."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from raytl.data.album import Album
from raytl.data.store import FitData, build_store, open_data
from raytl.metric import find_metric
from raytl.on_ray.job import Job, Report, RunFacts, Workplace
from raytl.results.schemas import EpochRow
from raytl.train.checkpoint import Snapshot, load_snapshot, save_snapshot
from raytl.train.final import read_test_set
from raytl.train.guards import Diverged
from raytl.train.loop import Run
from raytl.train.memory import peak_bytes, reset_peak
from raytl.train.world import World


def work(job: Job, workplace: Workplace, world: World) -> Iterator[Report]:
    """Trains a job from its checkpoint, if there is one, and yields a report per epoch, checkpoint written first."""
    torch.set_num_threads(workplace.threads)
    reset_peak(world.device)
    folder = workplace.checkpoints / job.trial_id
    run = Run(
        job.recipe,
        _open(workplace.cache, workplace.albums[job.split], job.recipe.eval_resize),
        world,
        _resumable(job, folder),
        metric=find_metric(workplace.metric),
        trial_id=job.trial_id,
    )
    if run.finished:  # a kill fell between the last epoch and the trial's end
        yield _report(job, run, None)
    try:
        for row in run.epochs():
            if world.is_main:
                row = replace(row, checkpoint=save_snapshot(folder, run.snapshot()))
            yield _report(job, run, row)
    except Diverged as error:
        yield Report(job, None, _facts(run), ended="diverged", reason=str(error))


def device_of(workplace: Workplace) -> torch.device:
    """The GPU that Ray has given to this process, or the processors."""
    return torch.device("cuda:0") if workplace.use_gpu else torch.device("cpu")


def stop_together(stop: bool, world: World) -> bool:
    """Rank 0's decision on every worker."""
    flag = torch.tensor([float(stop and world.is_main)], device=world.device)
    return bool(world.sum(flag).item() > 0)


def _resumable(job: Job, folder: Path) -> Snapshot | None:
    """The checkpoint, if it is that of the last recorded epoch: a later one would leave a gap in the record."""
    snapshot = load_snapshot(folder) if job.recorded_epochs else None
    if snapshot is not None and snapshot.epoch == job.recorded_epochs:
        return snapshot
    shutil.rmtree(folder, ignore_errors=True)  # the run begins anew; its files must not pass for the old run's
    return None


def _report(job: Job, run: Run, row: EpochRow | None) -> Report:
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


@lru_cache(maxsize=8)  # chosen: splits times sizes of a study; an entry is a few arrays over a memory map
def _open(cache_folder: Path, album: Album, resize: int) -> FitData:
    return open_data(album, build_store(album, resize, cache_folder))
