"""How a search climbed: what each freeze depth of each backbone was given, what it reached, and what it cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from raytl.metric import Metric
from raytl.results.facts import BackboneSearch
from raytl.results.schemas import TrialRow
from raytl.results.tables import RANKED_STAGES, Tables, is_ranked, trial_rows


@dataclass(frozen=True)
class Rung:
    """All trials of a backbone at one freeze depth in one stage of the study; `seconds` of training, all together."""

    backbone: str
    stage: str
    freeze_depth: int
    stage_count: int | None
    trials: int
    stopped: int
    best: TrialRow | None
    seconds: float


def rungs(tables: Tables, searches: Sequence[BackboneSearch], metric: Metric) -> tuple[Rung, ...]:
    """The rungs of each backbone in the order of `searches`, from all stages frozen to none, heads first."""
    groups: defaultdict[tuple[str, str, int], list[TrialRow]] = defaultdict(list)
    for row in trial_rows(tables.trials):
        if row.stage in RANKED_STAGES:
            groups[row.backbone, row.stage, row.freeze_depth].append(row)
    counts = {search.backbone: search.stage_count for search in searches}
    order = list(counts)
    found = [
        Rung(
            backbone=backbone,
            stage=stage,
            freeze_depth=depth,
            stage_count=counts.get(backbone),
            trials=len(rows),
            stopped=sum(row.status == "stopped" for row in rows),
            best=min((row for row in rows if is_ranked(row, metric)), key=metric.key, default=None),
            seconds=sum(row.seconds or 0.0 for row in rows),
        )
        for (backbone, stage, depth), rows in groups.items()
    ]
    return tuple(sorted(found, key=lambda rung: (order.index(rung.backbone), rung.stage, -rung.freeze_depth)))
