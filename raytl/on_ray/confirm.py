"""The confirmation: the best recipes trained again under several seeds, each read once on the test set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ray.tune import Callback, RunConfig, TuneConfig
from ray.tune.schedulers import FIFOScheduler

from raytl.identity import recipe_hash, trial_id
from raytl.metric import Metric
from raytl.on_ray.bridge import Bridge
from raytl.on_ray.cluster import Slots
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.job import Job, Report, Workplace
from raytl.on_ray.live import Live
from raytl.on_ray.plan import Plan
from raytl.on_ray.probe import ranked_heads
from raytl.on_ray.proposals import Handout
from raytl.on_ray.results import REPORT
from raytl.on_ray.search import ray_folder, run_tune, trainable
from raytl.recipe import Recipe
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Recorder
from raytl.results.schemas import ConfirmedRow, PredictionRow, TrialRow
from raytl.study import LADDER

STAGE = "confirm"


def final_jobs(plan: Plan, recorder: Recorder) -> list[Job]:
    """What is to be confirmed: each backbone's best recipe and its linear probe, per seed and split.

    Jobs whose test figures are recorded already are left out: the test set is read once. Those that an earlier run of
    the study began go on from their checkpoints.
    """
    jobs = [
        _job(recorder, role, chosen.with_seed(plan.study.seed + index), split, album.fingerprint)
        for split, album in enumerate(plan.albums)
        for part in plan.backbones
        for role, chosen in _candidates(plan, recorder, part.backbone)
        for index in range(plan.study.confirm_seeds)
    ]
    return [job for job in jobs if job.trial_id not in recorder.confirmed_ids]


def _job(recorder: Recorder, role: str, recipe: Recipe, split: int, fingerprint: str) -> Job:
    name = trial_id(recipe, fingerprint, STAGE)
    return Job(name, STAGE, role, recipe, split, recorded_epochs=len(recorder.epochs.get(name, ())))


def confirm(plan: Plan, recorder: Recorder, folder: StudyFolder, workplace: Workplace, slots: Slots) -> None:
    """Trains and tests all final models: one by one in warm actors, or in as many groups of workers as there are slots.

    A group works through its share of the jobs, so that it is started once.
    """
    jobs = final_jobs(plan, recorder)
    if not jobs:
        return
    hands = [(job,) for job in jobs] if slots.workers == 1 else _dealt(jobs, slots.count)
    bridge = Bridge(
        plan, recorder, slots.workers, Deadline(None), lambda trial, report: _record_test(plan, recorder, trial, report)
    )
    run_tune(
        trainable(workplace, slots, folder, None),
        RunConfig(name="confirm", storage_path=str(ray_folder(folder)), callbacks=[FinalEvents(bridge)], verbose=0),
        TuneConfig(
            search_alg=Handout(
                {"job": hand[0], "jobs": hand, "name": f"confirm-{index}"} for index, hand in enumerate(hands)
            ),
            scheduler=FIFOScheduler(),
            num_samples=len(hands),
            max_concurrent_trials=slots.count,
            reuse_actors=slots.workers == 1,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
    )


def _dealt(jobs: Sequence[Job], count: int) -> list[tuple[Job, ...]]:
    return [tuple(jobs[start::count]) for start in range(min(count, len(jobs)))]


class FinalEvents(Live, Callback):
    """Tune's events about final models, of which a group works through several: one begins with its first report."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """A report of the job that the worker or group is at."""
        report: Report = result[REPORT]
        self._begin(report.job, trial)
        self._bridge.take(report)
        if report.ended:
            self._ended.add(report.job.trial_id)
            self._bridge.end(report.job)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """The worker or group died and begins again with what it had not finished."""
        left = tuple(self._bridge.again(job) for job in trial.config["jobs"] if job.trial_id not in self._ended)
        trial.config = {**trial.config, "job": left[0], "jobs": left} if left else trial.config

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """The worker or group died: what it had not finished has failed."""
        for job in trial.config["jobs"]:
            self._begin(job, trial)
            self._bridge.end(job, trial.get_error() or "the worker died")

    def _begin(self, job: Job, trial: Any) -> None:
        if job.trial_id not in self._begun:
            self._begun.add(job.trial_id)
            self._bridge.start(job, trial.trial_id)


