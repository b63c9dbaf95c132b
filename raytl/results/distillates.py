"""The distillates of a study: students that learned from its answer or its ensemble, against both teacher and peer.

A distillate is no candidate for the answer. Who is to be the teacher, and whether there is to be a student, was decided
after the test set had been read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from raytl.limits import NO_LIMITS, Limits
from raytl.results.ensembles import Ensemble, runs_text
from raytl.results.facts import FinalModel, behind_first, final_model
from raytl.results.schemas import DISTILLED, TrialRow
from raytl.results.stats import Interval
from raytl.results.tables import Tables, trial_rows
from raytl.results.wording import per_picture, percent_interval, points, weights_size


@dataclass(frozen=True)
class Rival:
    """A model that a distillate is measured against: the distillate's accuracy less that of `model`.

    `difference` is paired by picture; None, with the reason, where there is none.
    """

    model: FinalModel
    difference: Interval | None
    problem: str | None = None


@dataclass(frozen=True)
class Distillate:
    """One student over its seeds, its teacher, and the best final model of its own backbone that had no teacher.

    `members` counts the final models that the teacher is the mean of, 1 where it is a single one; `teacher` is None
    where it is no longer recorded, `peer` where the study has no final model of that backbone.
    """

    model: FinalModel
    teacher: Rival | None
    members: int
    peer: Rival | None


def find_distillates(
    tables: Tables, models: Sequence[FinalModel], ensembles: Sequence[Ensemble], limits: Limits = NO_LIMITS
) -> tuple[Distillate, ...]:
    """The students that were tested, in the order in which they were; `models` as `final_models` gives them."""
    rows = tables.confirmed.to_pylist()
    groups: defaultdict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["role"] == DISTILLED:
            groups[row["backbone"], row["recipe_hash"], row["members"] or ""].append(row)
    if not groups:
        return ()
    trials = {row.trial_id: row for row in trial_rows(tables.trials)}
    known = {row["trial_id"]: row for row in rows}
    return tuple(_distillate(tables, trials, known, group, models, ensembles, limits) for group in groups.values())


def distillate_sentence(distillate: Distillate) -> str:
    """What it learned from, what it reached, against whom, and at what price."""
    model = distillate.model
    rivals = [
        _against(rival, name)
        for rival, name in (
            (distillate.teacher, "its teacher"),
            (distillate.peer, f"{model.backbone} without a teacher"),
        )
        if rival
    ]
    where = f" It is in {model.model_path}." if model.model_path else ""
    return (
        f"{model.backbone} distilled from {teacher_text(distillate)} has {percent_interval(model.test)} test accuracy "
        f"over {model.test_count:,} pictures ({runs_text(model)}){''.join(f'; {said}' for said in rivals)}. "
        f"{_price(distillate)}It was made after the test set had been read, so it is no candidate for the answer."
        f"{where}"
    )


def teacher_text(distillate: Distillate) -> str:
    """`tiny_vit (best, seed 0)`, or of how many final models it is the mean."""
    if distillate.teacher is None:
        return "a teacher that is not recorded here"
    model = distillate.teacher.model
    if distillate.members > 1:
        return f"the ensemble of {distillate.members} final models"
    return f"{model.backbone} ({model.role}, {runs_text(model)})"


def _against(rival: Rival, name: str) -> str:
    whose = f"{name} ({rival.model.role}, {runs_text(rival.model)})"
    if rival.difference is None:
        return f"not compared with {whose}: {rival.problem}"
    if not rival.difference.excludes_zero:
        return f"not told apart from {whose}, {points(rival.difference)}"
    return f"{points(rival.difference)} against {whose}"


def _price(distillate: Distillate) -> str:
    """What a picture costs, against the teacher's price."""
    teacher = distillate.teacher
    if teacher is None:
        return ""
    models = (distillate.model, teacher.model)
    times = [per_picture(each.milliseconds) for each in models]
    sizes = [weights_size(each.size_bytes) for each in models]
    over = f", over the limit ({distillate.model.over})" if distillate.model.over else ""
    return (
        f"A picture took {times[0]} (its teacher, when that was tested: {times[1]}), the weights {sizes[0]} "
        f"({sizes[1]}){over}. "
    )


def _distillate(
    tables: Tables,
    trials: Mapping[str, TrialRow],
    known: Mapping[str, dict[str, Any]],
    rows: list[dict[str, Any]],
    models: Sequence[FinalModel],
    ensembles: Sequence[Ensemble],
    limits: Limits,
) -> Distillate:
    student = final_model(tables, trials, rows)
    student = replace(student, over=limits.excess(student.predict_images_per_second, student.parameters))
    name = next(iter(json.loads(rows[0]["members"] or "{}")), "")
    mean = next((each for each in ensembles if name in each.model.trial_ids), None)
    teacher = mean.model if mean else final_model(tables, trials, [known[name]]) if name in known else None
    peer = next((each for each in models if each.backbone == student.backbone), None)
    return Distillate(
        model=student,
        teacher=_rival(tables, student, teacher),
        members=len(mean.parts) if mean else 1,
        peer=_rival(tables, student, peer),
    )


def _rival(tables: Tables, student: FinalModel, other: FinalModel | None) -> Rival | None:
    if other is None:
        return None
    comparison = behind_first(tables, (student, other))[1]
    assert comparison is not None, "it is not the first"
    return Rival(other, comparison.difference, comparison.problem)
