"""The effects that a study with a design found, from its tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from raytl.design import Design, cells_of
from raytl.metric import Metric
from raytl.results.effects import Cell, Effects, effect_lines, factorial_effects
from raytl.results.tables import Tables
from raytl.results.wording import COLUMNS

# The test figure that stands for each figure of validation; for a loss, the accuracy: effects are told in points.
FIGURES = {"val_accuracy": "test_accuracy", "val_macro_f1": "test_macro_f1", "val_loss": "test_accuracy"}
FIGURE_NAMES = {"test_accuracy": "test accuracy", "test_macro_f1": "test macro F1"}


@dataclass(frozen=True)
class BackboneEffects:
    """The effects on one backbone's test figure, or why they cannot be told."""

    backbone: str
    figure: str
    table: Effects | None
    problem: str | None = None


def design_of(study: Mapping[str, Any]) -> Design:
    """The design in `study.json`; empty where the study has none."""
    spec = study.get("spec")
    design = spec.get("design") if isinstance(spec, Mapping) else None
    return design if isinstance(design, Mapping) else {}


def design_effects(design: Design, tables: Tables, metric: Metric) -> tuple[BackboneEffects, ...]:
    """For each backbone with runs, in the order of its first one. A seed's figure is its mean over splits."""
    figure = FIGURES[metric.name]
    levels = {cell.name: cell.levels for cell in cells_of(design)}
    runs: dict[str, dict[Cell, dict[int, list[float]]]] = {}
    for row in tables.confirmed.to_pylist():
        if row["role"] in levels:
            of_backbone = runs.setdefault(row["backbone"], defaultdict(lambda: defaultdict(list)))
            of_backbone[levels[row["role"]]][row["seed"]].append(row[figure])
    return tuple(_effects(backbone, figure, design, cells) for backbone, cells in runs.items())


def design_lines(design: Design, tables: Tables, metric: Metric, columns: int = COLUMNS) -> list[str]:
    """What each factor does, in sentences for a terminal; none where the study has no design."""
    lines: list[str] = []
    for found in design_effects(design, tables, metric):
        lines.append(f"{found.backbone}, {FIGURE_NAMES[found.figure]}, points against the mean of all:")
        told = effect_lines(found.table) if found.table else [f"no effects: {found.problem}"]
        for line in told:
            lines += wrap(line, columns, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    return lines


def _effects(
    backbone: str, figure: str, design: Design, cells: Mapping[Cell, Mapping[int, list[float]]]
) -> BackboneEffects:
    factors = {factor: tuple(levels) for factor, levels in design.items()}
    values = {cell: [sum(each) / len(each) for each in seeds.values()] for cell, seeds in cells.items()}
    try:
        return BackboneEffects(backbone, figure, factorial_effects(factors, values))
    except ValueError as error:
        return BackboneEffects(backbone, figure, None, str(error))
