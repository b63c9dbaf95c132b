"""The confirmation: the best recipes trained again under several seeds, each read once on the test set.

What the search has trained already, recipe and seed and all, is not computed again: it is taken over and tested.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from raytl.design import cells_of
from raytl.identity import trial_id
from raytl.metric import Metric
from raytl.on_ray.earlier import attempts_of, end_earlier
from raytl.on_ray.fleet import NO_FLEET, Fleet
from raytl.on_ray.job import Job, Report, Twin
from raytl.on_ray.plan import Plan
from raytl.on_ray.probe import ranked_heads
from raytl.on_ray.stages import Stage
from raytl.recipe import Recipe
from raytl.results.final_figures import tested_rows
from raytl.results.recorder import Recorder
from raytl.results.schemas import CONFIRM, SEARCH, TrialRow
from raytl.results.stats import standard_error
from raytl.results.tables import is_ranked
from raytl.study import LADDER, Study


def final_jobs(plan: Plan, recorder: Recorder) -> list[Job]:
    """What is to be confirmed: each backbone's best recipe and its linear probe, or its design, per seed and split.

    Jobs whose test figures are recorded already are left out: the test set is read once. So are those that diverged,
    which would do so again. Those that an earlier run of the study began go on from their checkpoints.
    """
    jobs = [
        _job(plan, recorder, role, _final(chosen, plan.study, index), split)
        for split in range(len(plan.albums))
        for part in plan.backbones
        for role, chosen in _candidates(plan, recorder, part.backbone)
        for index in range(plan.study.confirm_seeds)
    ]
    tested = recorder.confirmed_ids & recorder.trials.keys()  # less where the ledger has lost the file of a trial's row
    diverged = {row.trial_id for row in recorder.trials.values() if row.status == "diverged"}
    return [job for job in jobs if job.trial_id not in tested | diverged]


def _final(recipe: Recipe, study: Study, index: int) -> Recipe:
    """The recipe under the study's seed of that number, and at the length of its final models."""
    return replace(recipe, seed=study.seed + index, epochs=study.confirm_epochs or recipe.epochs)


def _job(plan: Plan, recorder: Recorder, role: str, recipe: Recipe, split: int) -> Job:
    fingerprint = plan.albums[split].fingerprint
    name = trial_id(recipe, fingerprint, CONFIRM)
    epochs = recorder.epochs.get(name, ())
    attempt = 1 + attempts_of(epochs) if name in recorder.trials else 1
    wanted = not plan.study.weight_histograms  # after every epoch, of which only the last weights are kept
    twin = _twin(recorder, trial_id(recipe, fingerprint, SEARCH)) if wanted else None
    return Job(name, CONFIRM, role, recipe, split, recorded_epochs=len(epochs), attempt=attempt, twin=twin)


def _twin(recorder: Recorder, name: str) -> Twin | None:
    """The run of the search by that name, if it has come to an end with a figure."""
    row = recorder.trials.get(name)
    if row is None or not is_ranked(row, recorder.metric):
        return None
    return Twin(name, tuple(recorder.epochs[name]), (row.reason,) if row.status == "completed" and row.reason else ())


class Confirmation(Stage):
    """Trains and tests all final models. Checkpoints of the search are removed when nobody needs them any more."""

    def __init__(self, plan: Plan, recorder: Recorder, checkpoints: Path, fleet: Fleet = NO_FLEET) -> None:
        self._plan, self._recorder, self._checkpoints = plan, recorder, checkpoints
        jobs = final_jobs(plan, recorder)
        self._left, self._twins = deque(jobs), {job.trial_id: job.twin.trial_id for job in jobs if job.twin}
        self._end_replaced({job.trial_id for job in jobs}, fleet)
        for trial in recorder.trials.values():
            if trial.stage == SEARCH and trial.status != "running" and trial.trial_id not in self._twins.values():
                self._forget(trial.trial_id)

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
        if trial.trial_id in self._twins:
            self._forget(self._twins[trial.trial_id])

    def _end_replaced(self, wanted: Collection[str], fleet: Fleet) -> None:
        """Ends the final models that an earlier run began, and that the search since then has found better ones for."""
        for trial in list(self._recorder.trials.values()):
            if trial.stage == CONFIRM and trial.status == "running" and trial.trial_id not in wanted:
                end_earlier(self._recorder, trial, "another recipe is confirmed in its place", fleet.berth(""))
                self._forget(trial.trial_id)

    def _forget(self, name: str) -> None:
        shutil.rmtree(self._checkpoints / name, ignore_errors=True)


def searched_trials(recorder: Recorder, backbone: str) -> list[TrialRow]:
    """The backbone's trials of the search that have a figure."""
    return [
        row
        for row in recorder.trials.values()
        if row.stage == SEARCH and row.backbone == backbone and is_ranked(row, recorder.metric)
    ]


def _candidates(plan: Plan, recorder: Recorder, backbone: str) -> list[tuple[str, Recipe]]:
    """By role: every cell of a design; else the best of all, the best head where that is another one, the linear probe.

    The search's best counts only where it has shown more than the best head: one that is no better costs more.
    """
    part = plan.of(backbone)
    if plan.study.design:
        return [(cell.name, cell.recipe(part.default, part.stage_count)) for cell in cells_of(plan.study.design)]
    heads = ranked_heads(recorder, backbone)[:1]
    deeper = worth_their_price(searched_trials(recorder, backbone), plan, recorder)[:1]
    recipes: dict[Recipe, str] = {part.probe: "probe"}
    for role, trial in zip(("best", "head"), [*deeper, *heads], strict=False):
        recipes.setdefault(trial.recipe, role)
    return [(role, recipe) for recipe, role in reversed(recipes.items())] if deeper or heads else []


def worth_their_price(trials: Sequence[TrialRow], plan: Plan, recorder: Recorder) -> list[TrialRow]:
    """Of the search's trials of one backbone those that may be confirmed, the one that would be first.

    They are better than the best head; a lower loss alone is not enough. Under the ladder, those that lie within one
    standard error of the best one, with most frozen stages first (after Breiman et al. 1984, who take the simplest
    model within one standard error): they cost less in training.
    """
    metric: Metric = recorder.metric
    heads = ranked_heads(recorder, trials[0].backbone)[:1] if trials else []
    better = [row for row in trials if all(metric.key(row)[0] < metric.key(head)[0] for head in heads)]
    best = min(better, key=metric.key, default=None)
    if best is None or plan.study.policy != LADDER or not metric.maximize:
        return [best] if best else []
    value = getattr(best, metric.name)
    least = value - standard_error(value, len(plan.album.part("val")))
    near = [row for row in better if getattr(row, metric.name) >= least]
    return sorted(near, key=lambda row: (-(row.frozen_fraction or 0.0), metric.key(row)))


def record_test(plan: Plan, recorder: Recorder, trial: TrialRow, report: Report | None) -> None:
    """A final model's figures and predictions; of one that failed there are none, and its own row says why."""
    best = recorder.best_epoch(trial.trial_id)
    if report is None or report.test is None or best is None:
        return
    recorder.confirmed(*tested_rows(trial, best, report.test, plan.album.classes))
