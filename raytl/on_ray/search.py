"""The search: one Tune experiment with all backbones of a study in parallel."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import FailureConfig, RunConfig, TuneConfig, TuneError, Tuner

from raytl.errors import RaytlError
from raytl.on_ray.bridge import Bridge, StudyScheduler, TuneEvents
from raytl.on_ray.cluster import Slots
from raytl.on_ray.ddp import Decisions, Group, group_resources, train_group
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.job import Report, Workplace
from raytl.on_ray.ladder import climb
from raytl.on_ray.plan import Plan
from raytl.on_ray.proposals import STAGE, Proposals
from raytl.on_ray.schedulers import make_scheduler
from raytl.on_ray.trial import WarmTrial
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Recorder
from raytl.results.schemas import TrialRow
from raytl.study import LADDER

RUNG_SHARE = 9  # measured on recorded curves: a first comparison after a ninth of the epochs loses least for its work
RETRIES = 2  # chosen: how often a trial whose worker died is begun again, from its last recorded epoch
RAY_FOLDER = ".ray"  # Tune's own files while it runs; nothing is ever read from them


def search(
    plan: Plan, recorder: Recorder, folder: StudyFolder, workplace: Workplace, slots: Slots, deadline: Deadline
) -> None:
    """Runs the study's search trials and records them; returns when trials, space or time are used up."""

    def on_end(trial: TrialRow, report: Report | None) -> None:
        proposals.tell(trial)
        keeper.ended(trial)

    bridge = Bridge(plan, recorder, slots.workers, deadline, on_end)
    decisions = Decisions.remote() if slots.workers > 1 else None  # type: ignore[attr-defined]
    scheduler = make_study_scheduler(plan, bridge, decisions)
    scheduler.replay(recorder)
    parts = plan.backbones if plan.study.policy == LADDER else ()
    rungs = {part.backbone: climb(part, recorder, plan.study) for part in parts}
    proposals, keeper = Proposals(plan, recorder, deadline, rungs), Keeper(folder.checkpoints, recorder)
    run_tune(
        trainable(workplace, slots, folder, decisions),
        RunConfig(
            name="search",
            storage_path=str(ray_folder(folder)),
            callbacks=[TuneEvents(bridge)],
            verbose=0,
        ),
        TuneConfig(
            search_alg=proposals,
            scheduler=scheduler,
            num_samples=plan.trial_count,
            max_concurrent_trials=slots.count,
            reuse_actors=slots.workers == 1,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
    )


class Keeper:
    """Removes checkpoints of search trials that are over, but for the best one of each backbone."""

    def __init__(self, checkpoints: Path, recorder: Recorder) -> None:
        self._checkpoints, self._recorder = checkpoints, recorder
        self._best: dict[str, TrialRow] = {}
        for trial in recorder.trials.values():  # of an earlier run of the study
            if trial.stage == STAGE and trial.status != "running":
                self.ended(trial)

    def ended(self, trial: TrialRow) -> None:
        """Keeps the better of a trial and its backbone's best so far."""
        best = self._best.get(trial.backbone)
        usable = trial.status in ("completed", "stopped")
        if usable and (best is None or self._recorder.metric.key(trial) < self._recorder.metric.key(best)):
            self._best[trial.backbone] = trial
            self._remove(best)
        else:
            self._remove(trial)

    def _remove(self, trial: TrialRow | None) -> None:
        if trial is not None:
            shutil.rmtree(self._checkpoints / trial.trial_id, ignore_errors=True)


def trainable(workplace: Workplace, slots: Slots, folder: StudyFolder, decisions: Any) -> Any:
    """What Tune runs for a trial: a warm actor for one worker, a waiting function with a group for more."""
    if slots.workers == 1:
        share: dict[str, float] = {"CPU": slots.cpus_per_worker, **({"GPU": 1.0} if slots.use_gpu else {})}
        return tune.with_resources(tune.with_parameters(WarmTrial, workplace=workplace), share)
    group = Group(slots.workers, slots.cpus_per_worker, slots.use_gpu)
    function = tune.with_parameters(
        train_group, workplace=workplace, group=group, runs=ray_folder(folder) / "train", decisions=decisions
    )
    return tune.with_resources(function, group_resources())


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


def make_study_scheduler(plan: Plan, bridge: Bridge, decisions: Any) -> StudyScheduler:
    """The study's scheduler; its first rung lies at a ninth of the longest run."""
    study = plan.study
    longest = max(part.default.epochs for part in plan.backbones)
    grace = max(1, longest // RUNG_SHARE)
    make_child = partial(make_scheduler, study.scheduler, longest, study.seed, study.brackets, grace)
    return StudyScheduler(make_child, bridge, study.rungs_per_backbone, decisions)
