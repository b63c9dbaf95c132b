"""The answer of a study in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping

from raytl.metric import Metric
from raytl.results.facts import Answer, Comparison, FinalModel
from raytl.results.schemas import PROBE
from raytl.results.wording import METRIC_NAMES, percent, percent_interval, points, recipe_text

NO_ANSWER = "No final model has been tested yet: the study was ended before its confirmation, or goes on."


def answer_sentence(answer: Answer | None, varied: Mapping[str, tuple[str, ...]]) -> str:
    """The best backbone and recipe, how good, and against what; `varied` by backbone as in `BackboneSearch`."""
    if answer is None:
        return NO_ANSWER
    best = answer.best
    recipe = f" ({recipe_text(best.recipe, varied.get(best.backbone, ()))})" if best.recipe else ""
    compared = "; ".join(comparison_text(comparison) for comparison in answer.comparisons)
    untested = f" Not tested yet: {', '.join(answer.untested)}." if answer.untested else ""
    first = "Best of those tested so far" if untested else "Best"
    if best.over:
        first = f"No final model is within the limits of this study. {first} without them"
    barred = "; ".join(f"{each.backbone}, {each.role}: {each.over}" for each in answer.barred)
    return (
        f"{first} is {best.backbone} with {depth_text(best)}{recipe}: "
        f"{percent_interval(best.test)} test accuracy over {extent(best)}; "
        f"{compared or 'no other model was tested to compare it with'}."
        f"{f' It is over the limit: {best.over}.' if best.over else ''}"
        f"{f' Better on validation, but over the limit: {barred}.' if barred else ''}{untested}"
    )


def choice_sentence(metric: Metric) -> str:
    """How the answer was chosen, and what the brackets mean."""
    return (
        f"It was chosen by {METRIC_NAMES[metric.name]}, not by its test figure. Brackets are 95% intervals; "
        "two models are compared picture by picture on the same test pictures."
    )


def comparison_text(comparison: Comparison) -> str:
    """One comparison: a difference larger than the noise, one that is not, or why that cannot be told."""
    other = comparison.other
    name = f"{comparison.name} ({other.backbone}{'' if other.role == PROBE else f', {other.role}'}, " + (
        f"{percent(other.test.value)})"
    )
    if comparison.difference is None:
        return f"not compared with {name}: {comparison.problem}"
    if math.isnan(comparison.difference.low):
        why = f": {comparison.problem}" if comparison.problem else ""
        return f"{points(comparison.difference)} against {name}, and whether that is noise cannot be told{why}"
    if not comparison.difference.excludes_zero:
        return f"not told apart from {name}, {points(comparison.difference)}"
    return f"{points(comparison.difference)} against {name}"


def depth_text(model: FinalModel) -> str:
    """How much of the backbone is frozen, in words."""
    if model.freeze_depth == 0:
        return "all stages trained"
    if model.freeze_depth == model.stage_count:
        return f"all {model.stage_count} stages frozen"
    whole = f" of {model.stage_count}" if model.stage_count else ""
    if model.freeze_depth == 1 and not whole:
        return "the first stage frozen"
    return f"the first {model.freeze_depth}{whole} stages frozen"


def extent(model: FinalModel) -> str:
    """`5 seeds and 300 pictures`: what the interval is over."""
    seeds = f"{len(model.seeds)} seed{'s' if len(model.seeds) > 1 else ''}"
    splits = f", {len(model.runs)} splits" if len(model.runs) > 1 else ""
    each = " each" if splits else ""
    return f"{seeds}{splits} and {model.test_count:,} pictures{each}"
