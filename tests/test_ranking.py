"""Which heads are best, where few pictures cannot rank them."""

from __future__ import annotations

from dataclasses import replace

from raytl.metric import METRICS
from raytl.results.ranking import ranked
from raytl.results.schemas import TrialRow
from tests.rows import trial_row

ACCURACY = METRICS["val_accuracy"]


def head(name: str, cv_accuracy: float, cv_loss: float) -> TrialRow:
    """One that was cross-validated on a hundred pictures."""
    row = trial_row(trial_id=name, status="completed", stage="probe", val_accuracy=0.5, val_macro_f1=0.5, val_loss=1.0)
    return replace(row, cv_accuracy=cv_accuracy, cv_macro_f1=cv_accuracy, cv_loss=cv_loss, cv_count=100)


def order(*rows: TrialRow) -> list[str]:
    return [row.trial_id for row in ranked(rows, ACCURACY)]


def test_within_a_standard_error_the_lower_loss_counts() -> None:
    rows = head("most right", 0.8, 0.6), head("sure", 0.77, 0.4), head("far", 0.75, 0.1)  # the standard error is 0.04
    assert order(*rows) == ["sure", "most right", "far"]


def test_a_head_without_a_mistake_has_a_standard_error_too() -> None:
    rows = head("perfect", 1.0, 0.3), head("nearly", 0.995, 0.1), head("three mistakes", 0.97, 0.05)
    assert order(*rows) == ["nearly", "perfect", "three mistakes"]


def test_a_loss_that_decides_ranks_alone_and_others_come_last() -> None:
    rows = head("a", 0.9, 0.5), head("b", 0.5, 0.4)
    assert [row.trial_id for row in ranked(rows, METRICS["val_loss"])] == ["b", "a"]
    plain = replace(trial_row(trial_id="plain", status="completed"), val_accuracy=0.99, val_macro_f1=0.9, val_loss=0.1)
    unfinished = replace(plain, trial_id="unfinished", status="running")
    assert order(plain, unfinished, *rows) == ["a", "b", "plain"]
