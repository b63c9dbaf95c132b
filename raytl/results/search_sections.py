"""Parts of the report about the search: what mattered, what each backbone tried, learning curves and freeze depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from raytl.metric import Metric
from raytl.recipe import FIELD_NAMES
from raytl.results.charts import Axis, Curve, Dot, axis, curve_legend, legend, panel
from raytl.results.facts import BackboneSearch
from raytl.results.history import FreezePoint, TrialCurve
from raytl.results.importance import LEAST_TRIALS, Importance
from raytl.results.page import Html, classed, note, section, table, tag
from raytl.results.parallel import LINES, Column, parallel
from raytl.results.rungs import Rung
from raytl.results.schemas import PROBE, SEARCH
from raytl.results.varied import TrialGroup
from raytl.results.wording import METRIC_NAMES, count, duration, frozen, metric_text, percent, recipe_text

STAGES = {PROBE: "heads over frozen backbones", SEARCH: "search"}
TOLD_BY_LINE = ("backbone", "frozen_fraction", "freeze_depth", "lr")  # first in the chart of all trials


def importance_section(found: Sequence[Importance], metric: Metric) -> Html:
    """The share of the differences between trials that each field explains, and which is more than chance."""
    if not found:
        few = f"What mattered can be told from {LEAST_TRIALS} trials with a figure on, which no stage has."
        return section("importance", "What mattered", [note(few)])
    about = (
        f"How much of the differences between trials in {METRIC_NAMES[metric.name]} (by rank) each field explains "
        "alone (functional ANOVA over a random forest). A field is marked where it explains more than all shuffled "
        "copies of the fields, which mean nothing; what is not marked cannot be told from chance with so few trials. "
        "All this is within the space that was searched, and says nothing of what lies outside it."
    )
    return section("importance", "What mattered", [note(about), classed("div", "panels", map(_shares, found))])


def lines_section(groups: Sequence[TrialGroup], metric: Metric) -> Html:
    """Each trial as a line across the fields of its recipe, a chart per stage."""
    whole = [group for group in groups if _is_whole(group, groups) and len(group.rows) > 1 and group.columns]
    if not whole:
        return section("lines", "Trial by trial", [note("No two trials with a figure differ in their recipes.")])
    about = (
        f"Each line is a trial, from its recipe on the left to its {METRIC_NAMES[metric.name]} on the right; the "
        "stronger its colour, the better its rank. Point at a line to see which it is. Of more than "
        f"{LINES} trials the best and an even choice of the others are drawn."
    )
    charts = [
        part
        for group in whole
        for part in (tag("h3", _title(group)), classed("div", "scroll", [_lines(group, metric)]))
    ]
    return section("lines", "Trial by trial", [note(about), *charts])


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
            "heads, before the search" if rung.stage == PROBE else "search",
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
    if not any(rung.stage == PROBE for rung in climbed):
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


def _dot(point: FreezePoint, y: float, names: list[str]) -> Dot:
    return Dot(point.frozen_fraction, y, names.index(point.backbone), f"{point.backbone} {point.trial_id}: {y:.4g}")


def _tick(metric: Metric) -> Callable[[float], str]:
    return (lambda value: f"{value:.3g}") if metric.name == "val_loss" else (lambda value: f"{value:.0%}")


def _without_tail(values: Iterable[float], metric: Metric) -> list[float]:
    """Values without the worst 2% of a loss, whose peaks would press all else to the floor (they go to the edge)."""
    finite = sorted(value for value in values if math.isfinite(value))
    return finite if metric.maximize else finite[: max(1, math.ceil(0.98 * len(finite)))]


def _shares(found: Importance) -> Html:
    rows = [
        (share.field, classed("td", "bar", [_bar(share.value, share.matters)]), percent(share.value))
        for share in found.shares
    ]
    where = found.backbone or "all backbones"
    title = tag("h3", f"{where}: {STAGES[found.stage]}, {found.trials:,} trials")
    told = note(f"The best copy without meaning explains {percent(found.chance)}.")
    return tag("div", [title, table(("field", "", "explains"), rows, (0, 1)), told])


def _bar(value: float, matters: bool) -> Html:
    kind = "matters" if matters else "chance"
    return tag("div", "", {"class": f"share {kind}", "style": f"--share: {value:.3f}", "title": kind})


def _is_whole(group: TrialGroup, groups: Sequence[TrialGroup]) -> bool:
    """Whether no other group holds this one's trials and more."""
    return group.backbone is None or all(other.backbone or other.stage != group.stage for other in groups)


def _title(group: TrialGroup) -> str:
    return f"{STAGES[group.stage].capitalize()}, {len(group.rows):,} trials of {group.backbone or 'all backbones'}"


def _lines(group: TrialGroup, metric: Metric) -> Html:
    names = sorted(group.columns, key=lambda name: TOLD_BY_LINE.index(name) if name in TOLD_BY_LINE else 9)
    values = [getattr(row, metric.name) for row in group.rows]
    fields = [name for name in names if name in FIELD_NAMES]
    columns = [*(Column(name, group.columns[name]) for name in names), Column(METRIC_NAMES[metric.name], values)]
    titles = [
        f"{row.backbone} {row.trial_id}: {value:.4g}, {recipe_text(row.recipe, fields)}"
        for row, value in zip(group.rows, values, strict=True)
    ]
    return parallel(columns, group.ranks.tolist(), titles)
