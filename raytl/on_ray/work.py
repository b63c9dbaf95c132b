"""What a worker does with a job, in a warm actor and in a group alike."""

from __future__ import annotations

import math
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from raytl.data.album import Album
from raytl.data.location import locate
from raytl.data.store import FitData, store_path
from raytl.errors import StorageError
from raytl.metric import Figures, Metric, find_metric
from raytl.on_ray.fleet import own_node
from raytl.on_ray.job import Job, Report, RunFacts, Twin, Workplace
from raytl.recipe import Recipe
from raytl.results.histogram import Histogram
from raytl.results.schemas import EpochRow
from raytl.train.checkpoint import Snapshot, latest_snapshot, save_snapshot
from raytl.train.device import resolve_precision
from raytl.train.final import read_test_set
from raytl.train.folds import cross_validate
from raytl.train.guards import Diverged
from raytl.train.histograms import weight_histograms
from raytl.train.keeping import keep
from raytl.train.loop import Run
from raytl.train.memory import peak_bytes, release, reset_peak
from raytl.train.probing import HeadEvent, fill_views, fit_heads
from raytl.train.world import World

SMALL = 1000  # chosen: validation pictures, below which half a point is less than five of them
HALVED = "from then on batches were shown in two parts"
DAMAGED = ".damaged"  # what the folder of a checkpoint that cannot be used is renamed to
CLOSER = 32  # chosen: a quarter of the heads of a backbone


def _own_folder(job: Job, workplace: Workplace) -> Path:
    """The trial's folder for checkpoints.

    Raises:
        StorageError: the study's folder is not on this machine, which may have joined after all others were asked.
    """
    if not workplace.checkpoints.is_dir():
        raise StorageError(
            f"{workplace.checkpoints} is not on {socket.gethostname()}; put the study on storage that all machines "
            "share, with --out"
        )
    return workplace.checkpoints / job.trial_id


def work(job: Job, workplace: Workplace, world: World, notes: tuple[str, ...] = ()) -> Iterator[Report]:
    """Trains a job from its checkpoint, if there is one, and yields a report per epoch, checkpoint written first.

    Where the memory of one worker's device runs out, it goes on once with batches in two parts. `notes` are sentences
    about what happened before.
    """
    torch.set_num_threads(workplace.threads)
    reset_peak(world.device)
    folder = _own_folder(job, workplace)
    resume, damage = _resumable(job, folder, world)
    taken = None if resume else _taken_over(job, workplace)
    notes, done, run = (*notes, *damage), job.recorded_epochs, None
    try:
        run = _run(job, workplace, world, resume or taken)
        if taken and job.twin:
            yield from _reports_of_twin(job, job.twin, run, folder, (*notes, *job.twin.notes))
            done = max(done, taken.epoch)
        elif run.finished:  # a kill fell between the last epoch and the trial's end
            yield _report(job, run, None, notes)
        for row in run.epochs():
            weights: tuple[Histogram, ...] = ()
            if world.is_main:
                row = replace(row, checkpoint=save_snapshot(folder, run.snapshot()), attempt=job.attempt)
                weights = weight_histograms(run.model) if workplace.weight_histograms else ()
            report = _report(job, run, row, notes)
            done = max(done, row.epoch)  # not before: where the test set does not fit, the epoch is not reported
            yield replace(report, weights=weights)
        return
    except Diverged as error:
        yield Report(job, None, _facts(job, run, notes, world), ended="diverged", reason=str(error))
        return
    except torch.OutOfMemoryError as error:
        if world.size > 1 or world.micro_batches > 1:
            raise
        notes = (*notes, f"memory ran out in epoch {done + 1} ({str(error).splitlines()[0]}); {HALVED}")
    run = None
    release(world.device)
    yield from work(replace(job, recorded_epochs=done), workplace, replace(world, micro_batches=2), notes)


def _run(job: Job, workplace: Workplace, world: World, resume: Snapshot | None) -> Run:
    return Run(
        job.recipe,
        pictures_of(job, workplace),
        world,
        resume,
        metric=find_metric(workplace.metric),
        trial_id=job.trial_id,
        cache=workplace.prefixes,
    )


def store_views(workplace: Workplace, recipe: Recipe, views: Sequence[int], depths: Sequence[int]) -> None:
    """Computes what the frozen stages of `recipe` make of the pictures in `views` (0: as evaluated) for all who follow.

    The evaluation's view is stored of training and validation pictures, the others of training pictures; what lies
    behind `depths` in passing.
    """
    torch.set_num_threads(workplace.threads)
    data = _pictures(workplace, recipe.eval_resize)
    world = World(device=device_of(workplace))
    if workplace.prefixes is not None:
        fill_views(recipe, data, world, workplace.prefixes, views, depths)


def head_losses(workplace: Workplace, recipes: Sequence[Recipe]) -> list[float]:
    """The loss of each head-only recipe on pictures that it has not seen; infinite where it diverges.

    Cross-validated inside the training set where the validation set is small, else on the validation set.
    """
    torch.set_num_threads(workplace.threads)
    world, metric = World(device=device_of(workplace)), find_metric(workplace.metric)
    losses = []
    for recipe in recipes:
        data = _pictures(workplace, recipe.eval_resize)
        if len(data.val) < SMALL:
            figures = cross_validate({"": recipe}, data, world, metric, workplace.prefixes).get("")
            losses.append(figures.val_loss if figures else math.inf)
        else:
            epochs = fit_heads({"": recipe}, data, world, metric, workplace.prefixes)
            rows = [event.row for events in epochs for event in events]
            losses.append(min((row.val_loss for row in rows if row), default=math.inf))
    return losses


