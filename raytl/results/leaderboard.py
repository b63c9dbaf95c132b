"""The leaderboard as plain text, for a terminal of 100 columns or fewer."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from raytl.limits import NO_LIMITS, Limits
from raytl.metric import Metric
from raytl.results.afterwards import find_afterwards
from raytl.results.answer import answer_sentence
from raytl.results.costs import run_costs
from raytl.results.facts import BackboneSearch, FinalModel, backbone_searches, final_models, find_answer
from raytl.results.rarest import rarest_lines
from raytl.results.schemas import ENSEMBLE
from raytl.results.tables import Tables
from raytl.results.usage import amount, bill_of
from raytl.results.wording import COLUMNS, NOTHING, duration, frozen, metric_text, percent_interval, shortened

GAP = "  "
NAME, LEAST = 20, 5  # chosen: characters that tell backbones apart; columns that are never left out

Cells = tuple[str, ...]


def leaderboard_lines(tables: Tables, metric: Metric, columns: int = COLUMNS, limits: Limits = NO_LIMITS) -> list[str]:
    """Final models, best on validation first, then backbones without one; last the answer in a sentence.

    Trials are those of the backbone's search: run, and of these stopped early. In a narrow terminal they are left out,
    then the seconds. Where classes are unequal, the recall of the rarest follows. Models over the limits come last, and
    a line each says by what. Ensembles and distillates follow the models, and a sentence on each the answer. Where
    machines have prices, a column tells what a run cost, and the last line what the study did.
    """
    models, searches = final_models(tables, metric, limits), backbone_searches(tables, metric)
    later = find_afterwards(tables, models, limits)
    answer = _answer(tables, models, searches, metric)
    by_backbone = {search.backbone: search for search in searches}
    tested = {model.backbone for model in models}
    rows = [_model_cells(model, by_backbone.get(model.backbone), metric) for model in models]
    rows += [_model_cells(each, None, metric) for each in later.models]
    rows += [_search_cells(search, metric) for search in searches if search.backbone not in tested]
    header: Cells = ("backbone", "role", "test accuracy [95%]", metric.name, "frozen", "seconds", "trials/stopped")
    if (bill := bill_of(tables.trials)) is not None:
        costs = [*(each.cost for each in run_costs(tables, models)), *[None] * (len(rows) - len(models))]
        header, rows = _with_costs(header, rows, costs)
    rare = rarest_lines(tables, (*models, *later.models))
    return [
        *(_aligned([header, *rows], columns) if rows else []),
        *(f"over the limit: {each.backbone}, {each.role}: {each.over}" for each in models if each.over),
        *wrap(answer, columns, break_on_hyphens=False),
        *(line for said in later.sentences for line in wrap(said, columns, break_on_hyphens=False)),
        *rare,
        *(wrap(bill.sentence, columns, break_on_hyphens=False) if bill else []),
    ]


def answer_text(tables: Tables, metric: Metric, limits: Limits = NO_LIMITS) -> str:
    """The answer in a sentence, as one line."""
    return _answer(tables, final_models(tables, metric, limits), backbone_searches(tables, metric), metric)


def _answer(tables: Tables, models: Sequence[FinalModel], searches: Sequence[BackboneSearch], metric: Metric) -> str:
    varied = {search.backbone: search.varied for search in searches}
    return answer_sentence(find_answer(tables, models, searches, metric), varied)


def _model_cells(model: FinalModel, search: BackboneSearch | None, metric: Metric) -> Cells:
    return (
        model.backbone,
        model.role,
        percent_interval(model.test),
        metric_text(metric.name, getattr(model, metric.name)),
        NOTHING if model.role == ENSEMBLE else frozen(model.freeze_depth, model.stage_count),  # each member has its own
        duration(model.train_seconds),
        _trials(search),
    )


def _with_costs(header: Cells, rows: Sequence[Cells], costs: Sequence[float | None]) -> tuple[Cells, list[Cells]]:
    """With a column after the seconds."""
    told = [(*row[:-1], amount(cost), row[-1]) for row, cost in zip(rows, costs, strict=True)]
    return (*header[:-1], "cost", header[-1]), told


def _search_cells(search: BackboneSearch, metric: Metric) -> Cells:
    best = search.best
    return (
        search.backbone,
        best.stage if best else NOTHING,
        "not tested",
        metric_text(metric.name, getattr(best, metric.name) if best else None),
        frozen(best.freeze_depth, search.stage_count) if best else NOTHING,
        duration(best.seconds if best else None),
        _trials(search),
    )


def _trials(search: BackboneSearch | None) -> str:
    return f"{search.trials}/{search.statuses.get('stopped', 0)}" if search else NOTHING


def _aligned(rows: Sequence[Cells], columns: int) -> list[str]:
    while _name_room(rows, columns) < min(NAME, max(len(row[0]) for row in rows)) and len(rows[0]) > LEAST:
        rows = [row[:-1] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[0] = max(len(GAP), min(widths[0], _name_room(rows, columns)))
    lines = [(shortened(row[0], widths[0]), *row[1:]) for row in rows]
    return [_line(cells, widths) for cells in lines]


def _name_room(rows: Sequence[Cells], columns: int) -> int:
    """Characters that the other columns leave for a backbone's name."""
    return columns - sum(max(len(row[column]) for row in rows) + len(GAP) for column in range(1, len(rows[0])))


def _line(cells: Cells, widths: list[int]) -> str:
    names = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
    figures = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
    return GAP.join([*names, *figures]).rstrip()
