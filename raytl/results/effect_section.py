"""The part of the report about a study's design: what each choice does, against the spread between seeds."""

from __future__ import annotations

from collections.abc import Sequence

from raytl.results.costs import RunCost
from raytl.results.designed import FIGURE_NAMES, BackboneEffects
from raytl.results.effects import Effects, effect_lines
from raytl.results.facts import FinalModel
from raytl.results.page import Html, classed, note, section, table, tag
from raytl.results.wording import duration, megabytes, percent, percent_interval, points

ABOUT = (
    "Every combination of the choices was trained under the same seeds. A choice's effect is what its runs have beyond "
    "the mean of all; that of a pair, what its runs have beyond what both choices do by themselves. Intervals hold for "
    "the whole table at once at 95%, and are over seeds alone: other test pictures would shift all runs together."
)

COSTS = (
    "What each combination took. Training is the time of the epochs; a run is from its start to its end, with what is "
    "computed once and stored for all runs of the same frozen stages: the longest run has computed it. Memory is the "
    "most that the worker held at once, libraries included."
)


def effects_section(
    found: Sequence[BackboneEffects], models: Sequence[FinalModel] = (), costs: Sequence[RunCost] = ()
) -> Html:
    """Sentences and a table for each backbone, and what the runs of each model took."""
    parts = [note(ABOUT), *(part for each in found for part in _backbone(each))]
    return section("effects", "Effects", [*parts, *([note(COSTS), _costs(models, costs)] if models else [])])


def _costs(models: Sequence[FinalModel], costs: Sequence[RunCost]) -> Html:
    rows = [
        (
            model.backbone,
            model.role,
            percent_interval(model.test),
            duration(model.train_seconds),
            duration(cost.median_seconds),
            duration(cost.longest_seconds),
            megabytes(cost.stored_bytes),
            megabytes(cost.peak_memory_bytes),
        )
        for model, cost in zip(models, costs, strict=True)
    ]
    header = (
        "backbone", "role", "test accuracy [95%]", "training", "a run, median", "a run, longest", "stored", "memory",
    )  # fmt: skip
    return table(header, rows, (0, 1))


def _backbone(found: BackboneEffects) -> list[Html]:
    title = [tag("h3", f"{found.backbone}, {FIGURE_NAMES[found.figure]}")]
    title += [classed("p", "warn", found.note)] if found.note else []
    if found.table is None:
        return [*title, classed("p", "warn", f"No effects can be told: {found.problem}.")]
    sentences = [tag("p", line) for line in effect_lines(found.table)]
    spread = (
        f"Mean of all runs {percent(found.table.mean)}; spread between seeds {100 * found.table.spread:.1f} points."
    )
    return [*title, note(spread), *sentences, _table(found.table)]


def _table(effects: Effects) -> Html:
    rows = [
        (
            " x ".join(each.factors),
            " with ".join(each.levels),
            points(each.interval),
            "yes" if each.interval.excludes_zero else "no",
        )
        for each in effects.effects
    ]
    return table(("choice", "level", "effect [95%]", "larger than the spread"), rows, (0, 1, 3))
