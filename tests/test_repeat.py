"""A trial trained twice, compared figure by figure."""

from __future__ import annotations

import math

import pytest

from raytl.results.repeat import Change, other_versions, repeat_lines, repeat_of
from tests.rows import confirmed_row, epoch_row

BEFORE = [epoch_row(epoch=1), epoch_row(epoch=2, val_loss=0.5, val_accuracy=0.75)]


@pytest.mark.parametrize(
    ("before", "now", "size"),
    [
        (0.5, 0.5, 0.0),
        (0.5, 0.75, 0.25),
        (0.75, 0.5, 0.25),
        (None, None, 0.0),
        (None, 0.5, math.inf),
        (math.nan, math.nan, 0.0),
        (math.nan, 0.5, math.inf),
    ],
)
def test_how_far_two_figures_are_apart(before: float | None, now: float | None, size: float) -> None:
    assert Change("epoch 1", "val_loss", before, now).size == size


def test_the_same_rows_are_equal_whenever_they_were_measured() -> None:
    now = [epoch_row(epoch=row.epoch, val_loss=row.val_loss, val_accuracy=row.val_accuracy) for row in BEFORE]
    now = [epoch_row(**{**vars(row), "images_per_second": 1.0, "checkpoint": "x"}) for row in now]
    found = repeat_of(BEFORE, now, [], [])
    assert found.equal
    assert repeat_lines(found) == [
        "epoch 1: equal",
        "epoch 2: equal",
        "The trial came again: every figure is the one recorded.",
    ]


def test_the_largest_difference_of_each_epoch_is_told() -> None:
    now = [BEFORE[0], epoch_row(epoch=2, val_loss=0.625, val_accuracy=0.8125)]
    found = repeat_of(BEFORE, now, [], [])
    assert not found.equal
    assert repeat_lines(found)[1] == "epoch 2: val_loss was 0.5, is 0.625 (by 0.12)"
    verdict = repeat_lines(found)[-1]
    assert "the largest difference is 0.12, of val_loss (epoch 2)" in verdict and "should have been equal" in verdict


def test_test_figures_count_too() -> None:
    same, other = confirmed_row(), confirmed_row(test_loss=1.5)
    assert repeat_of(BEFORE, BEFORE, [same, same], []).equal
    found = repeat_of(BEFORE, BEFORE, [same, other], [])
    assert not found.equal and repeat_lines(found)[2] == "test pictures: test_loss was 1, is 1.5 (by 0.5)"


def test_epochs_that_one_time_alone_has_are_told() -> None:
    found = repeat_of(BEFORE, BEFORE[:1], [], [])
    assert not found.equal and "epoch 2: recorded, not reached this time" in repeat_lines(found)
    found = repeat_of(BEFORE[:1], BEFORE, [], [])
    assert not found.equal and "epoch 2: not recorded then" in repeat_lines(found)
    assert "but not the epochs" in repeat_lines(found)[-1]
    assert "Nothing can be compared" in repeat_lines(repeat_of(BEFORE, [], [], []))[-1]


def test_other_versions_and_machines_are_named() -> None:
    before = {"versions": {"torch": "2.15", "ray": "2.60"}, "machine": {"node": "a", "cpus": 2, "memory_bytes": 1}}
    now = {"versions": {"torch": "2.16", "ray": "2.60"}, "machine": {"node": "b", "cpus": 8, "memory_bytes": 2}}
    told = other_versions(before, now)
    assert told == ["other versions: torch was 2.15, is 2.16", "another machine: cpus was 2, is 8"]
    assert other_versions(before, before) == other_versions({}, now) == []
    lines = repeat_lines(repeat_of(BEFORE, [epoch_row(epoch=1, lr=9.0)], [], told))
    assert lines[-2:] == told and "which may explain it" in lines[-3]
