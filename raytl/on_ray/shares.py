"""How backbones share a search: those that have fallen too far behind give their trials up."""

from __future__ import annotations

import math
from collections.abc import Iterable

from raytl.on_ray.plan import Plan
from raytl.results.recorder import Recorder
from raytl.results.schemas import PROBE, SEARCH, TrialRow
from raytl.results.stats import standard_error
from raytl.results.tables import is_ranked
from raytl.study import LADDER

REACH = 3.0  # chosen: standard errors of a validation accuracy by which a backbone may lie behind the best one
FAIR = 0.5  # chosen: the share of its trials that every backbone gets, whatever it shows


def fair_trials(trials: int) -> int:
    """How many of its `trials` every backbone gets."""
    return math.ceil(trials * FAIR)


class Shares:
    """Says which backbones go on. Under the policy `flat` all of them do.

    A backbone drops out after half its trials if its best validation accuracy (or macro F1) lies below the best
    backbone's by more than the noise of two such figures. Losses have no known noise: with `val_loss` all go on. One
    without a figure is not judged while a trial of it is under way.
    """

    def __init__(self, plan: Plan, recorder: Recorder) -> None:
        self._plan, self._recorder = plan, recorder
        self._pictures = len(plan.album.part("val"))

    def in_reach(self, backbone: str) -> bool:
        """Whether the backbone's next trial is worth its time."""
        study = self._plan.study
        if study.policy != LADDER or len(self._plan.backbones) == 1 or not self._recorder.metric.maximize:
            return True
        rows = [row for row in self._recorder.trials.values() if row.stage in (PROBE, SEARCH)]
        begun = sum(row.backbone == backbone and row.stage == SEARCH for row in rows)
        if begun < fair_trials(study.trials):
            return True
        own, best = self._best(row for row in rows if row.backbone == backbone), self._best(rows)
        if own is None or best is None:
            return best is None or self.under_way(backbone)
        return own >= best - REACH * standard_error(best, self._pictures)

    def under_way(self, backbone: str) -> bool:
        """Whether a trial of the backbone has begun and not ended."""
        rows = self._recorder.trials.values()
        return any(row.backbone == backbone and row.stage == SEARCH and row.status == "running" for row in rows)

    def _best(self, rows: Iterable[TrialRow]) -> float | None:
        metric = self._recorder.metric
        return max((getattr(row, metric.name) for row in rows if is_ranked(row, metric)), default=None)
