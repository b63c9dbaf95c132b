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


Runs = dict[int, dict[int, float]]  # by seed, then by split


@dataclass(frozen=True)
class BackboneEffects:
    """The effects on one backbone's test figure, or why they cannot be told.

    `left_out` are seeds that lack a run on some split in some cell.
    """

    backbone: str
    figure: str
    table: Effects | None
    problem: str | None = None
    left_out: tuple[int, ...] = ()

    @property
    def note(self) -> str | None:
        """What is not in the effects; None where all is."""
        seeds = ", ".join(map(str, self.left_out))
        plural = "s" if len(self.left_out) > 1 else ""
        return f"Left out everywhere, since some of their runs have no figure: seed{plural} {seeds}." if seeds else None


def design_of(study: Mapping[str, Any]) -> Design:
    """The design in `study.json`; empty where the study has none."""
    spec = study.get("spec")
    design = spec.get("design") if isinstance(spec, Mapping) else None
    return design if isinstance(design, Mapping) else {}


def design_effects(design: Design, tables: Tables, metric: Metric) -> tuple[BackboneEffects, ...]:
    """For each backbone with runs, in the order of its first one. A seed's figure is its mean over splits.

    Splits and seeds have figures of their own, so all cells are told over the same ones: a seed that was not tested on
    every split in every cell that ran, since a run failed or is still to come, is left out of all of them.
    """
    figure = FIGURES[metric.name]
    levels = {cell.name: cell.levels for cell in cells_of(design)}
    runs: dict[str, dict[Cell, Runs]] = {}
    for row in tables.confirmed.to_pylist():
        if row["role"] in levels:
            of_backbone = runs.setdefault(row["backbone"], defaultdict(lambda: defaultdict(dict)))
            of_backbone[levels[row["role"]]][row["seed"]][row["split"]] = row[figure]
    return tuple(_effects(backbone, figure, design, cells) for backbone, cells in runs.items())


def design_lines(design: Design, tables: Tables, metric: Metric, columns: int = COLUMNS) -> list[str]:
    """What each factor does, in sentences for a terminal; none where the study has no design."""
    lines: list[str] = []
    for found in design_effects(design, tables, metric):
        lines.append(f"{found.backbone}, {FIGURE_NAMES[found.figure]}, points against the mean of all:")
        told = effect_lines(found.table) if found.table else [f"no effects: {found.problem}"]
        for line in [*told, *([found.note] if found.note else [])]:
            lines += wrap(line, columns, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    return lines


def _effects(backbone: str, figure: str, design: Design, cells: Mapping[Cell, Runs]) -> BackboneEffects:
    factors = {factor: tuple(levels) for factor, levels in design.items()}
    seeds = sorted({seed for runs in cells.values() for seed in runs})
    splits = {split for runs in cells.values() for found in runs.values() for split in found}
    whole = [seed for seed in seeds if all(runs.get(seed, {}).keys() == splits for runs in cells.values())]
    if not whole:
        return BackboneEffects(backbone, figure, None, "no seed was tested on every split in every combination")
    values = {cell: [sum(runs[seed].values()) / len(splits) for seed in whole] for cell, runs in cells.items()}
    left_out = tuple(seed for seed in seeds if seed not in whole)
    try:
        return BackboneEffects(backbone, figure, factorial_effects(factors, values), left_out=left_out)
    except ValueError as error:
        return BackboneEffects(backbone, figure, None, str(error), left_out)
