"""The confirmation: the best recipes trained again under several seeds, each read once on the test set."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from raytl.design import cells_of
from raytl.identity import trial_id
from raytl.metric import Metric
from raytl.on_ray.earlier import attempts_of
from raytl.on_ray.job import Job, Report
from raytl.on_ray.plan import Plan
from raytl.on_ray.probe import ranked_heads
from raytl.on_ray.stages import Stage
from raytl.recipe import Recipe
from raytl.results.final_figures import tested_rows
from raytl.results.recorder import Recorder
from raytl.results.schemas import TrialRow
from raytl.study import LADDER, Study

STAGE = "confirm"


def final_jobs(plan: Plan, recorder: Recorder) -> list[Job]:
    """What is to be confirmed: each backbone's best recipe and its linear probe, or its design, per seed and split.

    Jobs whose test figures are recorded already are left out: the test set is read once. Those that an earlier run of
    the study began go on from their checkpoints.
    """
    jobs = [
        _job(recorder, role, _final(chosen, plan.study, index), split, album.fingerprint)
        for split, album in enumerate(plan.albums)
        for part in plan.backbones
        for role, chosen in _candidates(plan, recorder, part.backbone)
        for index in range(plan.study.confirm_seeds)
    ]
    return [job for job in jobs if job.trial_id not in recorder.confirmed_ids]


def _final(recipe: Recipe, study: Study, index: int) -> Recipe:
    """The recipe under the study's seed of that number, and at the length of its final models."""
    return replace(recipe, seed=study.seed + index, epochs=study.confirm_epochs or recipe.epochs)


def _job(recorder: Recorder, role: str, recipe: Recipe, split: int, fingerprint: str) -> Job:
    name = trial_id(recipe, fingerprint, STAGE)
    epochs = recorder.epochs.get(name, ())
    attempt = 1 + attempts_of(epochs) if name in recorder.trials else 1
    return Job(name, STAGE, role, recipe, split, recorded_epochs=len(epochs), attempt=attempt)


class Confirmation(Stage):
    """Trains and tests all final models."""

    def __init__(self, plan: Plan, recorder: Recorder) -> None:
        self._plan, self._recorder = plan, recorder
        self._left = deque(final_jobs(plan, recorder))

    @property
    def left(self) -> int:
        """Final models that have not been begun."""
        return len(self._left)

    def next(self) -> Job | None:
        """The next final model."""
        return self._left.popleft() if self._left else None

    def trial_ended(self, trial: TrialRow, report: Report | None) -> None:
        """Records what it read on the test set."""
        record_test(self._plan, self._recorder, trial, report)


def searched_trials(recorder: Recorder, backbone: str) -> list[TrialRow]:
    """The backbone's trials of the search that have a figure."""
    return [
        row
        for row in recorder.trials.values()
        if row.stage == "search" and row.backbone == backbone and row.status in ("completed", "stopped")
    ]


def _candidates(plan: Plan, recorder: Recorder, backbone: str) -> list[tuple[str, Recipe]]:
    """By role: every cell of a design; else the best of all, the best head where that is another one, the linear probe.

    The search's best counts only where it has shown more than the best head: one that is no better costs more.
    """
    part = plan.of(backbone)
    if plan.study.design:
        return [(cell.name, cell.recipe(part.default, part.stage_count)) for cell in cells_of(plan.study.design)]
    heads = ranked_heads(recorder, backbone)[:1]
    deeper = _worth_its_price(searched_trials(recorder, backbone), heads, plan, recorder.metric)
    recipes: dict[Recipe, str] = {part.probe: "probe"}
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


def record_test(plan: Plan, recorder: Recorder, trial: TrialRow, report: Report | None) -> None:
    """A final model's figures and predictions; of one that failed there are none, and its own row says why."""
    best = recorder.best_epoch(trial.trial_id)
    if report is None or report.test is None or best is None:
        return
    recorder.confirmed(*tested_rows(trial, best, report.test, plan.album.classes))
