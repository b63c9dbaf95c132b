"""A study made up for tests: plausible rows, written through the real ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from raytl.identity import recipe_hash, trial_id
from raytl.recipe import Recipe
from raytl.results.folder import StudyFolder
from raytl.results.ledger import Ledger
from raytl.results.schemas import ConfirmedRow, EpochRow, PictureRow, PredictionRow, TrialRow
from raytl.results.tables import Tables

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FINGERPRINT = "made-up"
STAGES = 6
ROLES = ("best", "default", "probe")
ROLE_ACCURACY = {"best": 0.94, "default": 0.90, "probe": 0.84}


@dataclass(frozen=True)
class Plan:
    """What a made-up study holds. `gap` is how far each backbone lies below the one before it."""

    backbones: tuple[str, ...] = ("tiny_vit", "tiny_resnet", "tiny_mobilenet")
    classes: tuple[str, ...] = ("daisy", "rose", "tulip")
    trials: int = 6
    epochs: int = 5
    seeds: int = 3
    splits: int = 1
    test_pictures: int = 60
    train_pictures: int = 200
    roles: tuple[str, ...] = ROLES
    gap: float = 0.06
    confirmed: bool = True
    seed: int = 0
    command: str = "raytl search flowers --trials 6"
    metric: str = "val_accuracy"
    extra_pictures: tuple[PictureRow, ...] = ()


def write_study(root: Path, plan: Plan) -> StudyFolder:
    """Writes `study.json` and the ledger of a made-up study."""
    folder = StudyFolder(root)
    folder.create()
    spec = {"name": root.name, "metric": plan.metric, "backbones": list(plan.backbones), "settings": {}}
    backbones = {name: {"stages": [f"stage {index}" for index in range(STAGES)]} for name in plan.backbones}
    versions = {"raytl": "0.1.0", "torch": "2.15.0"}
    folder.write_study({"spec": spec, "command": plan.command, "backbones": backbones, "versions": versions})
    ledger = Ledger.open(folder.ledger)
    generator = np.random.default_rng(plan.seed)
    ledger.commit("data", [*picture_rows(plan), *plan.extra_pictures])
    for rank, backbone in enumerate(plan.backbones):
        _commit_search(ledger, plan, backbone, rank, generator)
        if plan.confirmed:
            _commit_finals(ledger, plan, backbone, rank, generator)
    return folder


def slowed(tables: Tables, backbone: str, images_per_second: float) -> Tables:
    """The same study, but for how many pictures a second one backbone's final models classify."""
    name, rows = "predict_images_per_second", tables.confirmed.to_pylist()
    speeds = [images_per_second if row["backbone"] == backbone else row[name] for row in rows]
    place = tables.confirmed.schema.get_field_index(name)
    confirmed = tables.confirmed.set_column(place, tables.confirmed.schema.field(name), pa.array(speeds, pa.float64()))
    return replace(tables, confirmed=confirmed)


def picture_rows(plan: Plan) -> list[PictureRow]:
    """Usable pictures of all splits."""
    sizes = {"train": plan.train_pictures, "val": plan.test_pictures, "test": plan.test_pictures}
    return [
        picture_row(f"{split}/{index:04d}.jpg", plan.classes[index % len(plan.classes)], split)
        for split, size in sizes.items()
        for index in range(size)
    ]


def picture_row(
    path: str,
    label: str,
    split: str | None,
    status: str = "ok",
    reason: str | None = None,
    content: str | None = None,
) -> PictureRow:
    """One picture; `content` is what its checksum is of, by default its path, so that no two are copies."""
    sha256 = hashlib.sha256((content or path).encode()).hexdigest()
    return PictureRow(
        path=path, label=label, split=split, width=64, height=48, sha256=sha256, status=status, reason=reason
    )


def trial_row(
    recipe: Recipe,
    stage: str = "search",
    status: str = "completed",
    reason: str | None = None,
    accuracy: float | None = 0.9,
    epochs_run: int = 5,
    split: int = 0,
) -> TrialRow:
    """One trial of a backbone of six stages; without an accuracy it never reached an epoch's end."""
    fingerprint = f"{FINGERPRINT}-{split}"
    frozen = recipe.freeze_depth / STAGES
    return TrialRow(
        study="made-up",
        trial_id=trial_id(recipe, fingerprint, stage),
        recipe_hash=recipe_hash(recipe, fingerprint),
        tune_trial_id=None,
        stage=stage,
        backbone=recipe.backbone,
        status=status,
        reason=reason,
        started_at=START,
        ended_at=None if status == "running" else START + timedelta(seconds=60),
        seconds=None if status == "running" else epochs_run * (1.0 + 9.0 * (1 - frozen)),
        epochs_run=epochs_run,
        best_epoch=epochs_run if accuracy is not None else None,
        val_accuracy=accuracy,
        val_macro_f1=accuracy,
        val_loss=None if accuracy is None else 1.1 - accuracy,
        freeze_depth=recipe.freeze_depth,
        frozen_fraction=0.95 * frozen,
        trainable_parameters=1_000,
        parameters=250_000,
        split=split,
        recipe=recipe,
    )


