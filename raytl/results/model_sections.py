"""Parts of the report about final models: the answer, the leaderboard, and what models cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raytl.limits import NO_LIMITS, Limits
from raytl.metric import Metric
from raytl.results.answer import answer_sentence, choice_sentence, extent
from raytl.results.charts import Curve, Dot, axis, curve_legend, legend, panel, strip
from raytl.results.costs import RunCost
from raytl.results.facts import Answer, BackboneSearch, Comparison, FinalModel
from raytl.results.page import Html, classed, note, section, table, tag
from raytl.results.pareto import front
from raytl.results.rarest import Rarest
from raytl.results.schemas import ENSEMBLE
from raytl.results.stats import Interval
from raytl.results.usage import Bill, amount
from raytl.results.wording import (
    METRIC_NAMES,
    NOTHING,
    count,
    decimal,
    duration,
    frozen,
    large,
    megabytes,
    metric_text,
    percent,
    percent_interval,
    points,
    value_text,
)


def answer_section(
    answer: Answer | None,
    searches: Sequence[BackboneSearch],
    metric: Metric,
    sizes: Sequence[str],
    later: Sequence[str] = (),
) -> Html:
    """The answer in one sentence, then those on what was `later` made; `sizes` are on what such small sets can show."""
    varied = {search.backbone: search.varied for search in searches}
    parts = [classed("p", "answer", answer_sentence(answer, varied))]
    if answer:
        parts += [note(choice_sentence(metric)), *(note(sentence) for sentence in later)]
        parts += [*(note(sentence) for sentence in sizes), _whole_recipe(answer.best)]
    return section("answer", "Answer", parts)


def finals_section(
    models: Sequence[FinalModel],
    gaps: Sequence[float | None],
    behind: Sequence[Comparison | None],
    metric: Metric,
    rarest: Rarest | None = None,
) -> Html:
    """The leaderboard of final models with intervals; `behind` compares the first of them with each."""
    if not models:
        return section("finals", "Final models", [note("None has been tested yet.")])
    ends = [end for model in models for end in (model.test.low, model.test.high, model.test.value)]
    low, high = (f([end for end in ends if math.isfinite(end)]) for f in (min, max))
    auc = ["AUC"] if any(model.test_auc is not None for model in models) else []
    rows = [
        (
            model.backbone,
            f"{model.role}, over the limit: {model.over}" if model.over else model.role,
            classed("td", "strip", strip(model.test, low, high)),
            percent_interval(model.test),
            _against(comparison),
            *_figures(model, gap, metric),
            *(decimal(model.test_auc) for _ in auc),
            *([percent_interval(rarest.recalls[place])] if rarest else []),
        )
        for place, (model, gap, comparison) in enumerate(zip(models, gaps, behind, strict=True))
    ]
    rare = [f"recall of {rarest.name} [95%]"] if rarest else []
    header = (
        "backbone", "role", f"{percent(low)} to {percent(high)}", "test accuracy [95%]",
        "points against the first [95%]", "macro F1", METRIC_NAMES[metric.name], "train−val", "frozen stages", "seeds",
        *auc, *rare,
    )  # fmt: skip
    problems = [
        classed("p", "warn", f"{model.backbone}, {model.role}: {model.problem}") for model in models if model.problem
    ]
    return section(
        "finals",
        "Final models",
        [note(_about(models[0], metric)), table(header, rows, (0, 1, 2), first=True), *problems],
    )


def costs_section(
    models: Sequence[FinalModel],
    limits: Limits = NO_LIMITS,
    costs: Sequence[RunCost] = (),
    bill: Bill | None = None,
) -> Html:
    """What final models cost to train and to run, against what they reach and may cost; with a bill, also in money."""
    if not models:
        return section("costs", "Accuracy and cost", [note("None has been tested yet.")])
    money = [amount(each.cost) for each in costs] if bill else []
    rows = [
        (
            model.backbone,
            model.role,
            percent(model.test.value),
            duration(model.train_seconds),
            *money[place : place + 1],
            _milliseconds(model.milliseconds),
            count(model.predict_images_per_second),
            large(model.parameters),
            megabytes(model.size_bytes),
        )
        for place, model in enumerate(models)
    ]
    priced = ["cost of a run"] if bill else []
    header = ("backbone", "role", "test accuracy", "train", *priced, "ms a picture", "pictures/s", "parameters", "size")
    about = (
        "Train is the time of one run, without what frozen stages make of the pictures, which is computed once for all "
        "runs. A picture's time is measured over the test set, in batches, on the machine that trained; the size is "
        "that of the weights as 32-bit numbers. The line joins models that no other beats in both."
    )
    names = list(dict.fromkeys(model.backbone for model in models))
    seconds, speed, size = (
        _pareto(models, name, values, most)
        for name, values, most in (
            ("seconds to train", [model.train_seconds for model in models], None),
            ("milliseconds a picture", [model.milliseconds for model in models], limits.latency_ms),
            ("megabytes", [model.size_bytes / 1e6 if model.size_bytes else None for model in models], limits.size_mb),
        )
    )
    limit = [curve_legend([("limit", f"the study's limit: {limits.text}")])] if limits.text else []
    charts = [legend(names), *limit, classed("div", "panels", [speed, size, seconds])]
    told = [note(_told(bill))] if bill else []
    return section("costs", "Accuracy and cost", [*told, note(about), table(header, rows, (0, 1)), *charts])


def _told(bill: Bill) -> str:
    """What the study cost, and how that is counted."""
    sentence = bill.sentence
    return (
        f"{sentence[0].upper()}{sentence[1:]}. A trial costs the hours for which its workers were held, times the "
        "share of a machine that each held and its price, in the unit of the price. Decoding pictures, and what a kill "
        "lost, is not in it."
    )


def _about(first: FinalModel, metric: Metric) -> str:
    return (
        f"Best first by {METRIC_NAMES[metric.name]}. Figures are means over seeds; each interval is over "
        f"{extent(first)}. Against the first: the difference in test accuracy on the same pictures, which is more than "
        "noise where its interval leaves out 0. The role says why a recipe was trained again: the backbone's best, its "
        "best head alone where more than a head is best, or its linear probe (all stages frozen, plain pictures). An "
        "ensemble stands last, with the validation figure that its members were chosen on, and so does a student that "
        "was distilled from another model. "
        "Train−val is the gap in accuracy at the best epoch, which grows with overfitting."
    )


def _against(comparison: Comparison | None) -> str:
    """The other's accuracy less the first's, in points."""
    if comparison is None or comparison.difference is None:
        return NOTHING
    lead = comparison.difference
    return points(Interval(-lead.value, -lead.high, -lead.low), unit="")


def _figures(model: FinalModel, gap: float | None, metric: Metric) -> tuple[str, ...]:
    return (
        percent(model.test_macro_f1),
        metric_text(metric.name, getattr(model, metric.name)),
        NOTHING if gap is None else f"{100 * gap:+z.1f}",
        NOTHING if model.role == ENSEMBLE else frozen(model.freeze_depth, model.stage_count),
        count(len(model.seeds)),
    )


def _milliseconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2g}"


def _pareto(models: Sequence[FinalModel], name: str, costs: Sequence[float | None], most: float | None) -> Html:
    """Accuracy against one cost, the line of models that none beats in both, and the most that a model may cost."""
    names = list(dict.fromkeys(model.backbone for model in models))
    known = [(cost, model) for cost, model in zip(costs, models, strict=True) if cost]
    x = axis(
        [*(cost for cost, _ in known), *([] if most is None else [most])], name, lambda value: f"{value:g}", log=True
    )
    y = axis((model.test.value for _, model in known), "test accuracy", lambda value: f"{value:.1%}")
    dots = [
        Dot(cost, model.test.value, names.index(model.backbone), f"{model.backbone}, {model.role}: {cost:.3g} {name}")
        for cost, model in known
    ]
    line = Curve(front([(cost, model.test.value) for cost, model in known]), "stopped")
    limit = [] if most is None else [Curve([(most, y.low), (most, y.high)], "limit")]
    return panel(f"accuracy by {name}", x, y, [line, *limit], dots)


def _whole_recipe(model: FinalModel) -> Html:
    if model.recipe is None:
        return note("The recipe is not recorded.")
    text = "\n".join(f"{name}={value_text(value)}" for name, value in model.recipe.values().items() if name != "seed")
    seeds = ", ".join(map(str, model.seeds))
    where = f" The model is in {model.model_path}." if model.model_path else ""
    return tag("details", [tag("summary", "The whole recipe"), note(f"Seeds {seeds}.{where}"), tag("pre", text)])
