"""Which of a backbone's heads is best: hundreds were tried, and few validation pictures cannot rank them."""

from __future__ import annotations

from collections.abc import Sequence

from raytl.metric import Figures, Metric
from raytl.results.schemas import TrialRow
from raytl.results.stats import standard_error


def ranked(rows: Sequence[TrialRow], metric: Metric) -> list[TrialRow]:
    """Completed heads of one backbone, best first: those that were cross-validated by that, the others by validation.

    Cross-validated heads within a standard error of the best one's accuracy are not told apart by it; among them the
    lower loss counts (after Breiman et al. 1984, who take the simplest model within one standard error).
    """
    completed = [row for row in rows if row.status == "completed"]
    crossed = [row for row in completed if row.cv_loss is not None]
    others = [row for row in completed if row.cv_loss is None]
    return _by_folds(crossed, metric) + sorted(others, key=metric.key)


def _by_folds(rows: list[TrialRow], metric: Metric) -> list[TrialRow]:
    if not rows or not metric.maximize:
        return sorted(rows, key=lambda row: metric.key(_crossed(row)))
    best = max(rows, key=lambda row: getattr(_crossed(row), metric.name))
    value = getattr(_crossed(best), metric.name)
    least = value - standard_error(value, best.cv_count or 1)
    key = [(getattr(_crossed(row), metric.name) < least, row.cv_loss or 0.0) for row in rows]
    return [row for _, row in sorted(zip(key, rows, strict=True), key=lambda pair: pair[0])]


def _crossed(row: TrialRow) -> Figures:
    return Figures(float(row.cv_accuracy or 0), float(row.cv_macro_f1 or 0), float(row.cv_loss or 0))