def epoch_rows(trial: TrialRow) -> Iterator[EpochRow]:
    """The epochs of a trial, its accuracy growing to the trial's own."""
    final = trial.val_accuracy if trial.val_accuracy is not None else 0.3
    for epoch in range(1, trial.epochs_run + 1):
        accuracy = final * (1 - 0.5**epoch) / (1 - 0.5**trial.epochs_run)
        yield EpochRow(
            trial_id=trial.trial_id,
            epoch=epoch,
            started_at=START,
            ended_at=START + timedelta(seconds=epoch),
            train_loss=1.0 - accuracy,
            train_accuracy=min(1.0, accuracy + 0.02),
            val_loss=1.1 - accuracy,
            val_accuracy=accuracy,
            val_macro_f1=accuracy,
            lr=1e-3,
            images_per_second=500.0,
            is_best=True,
        )


def _commit_search(ledger: Ledger, plan: Plan, backbone: str, rank: int, generator: np.random.Generator) -> None:
    probe = Recipe(backbone=backbone, freeze_depth=STAGES, epochs=plan.epochs)
    trials = [trial_row(probe, "probe", accuracy=0.84 - plan.gap * rank, epochs_run=plan.epochs)]
    for index in range(plan.trials):
        lr = float(10 ** generator.uniform(-4.5, -2))
        depth = int(generator.integers(0, STAGES + 1))
        recipe = Recipe(backbone=backbone, freeze_depth=depth, lr=lr, epochs=plan.epochs)
        stopped = index % 3 == 1
        accuracy = 0.94 - plan.gap * rank - 0.04 * abs(np.log10(lr) + 3) - 0.01 * depth - (0.1 if stopped else 0)
        epochs_run = max(1, plan.epochs // 3) if stopped else plan.epochs
        status = "stopped" if stopped else "completed"
        trials.append(trial_row(recipe, status=status, accuracy=float(accuracy), epochs_run=epochs_run))
    wild = Recipe(backbone=backbone, lr=1.0, epochs=plan.epochs)
    trials.append(trial_row(wild, status="diverged", reason="loss was NaN in epoch 1", accuracy=None, epochs_run=0))
    ledger.commit("trials", trials)
    ledger.commit("epochs", [row for trial in trials for row in epoch_rows(trial)])


def _commit_finals(ledger: Ledger, plan: Plan, backbone: str, rank: int, generator: np.random.Generator) -> None:
    for role in plan.roles:
        depth = {"best": 2, "default": 0, "probe": STAGES}[role]
        level = ROLE_ACCURACY[role] - plan.gap * rank
        for split in range(plan.splits):
            skill = generator.normal(0, 1, plan.test_pictures)
            for seed in range(plan.seeds):
                recipe = Recipe(backbone=backbone, freeze_depth=depth, epochs=plan.epochs, seed=seed)
                trial = trial_row(recipe, "confirm", accuracy=level, epochs_run=plan.epochs, split=split)
                right = skill + generator.normal(0, 0.5, plan.test_pictures) < np.quantile(skill, level)
                _commit_final(ledger, plan, role, trial, right)


def _commit_final(ledger: Ledger, plan: Plan, role: str, trial: TrialRow, right: np.ndarray) -> None:
    ledger.commit("trials", [trial])
    ledger.commit("epochs", list(epoch_rows(trial)))
    ledger.commit("predictions", list(prediction_rows(plan, trial, right)))
    ledger.commit("confirmed", [confirmed_row(role, trial, right)])


def prediction_rows(plan: Plan, trial: TrialRow, right: np.ndarray) -> Iterator[PredictionRow]:
    """One row per test picture; a wrong answer is the next class."""
    for index, is_right in enumerate(right):
        label, other = (plan.classes[(index + step) % len(plan.classes)] for step in (0, 1))
        yield PredictionRow(
            trial_id=trial.trial_id,
            seed=trial.recipe.seed,
            path=f"test/{trial.split}/{index:04d}.jpg",
            label=label,
            predicted=label if is_right else other,
            probabilities=[1.0 / len(plan.classes)] * len(plan.classes),
        )


def confirmed_row(role: str, trial: TrialRow, right: np.ndarray) -> ConfirmedRow:
    """The test figures that go with `right`, one answer per test picture."""
    accuracy = trial.val_accuracy or 0.0
    return ConfirmedRow(
        trial_id=trial.trial_id,
        recipe_hash=trial.recipe_hash,
        backbone=trial.backbone,
        role=role,
        seed=trial.recipe.seed,
        split=trial.split,
        freeze_depth=trial.freeze_depth,
        val_accuracy=accuracy,
        val_macro_f1=accuracy,
        val_loss=1.1 - accuracy,
        test_accuracy=float(right.mean()),
        test_macro_f1=float(right.mean()),
        test_loss=1.1 - float(right.mean()),
        test_auc=None,
        test_count=len(right),
        correct=int(right.sum()),
        train_seconds=trial.seconds or 0.0,
        predict_images_per_second=2_000.0,
        model_path=f"models/{trial.backbone}" if role == "best" and trial.recipe.seed == 0 else None,
    )
