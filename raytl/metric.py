"""The validation metric that decides a study: which of two values is better, and how runs are ranked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from raytl.choice import nearest
from raytl.errors import ConfigError


class Scored(Protocol):
    """Anything with validation figures: a row of an epoch or of a trial. Null: nothing was measured."""

    @property
    def val_accuracy(self) -> float | None: ...
    @property
    def val_macro_f1(self) -> float | None: ...
    @property
    def val_loss(self) -> float | None: ...


@dataclass(frozen=True)
class Figures:
    """What one look at the validation pictures gave, under the names of the tables' columns."""

    val_accuracy: float
    val_macro_f1: float
    val_loss: float


@dataclass(frozen=True)
class Metric:
    """A validation figure by its column name, and whether more is better."""

    name: str
    maximize: bool

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`; a NaN is worse than every number and equal to another NaN."""
        return self._rank(a) < self._rank(b)

    def key(self, row: Scored) -> tuple[float, float]:
        """A sort key, best first: this metric, then the lower validation loss. Rows without a value come last."""
        return self._rank(getattr(row, self.name)), _ascending(row.val_loss)

    def measured(self, row: Scored) -> bool:
        """Whether the row has a value of this metric that is a finite number."""
        value = getattr(row, self.name)
        return value is not None and math.isfinite(value)

    def _rank(self, value: float | None) -> float:
        return _ascending(-value if self.maximize and value is not None else value)


def _ascending(value: float | None) -> float:
    return math.inf if value is None or math.isnan(value) else value


METRICS = {
    metric.name: metric
    for metric in (Metric("val_accuracy", True), Metric("val_macro_f1", True), Metric("val_loss", False))
}


def find_metric(name: str) -> Metric:
    """The metric called `name`.

    Raises:
        ConfigError: for an unknown name; the nearest known one is offered.
    """
    if name not in METRICS:
        raise ConfigError(f"metric={name!r}: must be one of {', '.join(METRICS)}{nearest(name, METRICS)}")
    return METRICS[name]
