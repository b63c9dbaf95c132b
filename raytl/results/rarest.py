"""How well the rarest class is found, where classes are unequal: accuracy hides it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raytl.errors import DataError
from raytl.results.facts import FinalModel
from raytl.results.outcomes import outcomes
from raytl.results.stats import Interval, accuracy_interval
from raytl.results.tables import Tables
from raytl.results.wording import percent_interval

UNEQUAL = 3.0  # chosen: times as many training pictures in the most frequent class as in the rarest


@dataclass(frozen=True)
class Rarest:
    """The rarest class, its test pictures, and each model's recall of it with its interval over seeds and pictures."""

    name: str
    test_count: int
    recalls: tuple[Interval, ...]


def rarest_class(tables: Tables, models: Sequence[FinalModel]) -> Rarest | None:
    """The rarest class by training pictures; None where classes are about equal, or no model was tested on it."""
    used = tables.data.filter((pc.field("split") == "train") & (pc.field("status") != "bad"))
    counts = Counter(used["class"].to_pylist())
    if not models or not counts or max(counts.values()) < UNEQUAL * min(counts.values()):
        return None
    name = min(counts, key=lambda label: (counts[label], label))
    predictions = tables.predictions.filter(pc.field("label") == name)
    if not predictions.num_rows:
        return None
    recalls = tuple(_recall(predictions, model) for model in models)
    return Rarest(name, len(set(predictions["path"].to_pylist())), recalls)


def rarest_lines(tables: Tables, models: Sequence[FinalModel]) -> list[str]:
    """The recalls for a terminal; none where classes are about equal."""
    found = rarest_class(tables, models)
    if found is None:
        return []
    title = f"Recall of the rarest class, {found.name} ({found.test_count} test pictures):"
    told = [
        f"  {model.backbone}, {model.role}: {percent_interval(recall)}"
        for model, recall in zip(models, found.recalls, strict=True)
    ]
    return [title, *told]


def _recall(predictions: pa.Table, model: FinalModel) -> Interval:
    """Over the runs of one split with an interval; of several, whose pictures overlap, the mean alone."""
    try:
        grids = [outcomes(predictions, ids).correct for ids in model.runs.values()]
    except DataError:
        return Interval(math.nan, math.nan, math.nan)
    if len(grids) == 1:
        return accuracy_interval(grids[0])
    return Interval(float(np.mean([grid.mean() for grid in grids])), math.nan, math.nan)
