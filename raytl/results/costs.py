"""What the runs of final models took: time from start to end, memory, and what is stored for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

import pyarrow as pa
import pyarrow.compute as pc

from raytl.results.facts import FinalModel
from raytl.results.schemas import CONFIRM, DISTILL, TrialRow
from raytl.results.tables import Tables, trial_rows


@dataclass(frozen=True)
class RunCost:
    """Over the runs of one final model; None where nothing is recorded.

    Seconds are from a run's start to its end, so that they hold what was computed for it and stored: the run that
    computes it is the `longest_seconds`, the others read it. Bytes are those of the run with most. `cost` is the mean
    of those runs whose cost is known, in the unit of the prices. A run that was taken over from the search counts with
    what it took there.
    """

    longest_seconds: float | None
    median_seconds: float | None
    stored_bytes: int | None
    peak_memory_bytes: int | None
    cost: float | None = None


def run_costs(tables: Tables, models: Sequence[FinalModel]) -> tuple[RunCost, ...]:
    """The cost of each model, in their order."""
    finals = trial_rows(tables.trials.filter(pc.field("stage").isin([CONFIRM, DISTILL])))
    taken = pa.array([row.taken_over for row in finals if row.taken_over], pa.string())
    searched = trial_rows(tables.trials.filter(pc.is_in(tables.trials["trial_id"], taken)))
    trials = {row.trial_id: row for row in [*finals, *searched]}
    return tuple(_cost([_parts(trials, name) for name in model.trial_ids if name in trials]) for model in models)


def _parts(trials: Mapping[str, TrialRow], name: str) -> list[TrialRow]:
    """A run's own row, and that of the search's trial which it took over."""
    return [trials[each] for each in (name, trials[name].taken_over) if each is not None and each in trials]


def _cost(runs: Sequence[Sequence[TrialRow]]) -> RunCost:
    trials = [row for run in runs for row in run]
    costs = [sum(row.cost or 0.0 for row in run) for run in runs if all(row.cost is not None for row in run)]
    seconds = [sum(map(_seconds, run)) for run in runs if all(row.ended_at for row in run)]
    return RunCost(
        longest_seconds=max(seconds, default=None),
        median_seconds=median(seconds) if seconds else None,
        stored_bytes=_most(row.stored_bytes for row in trials),
        peak_memory_bytes=_most(row.peak_memory_bytes for row in trials),
        cost=mean(costs) if costs else None,
    )


def _seconds(row: TrialRow) -> float:
    return (row.ended_at - row.started_at).total_seconds() if row.ended_at else 0.0


def _most(figures: Iterable[int | None]) -> int | None:
    return max((figure for figure in figures if figure is not None), default=None)
