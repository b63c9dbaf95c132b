"""What a person concludes from a study, as plain facts: the report and the terminal tell the same.

Which final model is the answer is decided by validation figures alone, so that the test set measures it and does not
choose it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc

from raytl.errors import DataError
from raytl.identity import recipe_hash
from raytl.limits import BYTES_PER_PARAMETER, NO_LIMITS, Limits
from raytl.metric import METRICS, Metric, find_metric
from raytl.recipe import FIELD_NAMES, Recipe
from raytl.results.outcomes import compare, outcomes
from raytl.results.schemas import AFTERWARDS, PROBE, SEARCH, TrialRow
from raytl.results.stats import Interval, accuracy_interval, over_splits
from raytl.results.tables import RANKED_STAGES, Tables, is_ranked, trial_rows

TOLD_ELSEWHERE = ("backbone", "freeze_depth", "seed")


@dataclass(frozen=True)
class FinalModel:
    """One recipe trained again under several seeds (and splits), and tested: means over these runs.

    `runs` holds trial ids by split; `stage_count` is that of the backbone, None where no probe tells it. `problem`
    says why the accuracy has no interval, `over` by what the model is over the study's limits.
    """

    backbone: str
    role: str
    freeze_depth: int
    stage_count: int | None
    seeds: tuple[int, ...]
    runs: Mapping[int, tuple[str, ...]]
    val_accuracy: float
    val_macro_f1: float
    val_loss: float
    test: Interval
    test_macro_f1: float
    test_loss: float
    test_auc: float | None
    test_count: int
    train_seconds: float
    predict_images_per_second: float
    parameters: int | None
    trainable_parameters: int | None
    model_path: str | None
    recipe: Recipe | None
    problem: str | None
    over: str | None = None

    @property
    def trial_ids(self) -> tuple[str, ...]:
        """The runs of all splits."""
        return tuple(trial_id for ids in self.runs.values() for trial_id in ids)

    @property
    def milliseconds(self) -> float | None:
        """Of one picture, among many."""
        return 1000 / self.predict_images_per_second if self.predict_images_per_second > 0 else None

    @property
    def size_bytes(self) -> int | None:
        """Of the weights, as 32-bit numbers."""
        return None if self.parameters is None else BYTES_PER_PARAMETER * self.parameters


@dataclass(frozen=True)
class Comparison:
    """The answer's accuracy less that of `other`, on the same pictures; None with the reason where it has none."""

    name: str
    other: FinalModel
    difference: Interval | None
    problem: str | None = None


@dataclass(frozen=True)
class Answer:
    """The final model that is best on validation data, against the next backbone's best and its own linear probe.

    `untested` are backbones whose search found something of which no final model has been tested. `barred` are better
    on validation data and over the study's limits; where even `best` is over them, no model is within.
    """

    best: FinalModel
    comparisons: tuple[Comparison, ...]
    untested: tuple[str, ...] = ()
    barred: tuple[FinalModel, ...] = ()


@dataclass(frozen=True)
class BackboneSearch:
    """The search of one backbone; `trials` counts those of the search, `probes` those before it.

    `varied` names the recipe fields in which its trials differ.
    """

    backbone: str
    trials: int
    probes: int
    statuses: Mapping[str, int]
    seconds: float
    best: TrialRow | None
    stage_count: int | None
    varied: tuple[str, ...]


def study_metric(study: Mapping[str, Any]) -> Metric:
    """The metric that decides the study in `study.json`, which names it at the top or in one of its parts."""
    parts = (study, *(part for part in study.values() if isinstance(part, Mapping)))
    names = [part["metric"] for part in parts if isinstance(part.get("metric"), str)]
    return find_metric(names[0]) if names else METRICS["val_accuracy"]


def study_limits(study: Mapping[str, Any]) -> Limits:
    """The limits in `study.json` on what the answer may cost; none where an older version wrote it."""
    spec = study.get("spec")
    found = [spec.get(name) for name in ("max_latency_ms", "max_size_mb")] if isinstance(spec, Mapping) else [None] * 2
    return Limits(*(float(most) if isinstance(most, int | float) else None for most in found))


