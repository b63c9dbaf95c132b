"""A study's stages as one Tune experiment: what Tune runs, with which resources, and how it is told what to do."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import FailureConfig, RunConfig, TuneConfig, TuneError, Tuner

from raytl.errors import RaytlError
from raytl.noise import is_wanted
from raytl.on_ray.bridge import Bridge
from raytl.on_ray.cluster import Slots
from raytl.on_ray.ddp import Group, GroupTrial, group_resources
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.fleet import NO_FLEET, Fleet
from raytl.on_ray.hooks import StudyScheduler, TuneEvents
from raytl.on_ray.job import Workplace
from raytl.on_ray.plan import Plan
from raytl.on_ray.schedulers import make_scheduler
from raytl.on_ray.stages import Stage, Stages
from raytl.on_ray.warm import WarmTrial
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Recorder

RUNG_SHARE = 9  # measured on recorded curves: a first comparison after a ninth of the epochs loses least for its work
RETRIES = 2  # chosen: how often a trial whose worker died is begun again, from its last recorded epoch
TUNE_LOGGER = "ray.tune.execution.tune_controller"  # prints a traceback for each worker that died; ours is a row
RAY_FOLDER = ".ray"  # Tune's own files while it runs; nothing is ever read from them


def run_stages(
    stages: Iterable[Callable[[], Stage]],
    plan: Plan,
    recorder: Recorder,
    folder: StudyFolder,
    workplace: Workplace,
    slots: Slots,
    deadline: Deadline,
    fleet: Fleet = NO_FLEET,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Goes through the stages, records their trials, and returns when the last is over."""
    bridge = Bridge(
        plan, recorder, slots.workers, deadline, lambda trial, report: searcher.trial_ended(trial, report), fleet
    )
    scheduler = make_study_scheduler(plan, bridge, slots.count, say)
    scheduler.replay(recorder)
    searcher = Stages(stages)
    run_tune(
        trainable(workplace, slots, folder),
        RunConfig(
            name="study",
            storage_path=str(ray_folder(folder)),
            callbacks=[TuneEvents(bridge, searcher.chore_ended)],
            verbose=0,
        ),
        TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,  # until the searcher says that it has finished
            max_concurrent_trials=slots.count,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
    )


def trainable(workplace: Workplace, slots: Slots, folder: StudyFolder) -> Any:
    """What Tune runs for a task: a warm actor for one worker, an actor with a standing group for more."""
    if slots.workers == 1:
        share = {"CPU": float(slots.cpus_per_worker), **({"GPU": slots.gpus_per_worker} if slots.use_gpu else {})}
        return tune.with_resources(tune.with_parameters(WarmTrial, workplace=workplace), share)
    group = Group(slots.workers, slots.cpus_per_worker, slots.use_gpu, workplace.peer_timeout_seconds)
    parameters = tune.with_parameters(GroupTrial, workplace=workplace, group=group, runs=ray_folder(folder) / "train")
    return tune.with_resources(parameters, group_resources())


def ray_folder(folder: StudyFolder) -> Path:
    """Where Tune keeps its own files while it runs, as a whole path: Ray takes others for addresses."""
    return (folder.root / RAY_FOLDER).resolve()


def run_tune(trainable: Any, run_config: RunConfig, tune_config: TuneConfig) -> None:
    """One Tune experiment; errors of single trials are recorded by its callbacks and do not end it.

    A trial whose worker died begins again, some times. Of an error of ours in a callback Tune makes a text; it is
    raised as it was.

    Tune's own files are removed afterwards: nothing is ever read from them.
    """
    run_config.failure_config = FailureConfig(max_failures=RETRIES)
    if not is_wanted():
        logging.getLogger(TUNE_LOGGER).setLevel(logging.CRITICAL)
    try:
        Tuner(trainable, tune_config=tune_config, run_config=run_config).fit()
    except TuneError as error:
        raise _ours_in(error) or error from None
    finally:
        shutil.rmtree(str(run_config.storage_path), ignore_errors=True)


def _ours_in(error: BaseException | None) -> RaytlError | None:
    """The error of ours while handling which Tune raised its own."""
    while error is not None and not isinstance(error, RaytlError):
        error = error.__context__
    return error


def make_study_scheduler(
    plan: Plan, bridge: Bridge, workers_kept: int, say: Callable[[str], None] = lambda line: None
) -> StudyScheduler:
    """The study's scheduler; its first rung lies at a ninth of the longest run."""
    study = plan.study
    longest = max(part.default.epochs for part in plan.backbones)
    grace = max(1, longest // RUNG_SHARE)
    make_child = partial(make_scheduler, study.scheduler, longest, study.seed, study.brackets, grace)
    return StudyScheduler(make_child, bridge, study.rungs_per_backbone, workers_kept, say)
