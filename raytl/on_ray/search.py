"""The search stage: what is tried of all backbones; checkpoints are kept while a trial may go on or be confirmed."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

from raytl.on_ray.confirm import worth_their_price
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.fleet import NO_FLEET, Fleet
from raytl.on_ray.job import Job, Report
from raytl.on_ray.ladder import climb
from raytl.on_ray.plan import Plan
from raytl.on_ray.proposals import Proposals, Settled
from raytl.on_ray.stages import Stage
from raytl.results.recorder import Recorder
from raytl.results.schemas import SEARCH, TrialRow
from raytl.results.tables import RANKED_STATUSES
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
        self._kept: defaultdict[str, list[TrialRow]] = defaultdict(list)
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
        known = [*self._kept[trial.backbone], trial]
        likely = worth_their_price([row for row in known if row.status in RANKED_STATUSES], self._plan, self._recorder)
        self._kept[trial.backbone] = likely[:KEPT]
        for row in known:
            if row not in likely[:KEPT]:
                self._forget(row)

    def _forget(self, trial: TrialRow) -> None:
        shutil.rmtree(self._checkpoints / trial.trial_id, ignore_errors=True)