def final_models(tables: Tables, metric: Metric, limits: Limits = NO_LIMITS) -> tuple[FinalModel, ...]:
    """All final models, best first by the mean of `metric` over their runs, then by the lower validation loss.

    Those over the limits come last: the first is the answer. What was made of them is told apart (`afterwards.py`).
    """
    rows = [row for row in tables.confirmed.to_pylist() if row["role"] not in AFTERWARDS]
    several_splits = len({row["split"] for row in rows}) > 1
    trials = {row.trial_id: row for row in trial_rows(tables.trials)}
    groups: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        trial, own = trials.get(row["trial_id"]), row["recipe_hash"]
        if several_splits:  # the hash covers the split: the same recipe has another one in each
            own = recipe_hash(trial.recipe, "") if trial else row["role"]
        groups[row["backbone"], own].append(row)  # not by role: what was best is another's head in an extended study
    models = (final_model(tables, trials, group) for group in groups.values())
    judged = [replace(each, over=limits.excess(each.predict_images_per_second, each.parameters)) for each in models]
    return tuple(sorted(judged, key=lambda model: (model.over is not None, metric.key(model))))


def find_answer(
    tables: Tables, models: Sequence[FinalModel], searches: Sequence[BackboneSearch], metric: Metric
) -> Answer | None:
    """What the study concludes from `final_models`; None where no final model is there yet."""
    if not models:
        return None
    best, *others = models
    rivals = [model for model in others if model.backbone != best.backbone] or [
        model for model in others if model.role != PROBE
    ]
    probes = [model for model in others if model.backbone == best.backbone and model.role == PROBE]
    named = [("the runner-up", rivals), ("its own linear probe", probes)]
    tested = {model.backbone for model in models}
    return Answer(
        best,
        comparisons=tuple(_comparison(tables, best, name, found[0]) for name, found in named if found),
        untested=tuple(search.backbone for search in searches if search.best and search.backbone not in tested),
        barred=tuple(each for each in others if each.over and not best.over and metric.key(each) < metric.key(best)),
    )


def behind_first(tables: Tables, models: Sequence[FinalModel]) -> tuple[Comparison | None, ...]:
    """The first of `models` compared with each of them, picture by picture; None with itself."""
    return tuple(
        _comparison(tables, models[0], "the first", model) if place else None for place, model in enumerate(models)
    )


def backbone_searches(tables: Tables, metric: Metric) -> tuple[BackboneSearch, ...]:
    """The search of each backbone, the one with the best trial first."""
    groups: defaultdict[str, list[TrialRow]] = defaultdict(list)
    for row in trial_rows(tables.trials):
        if row.stage in RANKED_STAGES:
            groups[row.backbone].append(row)
    searches = [_search(backbone, rows, metric) for backbone, rows in groups.items()]
    return tuple(sorted(searches, key=lambda search: metric.key(search.best) if search.best else (math.inf, math.inf)))


def stage_count(rows: Sequence[TrialRow]) -> int | None:
    """The number of a backbone's stages: a probe freezes all of them."""
    return max((row.freeze_depth for row in rows if PROBE in (row.stage, row.origin)), default=None)


def train_count(tables: Tables) -> int:
    """Training pictures of the first split that were not left out."""
    usable = tables.data.filter((pc.field("split") == "train") & (pc.field("status") != "bad"))
    return len(usable)


