"""A student trained by the study's own loop, recorded epoch by epoch as other trials are, and tested once."""

from __future__ import annotations

import json
import shutil
import socket
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from raytl.data.store import FitData
from raytl.identity import distilled_hash, distilled_id
from raytl.metric import Metric
from raytl.models.cost import facts_of
from raytl.recipe import Recipe
from raytl.results.final_figures import tested_rows
from raytl.results.recorder import Ending, Recorder
from raytl.results.schemas import DISTILL, DISTILLED, TrialRow
from raytl.train.cache import PrefixCache
from raytl.train.checkpoint import Snapshot, latest_snapshot, save_snapshot
from raytl.train.distillation import Teaching
from raytl.train.final import read_test_set
from raytl.train.guards import Diverged
from raytl.train.loop import Run
from raytl.train.memory import peak_bytes, reset_peak
from raytl.train.world import World


@dataclass(frozen=True, eq=False)
class Lesson:
    """All that students of one teacher share; `teacher` is the name of its run, `checkpoints` the study's folder."""

    study: str
    teacher: str
    teaching: Teaching
    data: FitData
    world: World
    metric: Metric
    checkpoints: Path
    split: int = 0
    cache: PrefixCache | None = None


def student_row(lesson: Lesson, recipe: Recipe) -> TrialRow:
    """The row of a student that begins now; of the same teacher, recipe and pictures it has the same name."""
    facts, depth, teaching = facts_of(recipe, len(lesson.data.classes)), recipe.freeze_depth, lesson.teaching
    student = distilled_hash(recipe, lesson.data.fingerprint, lesson.teacher, teaching.temperature, teaching.weight)
    return TrialRow(
        study=lesson.study,
        trial_id=distilled_id(student, recipe.seed),
        recipe_hash=student,
        tune_trial_id=None,
        stage=DISTILL,
        backbone=recipe.backbone,
        status="running",
        started_at=datetime.now(UTC),
        freeze_depth=depth,
        frozen_fraction=facts.frozen_fractions[depth],
        trainable_parameters=facts.trainable_parameters[depth],
        parameters=facts.parameters,
        split=lesson.split,
        origin=DISTILLED,
        recipe=recipe,
    )


def teach(lesson: Lesson, trial: TrialRow, recorder: Recorder) -> TrialRow:
    """Trains one student, from its checkpoint where it was begun before, tests it, and returns how it ended.

    Of one that diverges no test is read. Killed at any moment, the same call goes on.
    """
    folder = lesson.checkpoints / trial.trial_id
    resume = _resumable(folder, len(recorder.epochs.get(trial.trial_id, ())))
    recorder.start(trial)
    reset_peak(lesson.world.device)
    try:
        run = _run(lesson, trial, resume)
        for row in run.epochs():
            recorder.epoch(replace(row, checkpoint=save_snapshot(folder, run.snapshot())))
    except Diverged as error:
        return recorder.end(trial.trial_id, Ending("diverged", str(error), node=socket.gethostname()))
    test, best = read_test_set(run), recorder.best_epoch(trial.trial_id)
    assert best is not None, "a run that was not diverging has a best epoch"
    ended = recorder.end(trial.trial_id, _ending(run))
    tested, predictions = tested_rows(ended, best, test, lesson.data.classes)
    recorder.confirmed(replace(tested, members=json.dumps({lesson.teacher: 1.0})), predictions)
    return ended


def _run(lesson: Lesson, trial: TrialRow, resume: Snapshot | None) -> Run:
    return Run(
        trial.recipe,
        lesson.data,
        lesson.world,
        resume,
        metric=lesson.metric,
        trial_id=trial.trial_id,
        cache=lesson.cache,
        teaching=lesson.teaching,
    )


def _ending(run: Run) -> Ending:
    return Ending(
        "completed",
        "; ".join(run.notes) or None,
        node=socket.gethostname(),
        precision_used=run.precision.name,
        peak_memory_bytes=peak_bytes(run.world.device),
        stored_bytes=run.fronts.stored_bytes,
    )


def _resumable(folder: Path, recorded_epochs: int) -> Snapshot | None:
    """A checkpoint that is not ahead of the record; what cannot be gone on from must not pass for the new run's."""
    snapshot = latest_snapshot(folder, recorded_epochs)[0] if recorded_epochs else None
    if snapshot is None:
        shutil.rmtree(folder, ignore_errors=True)
    return snapshot
