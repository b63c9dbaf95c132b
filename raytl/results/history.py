"""What happened during a search, as plain facts: curves, freeze depths and what went wrong."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from raytl.metric import Metric
from raytl.results.facts import BackboneSearch, FinalModel
from raytl.results.schemas import SCORELESS
from raytl.results.tables import RANKED_STAGES, RANKED_STATUSES, Tables

TROUBLED = (*SCORELESS, "running")


@dataclass(frozen=True)
class TrialCurve:
    """The deciding metric of one trial: `points` are (epoch, value); `kind` is best, completed or stopped."""

    trial_id: str
    kind: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class FreezePoint:
    """One trial: how much of a picture's forward operations was frozen, what it reached and what an epoch cost."""

    backbone: str
    trial_id: str
    frozen_fraction: float
    value: float
    epoch_seconds: float | None


@dataclass(frozen=True)
class Incident:
    """What was said of some trials: their status, the reason, and their names."""

    status: str
    reason: str
    trial_ids: tuple[str, ...]


def trial_curves(
    tables: Tables, searches: Sequence[BackboneSearch], metric: Metric
) -> dict[str, tuple[TrialCurve, ...]]:
    """Curves of the search (and its probes) by backbone, the best one last so that it is drawn over the others."""
    best = {search.best.trial_id for search in searches if search.best}
    points = _points(tables, metric)
    curves: defaultdict[str, list[TrialCurve]] = defaultdict(list)
    rows = tables.trials.filter(pc.field("stage").isin(RANKED_STAGES))
    columns = [rows[name].to_pylist() for name in ("backbone", "trial_id", "status")]
    for backbone, trial_id, status in zip(*columns, strict=True):
        if trial_id in points:
            kind = "best" if trial_id in best else "completed" if status == "completed" else "stopped"
            curves[backbone].append(TrialCurve(trial_id, kind, tuple(sorted(points[trial_id]))))
    order = ("stopped", "completed", "best")
    names = [search.backbone for search in searches if search.backbone in curves]
    return {name: tuple(sorted(curves[name], key=lambda curve: order.index(curve.kind))) for name in names}


def freeze_points(tables: Tables, metric: Metric) -> tuple[FreezePoint, ...]:
    """All ranked trials of which the frozen share and the metric are known."""
    ranked = pc.field("stage").isin(RANKED_STAGES) & pc.field("status").isin(RANKED_STATUSES)
    rows = tables.trials.filter(ranked & pc.field("frozen_fraction").is_valid() & pc.is_finite(pc.field(metric.name)))
    names = ("backbone", "trial_id", "frozen_fraction", metric.name, "seconds", "epochs_run")
    columns = [rows[name].to_pylist() for name in names]
    return tuple(
        FreezePoint(backbone, trial_id, fraction, value, seconds / epochs if seconds and epochs else None)
        for backbone, trial_id, fraction, value, seconds, epochs in zip(*columns, strict=True)
    )


def overfitting(tables: Tables, models: Sequence[FinalModel]) -> tuple[float | None, ...]:
    """For each final model training less validation accuracy at the best epoch, mean over its runs; None: not known."""
    best = dict(zip(*(tables.trials[name].to_pylist() for name in ("trial_id", "best_epoch")), strict=True))
    names = ("trial_id", "epoch", "train_accuracy", "val_accuracy")
    rows = zip(*(tables.epochs[name].to_pylist() for name in names), strict=True)
    gaps = {
        trial_id: train - val
        for trial_id, epoch, train, val in rows
        if epoch == best.get(trial_id) and train is not None
    }
    return tuple(_mean([gaps[trial_id] for trial_id in model.trial_ids if trial_id in gaps]) for model in models)


def incidents(tables: Tables) -> tuple[Incident, ...]:
    """Trials that failed, diverged or did not end, each reason once; then other trials with something to say."""
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    columns = [tables.trials[name].to_pylist() for name in ("trial_id", "status", "reason")]
    for trial_id, status, reason in zip(*columns, strict=True):
        if status in TROUBLED or reason:
            groups[status, reason or "no reason recorded"].append(trial_id)
    found = [Incident(status, reason, tuple(ids)) for (status, reason), ids in groups.items()]
    order = {status: index for index, status in enumerate(TROUBLED)}
    return tuple(sorted(found, key=lambda incident: order.get(incident.status, len(order))))


def flatten(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """Nested values by their dotted names, such as those of `study.json`."""
    rows: list[tuple[str, object]] = []
    for name, value in values.items():
        rows += flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else [(prefix + name, value)]
    return rows


def _points(tables: Tables, metric: Metric) -> dict[str, list[tuple[float, float]]]:
    points: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    columns = [tables.epochs[name].to_pylist() for name in ("trial_id", "epoch", metric.name)]
    for trial_id, epoch, value in zip(*columns, strict=True):
        points[trial_id].append((epoch, math.nan if value is None else value))
    return points


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