def searched_trials(recorder: Recorder, backbone: str) -> list[TrialRow]:
    """The backbone's trials of the search that have a figure."""
    return [
        row
        for row in recorder.trials.values()
        if row.stage == "search" and row.backbone == backbone and row.status in ("completed", "stopped")
    ]


def _candidates(plan: Plan, recorder: Recorder, backbone: str) -> list[tuple[str, Recipe]]:
    """By role: the best of all, the best head where that is another one, and the linear probe.

    The search's best counts only where it has shown more than the best head: one that is no better costs more.
    """
    heads = ranked_heads(recorder, backbone)[:1]
    deeper = _worth_its_price(searched_trials(recorder, backbone), heads, plan, recorder.metric)
    recipes: dict[Recipe, str] = {plan.of(backbone).probe: "probe"}
    for role, trial in zip(("best", "head"), [*deeper, *heads], strict=False):
        recipes.setdefault(trial.recipe, role)
    return [(role, recipe) for recipe, role in reversed(recipes.items())] if deeper or heads else []


def _worth_its_price(
    trials: Sequence[TrialRow], heads: Sequence[TrialRow], plan: Plan, metric: Metric
) -> list[TrialRow]:
    """The search's best trial where it is better than the best head; a lower loss alone is not enough.

    Under the ladder, of those that lie within one standard error of it, the one with most frozen stages (after Breiman
    et al. 1984, who take the simplest model within one standard error): it costs less in training.
    """
    better = [row for row in trials if all(metric.key(row)[0] < metric.key(head)[0] for head in heads)]
    best = min(better, key=metric.key, default=None)
    if best is None or plan.study.policy != LADDER or not metric.maximize:
        return [best] if best else []
    value = getattr(best, metric.name)
    least = value - math.sqrt(value * (1 - value) / len(plan.album.part("val")))
    near = [row for row in better if getattr(row, metric.name) >= least]
    return [min(near, key=lambda row: (-(row.frozen_fraction or 0.0), metric.key(row)))]


def _record_test(plan: Plan, recorder: Recorder, trial: TrialRow, report: Report | None) -> None:
    best = recorder.best_epoch(trial.trial_id)
    if report is None or report.test is None or best is None:
        return  # the trial's own row says why there are no figures
    test, classes = report.test, plan.album.classes
    row = ConfirmedRow(
        trial_id=trial.trial_id,
        recipe_hash=recipe_hash(trial.recipe, plan.albums[trial.split].fingerprint),
        backbone=trial.backbone,
        role=trial.origin,
        seed=trial.recipe.seed,
        split=trial.split,
        freeze_depth=trial.freeze_depth,
        val_accuracy=best.val_accuracy,
        val_macro_f1=best.val_macro_f1,
        val_loss=best.val_loss,
        test_accuracy=test.accuracy,
        test_macro_f1=test.macro_f1,
        test_loss=test.loss,
        test_auc=test.auc,
        test_count=len(test.paths),
        correct=test.correct,
        train_seconds=trial.seconds or 0.0,
        predict_images_per_second=test.images_per_second,
    )
    predictions = [
        PredictionRow(
            trial_id=trial.trial_id,
            seed=trial.recipe.seed,
            path=path,
            label=classes[label],
            predicted=classes[predicted],
            probabilities=probabilities.tolist(),
        )
        for path, label, predicted, probabilities in zip(
            test.paths, test.labels, test.predicted, test.probabilities, strict=True
        )
    ]
    recorder.confirmed(row, predictions)
