"""A worker's report in the form that Tune passes around."""

from __future__ import annotations

from typing import Any

from raytl.metric import find_metric
from raytl.on_ray.job import Done, Report
from raytl.on_ray.schedulers import EPOCH, SCORE

REPORT = "report"


def as_result(report: Report | Done, metric_name: str) -> dict[str, Any]:
    """A report as Tune wants it: an epoch and a score to be maximised, beside the report itself.

    A chore has neither, nor has a run that diverged in its last report.
    """
    result: dict[str, Any] = {REPORT: report, "done": report.ended is not None}
    if isinstance(report, Report) and report.row is not None:
        metric = find_metric(metric_name)
        value = getattr(report.row, metric_name)
        result |= {EPOCH: report.row.epoch, SCORE: value if metric.maximize else -value}
    return result
