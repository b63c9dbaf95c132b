"""The search stage: what is tried of all backbones; checkpoints are kept while a trial may go on or be confirmed."""

from __future__ import annotations

import shutil
from pathlib import Path

from raytl.on_ray.confirm import searched_trials, worth_their_price
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.fleet import NO_FLEET, Fleet
from raytl.on_ray.job import Job, Report
from raytl.on_ray.ladder import climb
from raytl.on_ray.plan import Plan
from raytl.on_ray.proposals import Proposals, Settled
from raytl.on_ray.stages import Stage
from raytl.results.recorder import Recorder
from raytl.results.schemas import SEARCH, TrialRow
from raytl.study import LADDER

# Chosen: checkpoints of a backbone that are kept in case the confirmation takes them over. Which trial it takes may
# change with every one that ends; where it takes another one, that is trained again.
KEPT = 3


class Search(Stage):
    """The study's search trials, until trials, space or time are used up. Under the ladder it begins from the heads."""

    def __init__(
        self,
        plan: Plan,
        recorder: Recorder,
        checkpoints: Path,
        deadline: Deadline,
        settled: Settled = lambda backbone, left_out, reason: None,
        fleet: Fleet = NO_FLEET,
    ) -> None:
        self._plan, self._recorder, self._checkpoints = plan, recorder, checkpoints
        self._kept: set[str] = set()
        parts = plan.backbones if plan.study.policy == LADDER else ()
        rungs = {part.backbone: climb(part, recorder, plan.study) for part in parts}
        self._proposals = Proposals(plan, recorder, deadline, rungs, settled, self._keep_or_forget, fleet)
        for trial in recorder.trials.values():  # a kill may have fallen between the end of one and what follows it
            if trial.stage == SEARCH and trial.status != "running" and (checkpoints / trial.trial_id).exists():
                self._keep_or_forget(trial)

    @property
    def left(self) -> int:
        """Trials that have not been proposed yet."""
        return self._proposals.left

    def next(self) -> Job | None:
        """What is proposed next."""
        return self._proposals.next()

    def trial_ended(self, trial: TrialRow, report: Report | None) -> None:
        """Lets the searchers hear of it, and keeps its checkpoint only where it may be confirmed."""
        self._proposals.tell(trial)
        self._keep_or_forget(trial)

    def _keep_or_forget(self, trial: TrialRow) -> None:
        """Removes the checkpoints of a backbone's trials that are over and have no chance to be confirmed."""
        own = searched_trials(self._recorder, trial.backbone)
        self._kept.add(trial.trial_id)
        here = [row for row in worth_their_price(own, self._plan, self._recorder) if self._may_serve(row)][:KEPT]
        left = {row.trial_id for row in own if row.trial_id in self._kept} | {trial.trial_id}
        for name in left - {row.trial_id for row in here}:
            self._kept.remove(name)
            shutil.rmtree(self._checkpoints / name, ignore_errors=True)

    def _may_serve(self, trial: TrialRow) -> bool:
        """Whether its checkpoint is there, and final models are trained for as long as it."""
        return trial.trial_id in self._kept and self._plan.study.confirm_epochs in (None, trial.recipe.epochs)
