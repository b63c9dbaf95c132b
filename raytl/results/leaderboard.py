"""The leaderboard as plain text, for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from raytl.metric import Metric
from raytl.results.answer import answer_sentence
from raytl.results.facts import BackboneSearch, FinalModel, backbone_searches, final_models, find_answer
from raytl.results.tables import Tables
from raytl.results.wording import NOTHING, duration, frozen, metric_text, percent_interval

COLUMNS = 100
GAP = "  "

Cells = tuple[str, ...]


def leaderboard_lines(tables: Tables, metric: Metric) -> list[str]:
    """Final models, best on validation first, then backbones without one; last the answer in a sentence.

    Trials are those of the backbone's search: run, and of these stopped early.
    """
    models, searches = final_models(tables, metric), backbone_searches(tables, metric)
    by_backbone = {search.backbone: search for search in searches}
    tested = {model.backbone for model in models}
    rows = [_model_cells(model, by_backbone.get(model.backbone), metric) for model in models]
    rows += [_search_cells(search, metric) for search in searches if search.backbone not in tested]
    header = ("backbone", "role", "test accuracy [95%]", metric.name, "frozen", "seconds", "trials/stopped")
    varied = {search.backbone: search.varied for search in searches}
    answer = answer_sentence(find_answer(tables, models, searches), varied)
    return [*(_aligned([header, *rows]) if rows else []), *wrap(answer, COLUMNS, break_on_hyphens=False)]


def _model_cells(model: FinalModel, search: BackboneSearch | None, metric: Metric) -> Cells:
    return (
        model.backbone,
        model.role,
        percent_interval(model.test),
        metric_text(metric.name, getattr(model, metric.name)),
        frozen(model.freeze_depth, model.stage_count),
        duration(model.train_seconds),
        _trials(search),
    )


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


def _aligned(rows: Sequence[Cells]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    room = COLUMNS - sum(widths[1:]) - len(GAP) * (len(widths) - 1)
    widths[0] = min(widths[0], room)
    lines = [(_shortened(row[0], widths[0]), *row[1:]) for row in rows]
    return [_line(cells, widths) for cells in lines]


def _line(cells: Cells, widths: list[int]) -> str:
    names = [cell.ljust(width) for cell, width in zip(cells[:3], widths[:3], strict=True)]
    figures = [cell.rjust(width) for cell, width in zip(cells[3:], widths[3:], strict=True)]
    return GAP.join([*names, *figures]).rstrip()


def _shortened(name: str, width: int) -> str:
    """A long name without its middle: both ends tell backbones apart."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"
