"""Parts of the report about models: the answer, final models, the search, learning curves and freeze depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from raytl.metric import Metric
from raytl.results.answer import answer_sentence, choice_sentence, extent
from raytl.results.charts import Axis, Curve, Dot, axis, curve_legend, legend, panel, strip
from raytl.results.facts import Answer, BackboneSearch, FinalModel
from raytl.results.history import FreezePoint, TrialCurve
from raytl.results.page import Html, classed, note, section, table, tag
from raytl.results.rungs import Rung
from raytl.results.wording import (
    METRIC_NAMES,
    NOTHING,
    count,
    decimal,
    duration,
    frozen,
    large,
    metric_text,
    percent,
    percent_interval,
    recipe_text,
    value_text,
)


def answer_section(
    answer: Answer | None, searches: Sequence[BackboneSearch], metric: Metric, sizes: Sequence[str]
) -> Html:
    """The answer in one sentence; `sizes` are sentences on what such small sets can show."""
    varied = {search.backbone: search.varied for search in searches}
    parts = [classed("p", "answer", answer_sentence(answer, varied))]
    if answer:
        parts += [note(choice_sentence(metric)), *(note(sentence) for sentence in sizes), _whole_recipe(answer.best)]
    return section("answer", "Answer", parts)


def finals_section(models: Sequence[FinalModel], gaps: Sequence[float | None], metric: Metric) -> Html:
    """The leaderboard of final models with intervals, and accuracy against the time to train."""
    if not models:
        return section("finals", "Final models", [note("None has been tested yet.")])
    ends = [end for model in models for end in (model.test.low, model.test.high, model.test.value)]
    low, high = (f([end for end in ends if math.isfinite(end)]) for f in (min, max))
    auc = ["AUC"] if any(model.test_auc is not None for model in models) else []
    rows = [
        (
            model.backbone,
            model.role,
            classed("td", "strip", strip(model.test, low, high)),
            *_figures(model, gap, metric),
            *(decimal(model.test_auc) for _ in auc),
        )
        for model, gap in zip(models, gaps, strict=True)
    ]
    header = (
        "backbone", "role", f"test accuracy, {percent(low)} to {percent(high)}", "test accuracy [95%]", "macro F1",
        METRIC_NAMES[metric.name], "train−val", "frozen stages", "seeds", "train", "pictures/s", "parameters", *auc,
    )  # fmt: skip
    problems = [
        classed("p", "warn", f"{model.backbone}, {model.role}: {model.problem}") for model in models if model.problem
    ]
    about = (
        f"Best first by {METRIC_NAMES[metric.name]}. Figures are means over seeds; each interval is over "
        f"{extent(models[0])}. The role says why a recipe was trained again: the backbone's best, its best head alone "
        "where more than a head is best, or its linear probe (all stages frozen, plain pictures). Train−val is the gap "
        "in accuracy at the best epoch, which grows with overfitting; train is the time of one run, without what "
        "frozen stages make of the pictures, which is computed once for all runs."
    )
    return section(
        "finals", "Final models", [note(about), table(header, rows, (0, 1, 2), first=True), *problems, _pareto(models)]
    )


def searches_section(searches: Sequence[BackboneSearch], metric: Metric) -> Html:
    """What the search of each backbone tried and found."""
    rows = [
        (
            search.backbone,
            *(count(search.statuses.get(status, 0)) for status in ("completed", "stopped", "diverged", "failed")),
            count(search.trials),
            count(search.probes),
            duration(search.seconds),
            metric_text(metric.name, getattr(search.best, metric.name) if search.best else None),
            frozen(search.best.freeze_depth, search.stage_count) if search.best else "",
            recipe_text(search.best.recipe, search.varied) if search.best else "no trial ended with a figure",
        )
        for search in searches
    ]
    header = (
        "backbone", "completed", "stopped", "diverged", "failed", "trials", "probes", "trial time",
        METRIC_NAMES[metric.name], "frozen stages", "best recipe (what the search varied)",
    )  # fmt: skip
    body = (
        [table(header, [[*row[:-1], classed("td", "wide", row[-1])] for row in rows], (0, len(header) - 1))]
        if rows
        else []
    )
    about = (
        "Stopped trials were ended early by the scheduler. The validation figure of a best trial flatters it: it was "
        "picked by this figure. Of its recipe the fields are told that are not at their defaults."
    )
    return section("search", "Search", [note(about if rows else "No trial has run."), *body])


def ladder_section(climbed: Sequence[Rung], metric: Metric) -> Html:
    """What each freeze depth was given, reached and cost, and how one led to the next."""
    if not climbed:
        return section("ladder", "Depth by depth", [note("No trial has run.")])
    rows = [
        (
            rung.backbone,
            "heads, before the search" if rung.stage == "probe" else "search",
            frozen(rung.freeze_depth, rung.stage_count),
            count(rung.trials),
            count(rung.stopped),
            metric_text(metric.name, getattr(rung.best, metric.name) if rung.best else None),
            duration(rung.seconds),
            duration(rung.seconds / rung.trials),
        )
        for rung in climbed
    ]
    header = (
        "backbone", "stage", "frozen stages", "trials", "stopped", f"best {METRIC_NAMES[metric.name]}",
        "trial time", "per trial",
    )  # fmt: skip
    about = (
        "Heads over a wholly frozen backbone come first: what it makes of the pictures is computed once, and all heads "
        "train on that together. The best of them is then carried on to fewer and fewer frozen stages, the cheapest "
        "first, and the scheduler ends what falls behind. The best of many trials flatters more than that of few."
    )
    if not any(rung.stage == "probe" for rung in climbed):
        about = "All trials were alike to the searcher; no heads were tried beforehand."
    return section("ladder", "Depth by depth", [note(about), table(header, rows, (0, 1))])


def curves_section(curves: Mapping[str, Sequence[TrialCurve]], metric: Metric) -> Html:
    """Learning curves, one chart per backbone on common axes."""
    if not curves:
        return section("curves", "Learning curves", [note("No epoch has been recorded.")])
    values = [point for trials in curves.values() for trial in trials for point in trial.points]
    y = axis(_without_tail([value for _, value in values], metric), METRIC_NAMES[metric.name], _tick(metric))
    x = axis([1, *(epoch for epoch, _ in values)], "epoch", lambda value: f"{value:.0f}" if value % 1 == 0 else "")
    panels = [
        panel(name, x, y, [Curve(trial.points, trial.kind) for trial in trials]) for name, trials in curves.items()
    ]
    kinds = [
        ("best", "best trial"),
        ("completed", "completed"),
        ("stopped", "all others: stopped early, failed, diverged or running"),
    ]
    return section("curves", "Learning curves", [curve_legend(kinds), classed("div", "panels", panels)])


def freeze_section(freeze: Sequence[FreezePoint], metric: Metric) -> Html:
    """Freeze depth against what a trial reached and what it cost."""
    if not freeze:
        return section("freeze", "Freeze depth", [note("No trial with a known freeze depth has ended.")])
    names = list(dict.fromkeys(point.backbone for point in freeze))
    x = Axis(-0.03, 1.03, "share of the forward pass that is frozen", lambda value: f"{value:.0%}")
    reached = axis(_without_tail([point.value for point in freeze], metric), METRIC_NAMES[metric.name], _tick(metric))
    priced = [(point, point.epoch_seconds) for point in freeze if point.epoch_seconds]
    cost = axis((seconds for _, seconds in priced), "seconds per epoch", lambda value: f"{value:g}", log=True)
    panels = [
        panel(f"{METRIC_NAMES[metric.name]}", x, reached, dots=[_dot(point, point.value, names) for point in freeze]),
        panel("seconds per epoch", x, cost, dots=[_dot(point, seconds, names) for point, seconds in priced]),
    ]
    about = "Each mark is a trial: left nothing of the backbone is frozen, right all of it (head only)."
    return section("freeze", "Freeze depth", [note(about), legend(names), classed("div", "panels", panels)])


def _figures(model: FinalModel, gap: float | None, metric: Metric) -> tuple[str, ...]:
    return (
        percent_interval(model.test),
        percent(model.test_macro_f1),
        metric_text(metric.name, getattr(model, metric.name)),
        NOTHING if gap is None else f"{100 * gap:+.1f}",
        frozen(model.freeze_depth, model.stage_count),
        count(len(model.seeds)),
        duration(model.train_seconds),
        count(model.predict_images_per_second),
        large(model.parameters),
    )


def _pareto(models: Sequence[FinalModel]) -> Html:
    names = list(dict.fromkeys(model.backbone for model in models))
    x = axis((model.train_seconds for model in models), "seconds to train", lambda value: f"{value:g}", log=True)
    y = axis((model.test.value for model in models), "test accuracy", lambda value: f"{value:.1%}")
    dots = [
        Dot(model.train_seconds, model.test.value, names.index(model.backbone), f"{model.backbone}, {model.role}")
        for model in models
    ]
    return Html(legend(names) + panel("accuracy against time to train", x, y, dots=dots))


def _whole_recipe(model: FinalModel) -> Html:
    if model.recipe is None:
        return note("The recipe is not recorded.")
    text = "\n".join(f"{name}={value_text(value)}" for name, value in model.recipe.values().items() if name != "seed")
    seeds = ", ".join(map(str, model.seeds))
    where = f" The model is in {model.model_path}." if model.model_path else ""
    return tag("details", [tag("summary", "The whole recipe"), note(f"Seeds {seeds}.{where}"), tag("pre", text)])


def _dot(point: FreezePoint, y: float, names: list[str]) -> Dot:
    return Dot(point.frozen_fraction, y, names.index(point.backbone), f"{point.backbone} {point.trial_id}: {y:.4g}")


def _tick(metric: Metric) -> Callable[[float], str]:
    return (lambda value: f"{value:.3g}") if metric.name == "val_loss" else (lambda value: f"{value:.0%}")


def _without_tail(values: Iterable[float], metric: Metric) -> list[float]:
    """Values without the worst 2% of a loss, whose peaks would press all else to the floor (they go to the edge)."""
    finite = sorted(value for value in values if math.isfinite(value))
    return finite if metric.maximize else finite[: max(1, math.ceil(0.98 * len(finite)))]
