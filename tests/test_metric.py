"""Which metric values are better, and how rows are ranked."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from raytl.errors import ConfigError
from raytl.metric import METRICS, find_metric
from tests.rows import epoch_row, trial_row


def test_accuracy_and_f1_are_maximized_and_the_loss_is_minimized() -> None:
    assert METRICS["val_accuracy"].better(0.9, 0.8)
    assert METRICS["val_macro_f1"].better(0.9, 0.8)
    assert METRICS["val_loss"].better(0.8, 0.9)


@pytest.mark.parametrize("name", METRICS)
def test_better_is_strict_and_a_nan_is_never_better(name: str) -> None:
    metric = METRICS[name]
    for a, b in itertools.product([0.0, 0.5, 1.0, math.nan], repeat=2):
        assert not (metric.better(a, b) and metric.better(b, a))
    assert not metric.better(0.5, 0.5)
    assert not metric.better(math.nan, 0.0)
    assert metric.better(0.0, math.nan)


def test_the_key_ranks_by_metric_then_by_the_lower_loss() -> None:
    pairs = [(0.9, 0.3), (0.9, 0.4), (0.8, 0.1), (0.0, 0.1)]
    rows = [epoch_row(val_accuracy=accuracy, val_loss=loss) for accuracy, loss in pairs]
    shuffled = random.Random(0).sample(rows, len(rows))
    assert sorted(shuffled, key=METRICS["val_accuracy"].key) == rows


def test_rows_without_a_value_come_last() -> None:
    known, unknown = epoch_row(val_loss=5.0), epoch_row(val_loss=math.nan)
    assert sorted([unknown, known], key=METRICS["val_loss"].key) == [known, unknown]


@pytest.mark.parametrize("name", METRICS)
def test_only_finite_values_are_measured(name: str) -> None:
    metric = METRICS[name]
    assert metric.measured(epoch_row(**{name: 0.0}))
    assert not any(metric.measured(trial_row(**{name: value})) for value in (None, math.nan, math.inf))


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    assert find_metric("val_loss") is METRICS["val_loss"]
    with pytest.raises(ConfigError, match=r"val_acuracy.*did you mean 'val_accuracy'"):
        find_metric("val_acuracy")
