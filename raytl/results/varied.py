"""What the trials of a search differ in, and how they rank: what importance and the chart of all trials are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytl.metric import Metric
from raytl.recipe import FIELD_NAMES
from raytl.results.schemas import TrialRow
from raytl.results.tables import RANKED_STAGES, Tables, is_ranked, trial_rows

DEPTH, FRACTION = "freeze_depth", "frozen_fraction"
SAME_FRACTION = 0.01  # chosen: heads differ in size, so that a wholly frozen backbone's share differs by less


@dataclass(frozen=True)
class TrialGroup:
    """Trials of one stage that have a figure: of one backbone, or of all (`backbone` is None) where it is a field.

    `columns`: the recipe fields in which they differ, a value per trial. `ranks`: (N,) from 0, the worst, to 1.
    """

    stage: str
    backbone: str | None
    rows: tuple[TrialRow, ...]
    columns: Mapping[str, Sequence[Any]]
    ranks: np.ndarray


def trial_groups(tables: Tables, metric: Metric) -> tuple[TrialGroup, ...]:
    """By stage, the search before its probes: all backbones together where there are several, then each of them."""
    rows = [row for row in trial_rows(tables.trials) if row.stage in RANKED_STAGES and is_ranked(row, metric)]
    groups: list[TrialGroup] = []
    for stage in sorted({row.stage for row in rows}, reverse=True):
        of_backbone: defaultdict[str, list[TrialRow]] = defaultdict(list)
        for row in rows:
            if row.stage == stage:
                of_backbone[row.backbone].append(row)
        if len(of_backbone) > 1:
            together = [row for found in of_backbone.values() for row in found]
            groups.append(_group(stage, None, together, metric))
        groups += [_group(stage, backbone, found, metric) for backbone, found in of_backbone.items()]
    return tuple(groups)


def _group(stage: str, backbone: str | None, rows: Sequence[TrialRow], metric: Metric) -> TrialGroup:
    order = sorted(range(len(rows)), key=lambda index: metric.key(rows[index]), reverse=True)
    ranks = np.argsort(order) / max(1, len(rows) - 1)
    return TrialGroup(stage, backbone, tuple(rows), _columns(rows, pooled=backbone is None), ranks)


def _columns(rows: Sequence[TrialRow], pooled: bool) -> dict[str, list[Any]]:
    """The depths of several backbones do not compare, so there it is the share of the forward pass that is frozen.

    Nor is a field told that has one value for each backbone, such as its format of numbers: its part is the backbone's.
    """
    values = [row.recipe.values() for row in rows]
    names = [name for name in FIELD_NAMES if name != "seed" and not (pooled and name == DEPTH)]
    columns: dict[str, list[Any]] = {name: [value[name] for value in values] for name in names}
    fractions = [row.frozen_fraction or 0.0 for row in rows]
    if pooled and max(fractions) - min(fractions) > SAME_FRACTION:
        columns[FRACTION] = fractions
    kinds = [row.backbone for row in rows]
    return {
        name: column
        for name, column in columns.items()
        if (name == "backbone" and len(set(kinds)) > 1) or not _follows(column, kinds)
    }


def _follows(column: Sequence[Any], kinds: Sequence[str]) -> bool:
    """Whether a value follows from its row's kind; also where all rows have the same."""
    return len(set(zip(kinds, map(str, column), strict=True))) == len(set(kinds))
