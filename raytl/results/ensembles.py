"""The ensembles of a study: what each is made of, what it reached on the test pictures, and what that costs.

An ensemble is no candidate for the answer. Its members were chosen on the validation pictures by their own joint
figure there, so that this figure is no measure beside those of single models, and it costs as much as all of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from raytl.errors import DataError
from raytl.limits import NO_LIMITS, Limits
from raytl.results.facts import FinalModel, behind_first
from raytl.results.outcomes import outcomes
from raytl.results.schemas import ENSEMBLE
from raytl.results.stats import Interval, accuracy_interval
from raytl.results.tables import Tables
from raytl.results.wording import per_picture, percent_interval, points, weights_size


@dataclass(frozen=True)
class Part:
    """One member of an ensemble: a run of a final model, and its weight, a fraction."""

    trial_id: str
    backbone: str
    role: str
    seed: int
    weight: float

    @property
    def text(self) -> str:
        """`tiny_vit, best, seed 0: 0.25`."""
        return f"{self.backbone}, {self.role}, seed {self.seed}: {self.weight:.2f}"


@dataclass(frozen=True)
class Ensemble:
    """One ensemble as a final model of its own, and its accuracy less that of `rival`, the study's answer.

    `difference` is paired by picture; None, with the reason, where there is none.
    """

    model: FinalModel
    parts: tuple[Part, ...]
    rival: FinalModel
    difference: Interval | None
    problem: str | None = None


def find_ensembles(tables: Tables, models: Sequence[FinalModel], limits: Limits = NO_LIMITS) -> tuple[Ensemble, ...]:
    """The ensembles that were tested, in the order in which they were; `models` as `final_models` gives them."""
    if not models:
        return ()
    rows = {row["trial_id"]: row for row in tables.confirmed.to_pylist()}
    parameters = dict(zip(*(tables.trials[name].to_pylist() for name in ("trial_id", "parameters")), strict=True))
    return tuple(
        _ensemble(tables, models[0], row, _parts(row, rows), parameters, limits)
        for row in rows.values()
        if row["role"] == ENSEMBLE
    )


def ensemble_models(ensembles: Sequence[Ensemble]) -> tuple[FinalModel, ...]:
    """The ensembles as final models, to be told after the others."""
    return tuple(each.model for each in ensembles)


def ensemble_sentence(ensemble: Ensemble) -> str:
    """What it is made of, what it reached, against what, and at what price."""
    model, rival = ensemble.model, ensemble.rival
    where = f" It is in {model.model_path}." if model.model_path else ""
    return (
        f"The ensemble of {len(ensemble.parts)} final models ({'; '.join(part.text for part in ensemble.parts)}) has "
        f"{percent_interval(model.test)} test accuracy over {model.test_count:,} pictures; {_against(ensemble)} "
        f"({rival.backbone}, {rival.role}). {_price(ensemble)} Its validation figure is the one that its members and "
        f"weights were chosen on, so it flatters, and the answer stays a single model.{where}"
    )


def runs_text(model: FinalModel) -> str:
    """`mean of 5 runs`, or which seed it is."""
    count = len(model.trial_ids)
    return f"mean of {count} runs" if count > 1 else f"seed {model.seeds[0]}"


def _against(ensemble: Ensemble) -> str:
    if ensemble.difference is None:
        return f"not compared with the answer: {ensemble.problem}"
    if not ensemble.difference.excludes_zero:
        return f"not told apart from the answer, {points(ensemble.difference)}"
    return f"{points(ensemble.difference)} against the answer"


def _price(ensemble: Ensemble) -> str:
    """What a picture costs, against the rival's price."""
    models = (ensemble.model, ensemble.rival)
    times = [per_picture(each.milliseconds) for each in models]
    sizes = [weights_size(each.size_bytes) for each in models]
    over = f", over the limit ({ensemble.model.over})" if ensemble.model.over else ""
    return f"A picture takes {times[0]} (the answer: {times[1]}), the weights {sizes[0]} ({sizes[1]}){over}."


def _parts(row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> tuple[Part, ...]:
    weights: dict[str, float] = json.loads(row["members"] or "{}")
    known = [(rows[name], weight) for name, weight in weights.items() if name in rows]
    parts = [Part(run["trial_id"], run["backbone"], run["role"], run["seed"], weight) for run, weight in known]
    return tuple(sorted(parts, key=lambda part: -part.weight))


def _ensemble(
    tables: Tables,
    rival: FinalModel,
    row: Mapping[str, Any],
    parts: tuple[Part, ...],
    parameters: Mapping[str, int | None],
    limits: Limits,
) -> Ensemble:
    sizes = [parameters.get(part.trial_id) for part in parts]
    size = None if None in sizes else sum(each or 0 for each in sizes)
    test, problem = _test_accuracy(tables, row)
    model = FinalModel(
        backbone=row["backbone"],
        role=row["role"],
        freeze_depth=row["freeze_depth"],
        stage_count=None,
        seeds=(row["seed"],),
        runs={row["split"]: (row["trial_id"],)},
        val_accuracy=row["val_accuracy"],
        val_macro_f1=row["val_macro_f1"],
        val_loss=row["val_loss"],
        test=test,
        test_macro_f1=row["test_macro_f1"],
        test_loss=row["test_loss"],
        test_auc=row["test_auc"],
        test_count=row["test_count"],
        train_seconds=row["train_seconds"],
        predict_images_per_second=row["predict_images_per_second"],
        parameters=size,
        trainable_parameters=None,
        model_path=row["model_path"],
        recipe=None,
        problem=problem,
        over=limits.excess(row["predict_images_per_second"], size),
    )
    comparison = behind_first(tables, (rival, model))[1]
    lead = comparison.difference if comparison else None
    difference = Interval(0.0 - lead.value, 0.0 - lead.high, 0.0 - lead.low) if lead else None
    return Ensemble(model, parts, rival, difference, comparison.problem if comparison else None)


def _test_accuracy(tables: Tables, row: Mapping[str, Any]) -> tuple[Interval, str | None]:
    try:
        own = tables.predictions.filter(pc.field("trial_id") == row["trial_id"])
        return accuracy_interval(outcomes(own, [row["trial_id"]]).correct), None
    except DataError as error:
        return Interval(row["test_accuracy"], math.nan, math.nan), str(error)
