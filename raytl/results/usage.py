"""What a study used of machines: worker-seconds by its rows, and what these cost at a person's prices.

A worker-second is a second for which one worker was held, working or waiting; a worker holds a GPU where there are any,
else its share of the processors. All of it is computed from recorded rows, so that it outlives a kill and is counted
once. What was under way when a study was killed counts up to its last recorded epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from raytl.money import HOUR_SECONDS, price_of
from raytl.results.schemas import CONFIRM, DISTILL, EpochRow, TrialRow


@dataclass(frozen=True)
class Bill:
    """What a study used and cost: worker-hours and cost in all, and those of its final models.

    Costs are in the unit of the prices. `unpriced` counts trials of which it is not known where they ran.
    """

    worker_hours: float
    cost: float
    confirm_cost: float
    unpriced: int = 0

    @property
    def sentence(self) -> str:
        """For a person."""
        parts = [f"the study cost {amount(self.cost)}"]
        if 0 < self.confirm_cost < self.cost:
            parts.append(f"of which the confirmation {amount(self.confirm_cost)}")
        missing = f"; {self.unpriced} trials without a known machine are not in it" if self.unpriced else ""
        return f"{', '.join(parts)}: {amount(self.worker_hours)} worker-hours at the prices given{missing}"


def amount(value: float | None) -> str:
    """A cost or a number of hours with two decimals, and below 1 with two digits that are not 0; a dash for none."""
    if value is None:
        return "–"
    places = 2 if value >= 0.995 or value <= 0 else 1 - math.floor(math.log10(value))
    return f"{value:,.{places}f}"


def held_seconds(trial: TrialRow, epochs: Sequence[EpochRow]) -> float:
    """For how many worker-seconds a trial has held its workers, in all its attempts.

    Of one that is not over, up to its last epoch. Rows of versions that did not record it tell the time of its epochs.
    """
    if trial.status != "running":
        seconds = trial.worker_seconds
        return seconds if seconds is not None else (trial.seconds or 0.0) * trial.worker_count
    begun = trial.resumed_at or trial.started_at
    last = max((row.ended_at for row in epochs), default=begun)
    return (trial.worker_seconds or 0.0) + max(0.0, (last - begun).total_seconds()) * trial.worker_count


def used_seconds(trials: Iterable[TrialRow], epochs: Mapping[str, Sequence[EpochRow]]) -> float:
    """The worker-seconds of all trials of the study; `epochs` are those of each by its id.

    What was distilled afterwards is not the study's, and takes nothing of its budget.
    """
    own = [trial for trial in trials if trial.stage != DISTILL]
    return sum(held_seconds(trial, epochs.get(trial.trial_id, ())) for trial in own)


def used_line(trials: Iterable[TrialRow], epochs: Mapping[str, Sequence[EpochRow]], budget_hours: float) -> str:
    """What is used of a budget, for the log."""
    used = used_seconds(trials, epochs) / HOUR_SECONDS
    over = "; final models are trained whatever is left" if used > budget_hours else ""
    return f"{amount(used)} of {budget_hours:g} worker-hours used (--budget-hours){over}"


def with_costs(trials: pa.Table, prices: Mapping[str, float]) -> pa.Table:
    """The table `trials` with its column `cost`: hours of workers, times the share of a machine each held, times price.

    Null where there are no prices, or where it is not known on what machine a trial ran.
    """
    if not prices:  # the usual case, without what makes Arrow import pandas
        return _with_column(trials, "cost", pa.nulls(len(trials), pa.float64()))
    known = {name: price_of(prices, name) for name in set(trials["node_type"].to_pylist())}
    per_hour = pa.array([known[name] for name in trials["node_type"].to_pylist()], pa.float64())
    hours = pc.divide(trials["worker_seconds"], HOUR_SECONDS)
    return _with_column(trials, "cost", pc.multiply(pc.multiply(hours, trials["node_share"]), per_hour))


def with_costs_of(confirmed: pa.Table, trials: pa.Table) -> pa.Table:
    """The table `confirmed` with the `cost` that each final model's row of `trials` has."""
    if trials["cost"].null_count == len(trials):  # as above
        return _with_column(confirmed, "cost", pa.nulls(len(confirmed), pa.float64()))
    costs = dict(zip(trials["trial_id"].to_pylist(), trials["cost"].to_pylist(), strict=True))
    told = [costs.get(name) for name in confirmed["trial_id"].to_pylist()]
    return _with_column(confirmed, "cost", pa.array(told, pa.float64()))


def bill_of(trials: pa.Table) -> Bill | None:
    """The sums over a table `trials` that has costs; None where nothing in it has one.

    Distillation runs in the process of who asks for it, on no machine that has a price: it is left out.
    """
    trials = trials.filter(pc.field("stage") != DISTILL)
    ended = trials.filter(pc.field("status") != "running")
    finals = trials.filter(pc.field("stage") == CONFIRM)
    if trials["cost"].null_count == len(trials):
        return None
    return Bill(
        worker_hours=_sum(trials["worker_seconds"]) / HOUR_SECONDS,
        cost=_sum(trials["cost"]),
        confirm_cost=_sum(finals["cost"]),
        unpriced=ended["cost"].null_count,
    )


def _sum(column: pa.ChunkedArray) -> float:
    return float(pc.sum(column).as_py() or 0.0)


def _with_column(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(name), values)
