"""What the runs of final models took: time from start to end, memory, and what is stored for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median

import pyarrow.compute as pc

from raytl.results.facts import FinalModel
from raytl.results.schemas import DISTILL, TrialRow
from raytl.results.tables import Tables, trial_rows


@dataclass(frozen=True)
class RunCost:
    """Over the runs of one final model; None where nothing is recorded.

    Seconds are from a run's start to its end, so that they hold what was computed for it and stored: the run that
    computes it is the `longest_seconds`, the others read it. Bytes are those of the run with most. `cost` is the mean
    of those runs whose cost is known, in the unit of the prices.
    """

    longest_seconds: float | None
    median_seconds: float | None
    stored_bytes: int | None
    peak_memory_bytes: int | None
    cost: float | None = None


def run_costs(tables: Tables, models: Sequence[FinalModel]) -> tuple[RunCost, ...]:
    """The cost of each model, in their order."""
    finals = tables.trials.filter(pc.field("stage").isin(["confirm", DISTILL]))
    trials = {row.trial_id: row for row in trial_rows(finals)}
    return tuple(_cost([trials[name] for name in model.trial_ids if name in trials]) for model in models)


def _cost(trials: Sequence[TrialRow]) -> RunCost:
    costs = [row.cost for row in trials if row.cost is not None]
    seconds = [(row.ended_at - row.started_at).total_seconds() for row in trials if row.ended_at]
    return RunCost(
        longest_seconds=max(seconds, default=None),
        median_seconds=median(seconds) if seconds else None,
        stored_bytes=_most(row.stored_bytes for row in trials),
        peak_memory_bytes=_most(row.peak_memory_bytes for row in trials),
        cost=mean(costs) if costs else None,
    )


def _most(figures: Iterable[int | None]) -> int | None:
    return max((figure for figure in figures if figure is not None), default=None)
