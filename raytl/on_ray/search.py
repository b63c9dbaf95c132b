"""The search stage: what is tried of all backbones; checkpoints are kept while a trial may go on."""

from __future__ import annotations

import shutil
from pathlib import Path

from raytl.on_ray.deadline import Deadline
from raytl.on_ray.fleet import NO_FLEET, Fleet
from raytl.on_ray.job import Job, Report
from raytl.on_ray.ladder import climb
from raytl.on_ray.plan import Plan
from raytl.on_ray.proposals import STAGE, Proposals, Settled
from raytl.on_ray.stages import Stage
from raytl.results.recorder import Recorder
from raytl.results.schemas import TrialRow
from raytl.study import LADDER


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
        parts = plan.backbones if plan.study.policy == LADDER else ()
        rungs = {part.backbone: climb(part, recorder, plan.study) for part in parts}
        self._proposals = Proposals(plan, recorder, deadline, rungs, settled, self._forget, fleet)
        self._checkpoints = checkpoints
        for trial in recorder.trials.values():  # a kill may have fallen between the end of one and what follows it
            if trial.stage == STAGE and trial.status != "running":
                self._forget(trial)

    @property
    def left(self) -> int:
        """Trials that have not been proposed yet."""
        return self._proposals.left

    def next(self) -> Job | None:
        """What is proposed next."""
        return self._proposals.next()

    def trial_ended(self, trial: TrialRow, report: Report | None) -> None:
        """Lets the searchers hear of it, and removes its checkpoint."""
        self._proposals.tell(trial)
        self._forget(trial)

    def _forget(self, trial: TrialRow) -> None:
        """Removes a checkpoint: trials that are over are not gone on from, and final models begin anew."""
        shutil.rmtree(self._checkpoints / trial.trial_id, ignore_errors=True)
