"""What a tracking server is told of a study: a sheet for each trial, each final model, and the study itself.

A final model is a recipe trained again under several seeds: its sheet has their means, with the ends of intervals, and
is the parent of their own sheets. Texts hold no secrets.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raytl.identity import recipe_hash
from raytl.recipe import Recipe
from raytl.redaction import redacted
from raytl.results.facts import FinalModel, final_models, study_limits, study_metric
from raytl.results.folder import StudyFolder
from raytl.results.leaderboard import answer_text
from raytl.results.schemas import ConfirmedRow, EpochRow, TrialRow
from raytl.results.tables import Tables, confirmed_rows, epoch_rows, trial_rows

STUDY, FINAL = "study", "final"
RUNNING, FINISHED, FAILED = "RUNNING", "FINISHED", "FAILED"
STATUSES = {"running": RUNNING, "completed": FINISHED, "stopped": FINISHED, "diverged": FAILED, "failed": FAILED}
EPOCH_FIGURES = (
    "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1", "lr", "images_per_second",
)  # fmt: skip
TEST_FIGURES = (
    "test_accuracy", "test_macro_f1", "test_loss", "test_auc", "train_seconds", "predict_images_per_second",
)  # fmt: skip
BEST_FIGURES = ("val_accuracy", "val_macro_f1", "val_loss")  # of a trial: those of its best epoch
TRIAL_FIGURES = ("best_epoch", "seconds", "frozen_fraction", "parameters", "trainable_parameters", "peak_memory_bytes")


@dataclass(frozen=True)
class Figure:
    """One number under a name; `step` counts epochs, or the runs that a mean is over."""

    name: str
    value: float
    step: int
    at: datetime


@dataclass(frozen=True)
class RunSheet:
    """One run of a tracking server. `key` is its own within the study, `parent` the key of another sheet.

    `status` is RUNNING, FINISHED or FAILED; `files` lie in the study's folder.
    """

    key: str
    name: str
    status: str
    begin: datetime | None
    end: datetime | None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    files: tuple[Path, ...] = ()
    parent: str | None = None

    @property
    def digest(self) -> str:
        """A text that changes with anything on the sheet and in its files."""
        contents = [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in self.files]
        values = {**asdict(self), "files": contents}
        return hashlib.sha256(json.dumps(values, default=str, sort_keys=True).encode()).hexdigest()[:16]


def run_sheets(folder: StudyFolder, tables: Tables) -> list[RunSheet]:
    """All sheets of a study; only those without a parent are parents.

    Raises:
        StorageError: `study.json` cannot be read.
    """
    values = folder.read_study()
    trials = trial_rows(tables.trials)
    tested = {row.trial_id: row for row in confirmed_rows(tables.confirmed)}
    models = final_models(tables, study_metric(values), study_limits(values))
    parents = {trial_id: _final_key(model) for model in models for trial_id in model.trial_ids}
    epochs: dict[str, list[EpochRow]] = {}
    for row in epoch_rows(tables.epochs.sort_by([("trial_id", "ascending"), ("epoch", "ascending")])):
        epochs.setdefault(row.trial_id, []).append(row)
    return [
        _study_sheet(folder, values, tables, trials),
        *(_final_sheet(folder, model, trials) for model in models),
        *(
            _trial_sheet(row, epochs.get(row.trial_id, ()), tested.get(row.trial_id), parents.get(row.trial_id))
            for row in trials
        ),
    ]


def _study_sheet(
    folder: StudyFolder, values: Mapping[str, Any], tables: Tables, trials: Sequence[TrialRow]
) -> RunSheet:
    """The study itself: its answer in words, the command and where it ran, and the report."""
    spec = values.get("spec")
    told = {name: values.get(name) for name in ("command", "git_commit", "data_fingerprint")}
    told |= (
        {name: spec.get(name) for name in ("data", "searcher", "scheduler", "policy")}
        if isinstance(spec, Mapping)
        else {}
    )
    metric = study_metric(values)
    begin, end = _times(trials)
    return RunSheet(
        key=STUDY,
        name=folder.root.resolve().name,
        status=RUNNING if any(row.status == "running" for row in trials) else FINISHED,
        begin=begin,
        end=end,
        tags=_texts(
            {**told, "stage": STUDY, "metric": metric.name, "answer": answer_text(tables, metric, study_limits(values))}
        ),
        files=_there(folder.report),
    )


def _final_sheet(folder: StudyFolder, model: FinalModel, trials: Sequence[TrialRow]) -> RunSheet:
    own = [row for row in trials if row.trial_id in model.trial_ids]
    begin, end = _times(own)
    values: dict[str, object] = {
        "test_accuracy_low": model.test.low,
        "test_accuracy_high": model.test.high,
        "milliseconds_a_picture": model.milliseconds,
        "size_bytes": model.size_bytes,
        **{name: getattr(model, name) for name in (*BEST_FIGURES, *TEST_FIGURES) if name != "test_accuracy"},
        "test_accuracy": model.test.value,
    }
    return RunSheet(
        key=_final_key(model),
        name=f"{model.backbone}, {model.role}",
        status=FINISHED,
        begin=begin,
        end=end,
        params=_params(model.recipe, without="seed"),
        tags=_texts(
            {
                "stage": FINAL,
                "role": model.role,
                "status": "tested",
                "trial_id": ", ".join(model.trial_ids),
                "backbone": model.backbone,
                "seeds": ", ".join(map(str, model.seeds)),
                "splits": len(model.runs),
                "test_count": model.test_count,
                "over_limit": model.over,
                "problem": model.problem,
            }
        ),
        figures=_figures(values, len(model.trial_ids), end),
        files=_there(folder.root / model.model_path / "README.md") if model.model_path else (),
    )


def _trial_sheet(
    trial: TrialRow, epochs: Iterable[EpochRow], tested: ConfirmedRow | None, parent: str | None
) -> RunSheet:
    by_epoch = [
        figure
        for row in epochs
        for figure in _figures({name: getattr(row, name) for name in EPOCH_FIGURES}, row.epoch, row.ended_at)
    ]
    values: dict[str, object] = {f"best_{name}": getattr(trial, name) for name in BEST_FIGURES}
    values |= {name: getattr(trial, name) for name in TRIAL_FIGURES}
    values |= {name: getattr(tested, name) for name in TEST_FIGURES} if tested else {}
    names = ("trial_id", "stage", "status", "backbone", "origin", "split", "recipe_hash", "reason", "node", "attempts")
    tags = {name: getattr(trial, name) for name in names} | {"role": tested.role if tested else trial.origin}
    return RunSheet(
        key=trial.trial_id,
        name=f"{trial.backbone} {trial.stage} {trial.trial_id}",
        status=STATUSES[trial.status],
        begin=trial.started_at,
        end=trial.ended_at,
        params=_params(trial.recipe),
        tags=_texts(tags),
        figures=(*by_epoch, *_figures(values, trial.epochs_run, trial.ended_at or trial.started_at)),
        parent=parent,
    )


def _final_key(model: FinalModel) -> str:
    """The same whatever seeds and splits the study grows by."""
    return f"{FINAL} {recipe_hash(model.recipe, '') if model.recipe else f'{model.backbone} {model.role}'}"


def _figures(values: Mapping[str, object], step: int, at: datetime | None) -> tuple[Figure, ...]:
    """Those that exist; a loss that is no number stays, since it is what ended its trial."""
    return tuple(
        Figure(name, float(value), step, at or datetime.fromtimestamp(0, UTC))
        for name, value in values.items()
        if isinstance(value, int | float) and not (math.isnan(value) and name.startswith("test_"))
    )


def _params(recipe: Recipe | None, without: str = "") -> dict[str, str]:
    values = recipe.values() if recipe else {}
    return {name: redacted(str(value)) for name, value in values.items() if name != without}


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    """What exists, as text."""
    return {name: redacted(str(value)) for name, value in values.items() if value is not None}


def _times(trials: Sequence[TrialRow]) -> tuple[datetime | None, datetime | None]:
    begins, ends = ([getattr(row, name) for row in trials] for name in ("started_at", "ended_at"))
    return min(begins, default=None), max((end for end in ends if end), default=None)


def _there(path: Path) -> tuple[Path, ...]:
    return (path,) if path.is_file() else ()
