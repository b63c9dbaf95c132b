"""Right and wrong answers of final models, picture by picture, and two models brought to the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raytl.errors import DataError
from raytl.results.stats import Interval, paired_difference


@dataclass(frozen=True)
class Outcomes:
    """`correct`: (S, N) bool, one row per run; `paths`: (N,) the test pictures, sorted."""

    paths: np.ndarray
    correct: np.ndarray


def outcomes(predictions: pa.Table, trial_ids: Sequence[str]) -> Outcomes:
    """The answers of some runs (seeds of one recipe) on their common test set.

    Raises:
        DataError: a run has no predictions, or two runs were tested on different pictures.
    """
    runs = [_run(predictions, trial_id) for trial_id in trial_ids]
    problems = [
        f"{trial_id}: no predictions are recorded, so no interval can be given; resume the study to have them made"
        for trial_id, (paths, _) in zip(trial_ids, runs, strict=True)
        if not len(paths)
    ]
    problems = problems or [
        _difference(trial_ids[0], runs[0][0], trial_id, paths)
        for trial_id, (paths, _) in zip(trial_ids[1:], runs[1:], strict=True)
        if not np.array_equal(runs[0][0], paths)
    ]
    if problems:
        raise DataError(*problems)
    return Outcomes(runs[0][0], np.stack([correct for _, correct in runs]))


def compare(predictions: pa.Table, a: Sequence[str], b: Sequence[str]) -> Interval:
    """Mean accuracy of the runs `a` less that of `b`, paired by picture; see `stats.paired_difference`.

    Raises:
        DataError: the test pictures of the two differ, or predictions are missing.
    """
    left, right = outcomes(predictions, a), outcomes(predictions, b)
    if not np.array_equal(left.paths, right.paths):
        raise DataError(_difference(a[0], left.paths, b[0], right.paths))
    return paired_difference(left.correct, right.correct)


def _run(predictions: pa.Table, trial_id: str) -> tuple[np.ndarray, np.ndarray]:
    rows = predictions.filter(pc.field("trial_id") == trial_id).sort_by("path")
    right = pc.equal(rows["label"], rows["predicted"])
    return rows["path"].to_numpy(), right.to_numpy().astype(bool)


def _difference(a: str, a_paths: np.ndarray, b: str, b_paths: np.ndarray) -> str:
    alone = np.setxor1d(a_paths, b_paths)
    return (
        f"{a} was tested on {len(a_paths):,} pictures and {b} on {len(b_paths):,}; {len(alone):,} belong to one alone "
        f"(such as {alone[0]!r}): only models tested on the same pictures can be compared"
    )