def final_model(tables: Tables, trials: Mapping[str, TrialRow], rows: list[dict[str, Any]]) -> FinalModel:
    """The runs of one recipe, given as rows of `confirmed`, as one model; `trials` are the study's by their ids."""
    first = rows[0]
    of_backbone = [row for row in trials.values() if row.backbone == first["backbone"]]
    probed = [row["freeze_depth"] for row in rows if row["role"] == PROBE]
    runs: defaultdict[int, tuple[str, ...]] = defaultdict(tuple)
    for row in rows:
        runs[row["split"]] += (row["trial_id"],)
    test, problem = _test_accuracy(tables, runs, rows)
    trial = trials.get(first["trial_id"])
    return FinalModel(
        backbone=first["backbone"],
        role=rows[-1]["role"],
        freeze_depth=first["freeze_depth"],
        stage_count=stage_count(of_backbone) or max(probed, default=None),
        seeds=tuple(sorted({row["seed"] for row in rows})),
        runs=dict(runs),
        val_accuracy=_mean(rows, "val_accuracy"),
        val_macro_f1=_mean(rows, "val_macro_f1"),
        val_loss=_mean(rows, "val_loss"),
        test=test,
        test_macro_f1=_mean(rows, "test_macro_f1"),
        test_loss=_mean(rows, "test_loss"),
        test_auc=None if first["test_auc"] is None else _mean(rows, "test_auc"),
        test_count=first["test_count"],
        train_seconds=_mean(rows, "train_seconds"),
        predict_images_per_second=_mean(rows, "predict_images_per_second"),
        parameters=trial.parameters if trial else None,
        trainable_parameters=trial.trainable_parameters if trial else None,
        model_path=next((row["model_path"] for row in rows if row["model_path"]), None),
        recipe=trial.recipe if trial else None,
        problem=problem,
    )


def _test_accuracy(
    tables: Tables, runs: Mapping[int, tuple[str, ...]], rows: list[dict[str, Any]]
) -> tuple[Interval, str | None]:
    recorded = _mean(rows, "test_accuracy")
    try:
        grids = [outcomes(tables.predictions, ids).correct for ids in runs.values()]
    except DataError as error:
        return Interval(recorded, math.nan, math.nan), str(error)
    measured = float(np.mean([accuracy for grid in grids for accuracy in grid.mean(axis=1)]))
    if not math.isclose(measured, recorded, abs_tol=1e-6):
        problem = f"the predictions give an accuracy of {measured:.4f}, the table of final models {recorded:.4f}"
        return Interval(recorded, math.nan, math.nan), problem
    if len(grids) == 1:
        return accuracy_interval(grids[0]), None
    interval, unknown = _over_splits(tables, [float(grid.mean()) for grid in grids], grids[0].shape[1])
    return interval.of_share, unknown


def _over_splits(tables: Tables, values: list[float], test_count: int) -> tuple[Interval, str | None]:
    training = train_count(tables)
    if not training:
        problem = "the table of pictures is missing, so how much the splits overlap is not known"
        return Interval(float(np.mean(values)), math.nan, math.nan), problem
    return over_splits(values, test_count, training), None


def _comparison(tables: Tables, best: FinalModel, name: str, other: FinalModel) -> Comparison:
    splits = sorted(best.runs.keys() & other.runs.keys())
    try:
        differences = [compare(tables.predictions, best.runs[split], other.runs[split]) for split in splits]
    except DataError as error:
        return Comparison(name, other, None, str(error))
    if not splits:
        return Comparison(name, other, None, "the two were tested on different splits")
    if len(splits) == 1:
        return Comparison(name, other, differences[0])
    interval, problem = _over_splits(tables, [difference.value for difference in differences], best.test_count)
    return Comparison(name, other, interval, problem)


def _search(backbone: str, rows: list[TrialRow], metric: Metric) -> BackboneSearch:
    searched = [row for row in rows if row.stage == SEARCH]
    ranked = [row for row in rows if is_ranked(row, metric)]
    return BackboneSearch(
        backbone=backbone,
        trials=len(searched),
        probes=len(rows) - len(searched),
        statuses=Counter(row.status for row in searched),
        seconds=sum(row.seconds or 0.0 for row in rows),
        best=min(ranked, key=metric.key, default=None),
        stage_count=stage_count(rows),
        varied=_varied(rows),
    )


def _varied(rows: list[TrialRow]) -> tuple[str, ...]:
    values = [row.recipe.values() for row in rows]
    names = (name for name in FIELD_NAMES if name not in TOLD_ELSEWHERE)
    return tuple(name for name in names if len({value[name] for value in values}) > 1)


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))
