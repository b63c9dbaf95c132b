"""Rows for tests: everything that must have a value has a plausible one, and any of it can be replaced."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from raytl.recipe import Recipe
from raytl.results.schemas import ConfirmedRow, EpochRow, PictureRow, PredictionRow, TrialRow

START = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)

_TRIAL = TrialRow(
    study="study",
    trial_id="t0",
    recipe_hash="h0",
    tune_trial_id=None,
    stage="search",
    backbone="tiny_a",
    status="running",
    started_at=START,
    freeze_depth=3,
    recipe=Recipe(backbone="tiny_a", lr=0.003, clip_norm=1.5, schedule="step:10,0.5"),
)
_EPOCH = EpochRow(
    trial_id="t0",
    epoch=1,
    started_at=START,
    ended_at=START + timedelta(seconds=2),
    train_loss=1.25,
    train_accuracy=None,
    val_loss=0.75,
    val_accuracy=0.5,
    val_macro_f1=0.25,
    lr=0.001,
    images_per_second=120.0,
    is_best=True,
)
_CONFIRMED = ConfirmedRow(
    trial_id="t0",
    recipe_hash="h0",
    backbone="tiny_a",
    role="best",
    seed=0,
    split=0,
    freeze_depth=3,
    val_accuracy=0.5,
    val_macro_f1=0.25,
    val_loss=0.75,
    test_accuracy=0.5,
    test_macro_f1=0.5,
    test_loss=1.0,
    test_auc=None,
    test_count=4,
    correct=2,
    train_seconds=3.5,
    predict_images_per_second=300.0,
)


def trial_row(**values: Any) -> TrialRow:
    """A running trial with some values replaced."""
    return replace(_TRIAL, **values)


def epoch_row(**values: Any) -> EpochRow:
    """An epoch with some values replaced."""
    return replace(_EPOCH, **values)


def confirmed_row(**values: Any) -> ConfirmedRow:
    """A final model's row with some values replaced."""
    return replace(_CONFIRMED, **values)


def prediction_row(**values: Any) -> PredictionRow:
    """A prediction with some values replaced."""
    row = PredictionRow(trial_id="t0", seed=0, path="a/0.jpg", label="a", predicted="b", probabilities=[0.25, 0.75])
    return replace(row, **values)


def picture_row(**values: Any) -> PictureRow:
    """A picture with some values replaced."""
    row = PictureRow(path="a/0.jpg", label="a", split="train", width=8, height=6, sha256="0" * 64, status="ok")
    return replace(row, **values)
