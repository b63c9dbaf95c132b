"""The state of the pictures."""

from __future__ import annotations

from raytl.results.health import Finding, check_health
from raytl.results.schemas import to_table
from tests.studies import Plan, picture_row, picture_rows

EXTRA = [
    picture_row("bad.jpg", "rose", None, "bad", "cut short", content="same"),
    picture_row("odd.jpg", "rose", "train", "suspect", "few colors"),
    picture_row("dropped.jpg", "rose", None, "suspect", "text-like"),
    picture_row("train/twin.jpg", "rose", "train", content="same"),
    picture_row("test/twin.jpg", "tulip", "test", content="same"),
    picture_row("one.jpg", "daisy", "train", content="pair"),
    picture_row("two.jpg", "daisy", "train", content="pair"),
]


def test_usable_pictures_are_counted_and_the_rest_is_told() -> None:
    plan = Plan(train_pictures=9, test_pictures=3)
    health = check_health(to_table("data", [*picture_rows(plan), *EXTRA], 1))
    assert health.splits == ("train", "val", "test")
    assert health.counts["rose"] == {"train": 5, "val": 1, "test": 1}
    assert (health.total("train"), health.total("test")) == (13, 4)
    assert health.bad == (Finding("bad.jpg", "rose", None, "cut short"),)
    assert [finding.path for finding in health.suspects] == ["odd.jpg", "dropped.jpg"]


def test_copies_tell_splits_and_classes() -> None:
    health = check_health(to_table("data", EXTRA, 1))
    assert [copies.paths for copies in health.copies] == [("train/twin.jpg", "test/twin.jpg"), ("one.jpg", "two.jpg")]
    assert [copies.splits for copies in health.across_splits] == [("train", "test")]
    assert [copies.classes for copies in health.across_classes] == [("rose", "tulip")]


def test_no_pictures_are_no_finding() -> None:
    health = check_health(to_table("data", [], 1))
    assert (health.counts, health.splits, health.copies) == ({}, (), ())
