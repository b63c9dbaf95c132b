"""The search stage: what is tried of all backbones, and which checkpoints are kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from raytl.on_ray.deadline import Deadline
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
    ) -> None:
        parts = plan.backbones if plan.study.policy == LADDER else ()
        rungs = {part.backbone: climb(part, recorder, plan.study) for part in parts}
        self._proposals = Proposals(plan, recorder, deadline, rungs, settled)
        self._keeper = Keeper(checkpoints, recorder)

    @property
    def left(self) -> int:
        """Trials that have not been proposed yet."""
        return self._proposals.left

    def next(self) -> Job | None:
        """What is proposed next."""
        return self._proposals.next()

    def trial_ended(self, trial: TrialRow, report: Report | None) -> None:
        """Lets the searchers hear of it, and keeps its checkpoint or not."""
        self._proposals.tell(trial)
        self._keeper.ended(trial)


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