def train_heads(workplace: Workplace, jobs: Sequence[Job]) -> tuple[str, list[HeadEvent], dict[str, Figures]]:
    """Trains head-only jobs of one backbone together; the number format used, all that happened, and a closer look.

    Where the validation set is small, the best of the heads and those that were asked for by name are cross-validated.
    """
    torch.set_num_threads(workplace.threads)
    world, metric, events = World(device=device_of(workplace)), find_metric(workplace.metric), list[HeadEvent]()
    crossed: dict[str, Figures] = {}
    for resize in sorted({job.recipe.eval_resize for job in jobs}):
        data = _pictures(workplace, resize)
        recipes = {job.trial_id: job.recipe for job in jobs if job.recipe.eval_resize == resize}
        for epoch in fit_heads(recipes, data, world, metric, workplace.prefixes):
            events += epoch
    closer = _closer_look(jobs, events, metric)
    for resize in sorted({job.recipe.eval_resize for job in closer}):
        data = _pictures(workplace, resize)
        recipes = {job.trial_id: job.recipe for job in closer if job.recipe.eval_resize == resize}
        if len(data.val) < SMALL:
            crossed |= cross_validate(recipes, data, world, metric, workplace.prefixes)
    return resolve_precision(jobs[0].recipe.precision, world.device).name, events, crossed


def _closer_look(jobs: Sequence[Job], events: Sequence[HeadEvent], metric: Metric) -> list[Job]:
    """Jobs that were asked for by name, and the best of the others."""
    best = {event.trial_id: event.row for event in events if event.row is not None and event.row.is_best}
    whole = {event.trial_id for event in events if event.ended == "completed"}
    ranked = sorted((job for job in jobs if job.trial_id in whole), key=lambda job: metric.key(best[job.trial_id]))
    return [job for place, job in enumerate(ranked) if place < CLOSER or job.role in ("probe", "size", "head")]


def device_of(workplace: Workplace) -> torch.device:
    """The GPU that Ray has given to this process, or the processors."""
    return torch.device("cuda:0") if workplace.use_gpu else torch.device("cpu")


def _resumable(job: Job, folder: Path, world: World) -> tuple[Snapshot | None, tuple[str, ...]]:
    """The newest whole checkpoint that is not ahead of the record, and what was found damaged.

    One of an epoch that was never recorded would leave a gap in the record; epochs that are trained again are recorded
    already, and the first row counts. Where nothing can be gone on from, the run begins anew and its folder must not
    pass for the old run's: it is removed, or set aside where it is damaged.
    """
    snapshot, damage = latest_snapshot(folder, job.recorded_epochs) if job.recorded_epochs else (None, ())
    if snapshot is not None or not world.is_main:
        return snapshot, damage
    aside = folder.with_name(f"{folder.name}{DAMAGED}")
    if damage:
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        return None, (*damage, f"set aside as {aside.name}; begun again")
    shutil.rmtree(folder, ignore_errors=True)
    return None, ()


def _taken_over(job: Job, workplace: Workplace) -> Snapshot | None:
    """Where the job's twin left off, unless its checkpoint is not whole."""
    if job.twin is None:
        return None
    reached = len(job.twin.epochs)
    snapshot, _ = latest_snapshot(workplace.checkpoints / job.twin.trial_id, reached)
    return snapshot if snapshot and snapshot.epoch == reached else None


def _reports_of_twin(job: Job, twin: Twin, run: Run, folder: Path, notes: tuple[str, ...]) -> Iterator[Report]:
    """The epochs taken over, as the job's own; the checkpoint is the job's own, too, before the first of them."""
    if run.world.is_main:
        save_snapshot(folder, run.snapshot())
    rows = [replace(row, trial_id=job.trial_id, attempt=job.attempt) for row in twin.epochs]
    for row in rows[:-1]:
        yield Report(job, row, _facts(job, run, notes, run.world))
    yield _report(job, run, rows[-1], notes)


def _report(job: Job, run: Run, row: EpochRow | None, notes: tuple[str, ...]) -> Report:
    facts = _facts(job, run, notes, run.world)
    if not run.finished:
        return Report(job, row, facts)
    test = read_test_set(run) if job.reads_test_set else None
    return Report(job, row, facts, ended="completed", test=test)


def _facts(job: Job, run: Run | None, notes: tuple[str, ...], world: World) -> RunFacts:
    return RunFacts(
        node=socket.gethostname(),
        precision=resolve_precision(job.recipe.precision, world.device).name,
        peak_memory_bytes=peak_bytes(world.device),
        stored_bytes=run.fronts.stored_bytes if run else None,
        notes=(*notes, *(run.notes if run else ())),
        node_id=own_node(),
    )


def pictures_of(job: Job, workplace: Workplace) -> FitData:
    """The pictures that a job trains on; decoded first where this machine has not done so."""
    return _pictures(workplace, job.recipe.eval_resize, job.split)


def _pictures(workplace: Workplace, resize: int, split: int = 0) -> FitData:
    album, limit_bytes = workplace.albums[split], workplace.store_limit_bytes
    return open_pictures(workplace.cache, album, resize, workplace.sources, limit_bytes)


@lru_cache(maxsize=8)  # chosen: splits times sizes of a study; an entry is a few arrays over a memory map or files
def open_pictures(
    cache_folder: Path,
    album: Album,
    resize: int,
    sources: tuple[str, ...] = (),
    store_limit_bytes: int | None = None,
) -> FitData:
    """The pictures of an album as a run reads them; kept open in this process.

    Where this machine has not decoded them yet, it makes those `sources` first that lie in its own cache. Where they
    do not fit into its store of at most `store_limit_bytes`, they are decoded as they are read.
    """
    if not store_path(album, resize, cache_folder).is_dir():
        for source in sources:
            locate(source, cache_folder)
    return keep(album, resize, cache_folder, store_limit_bytes)
