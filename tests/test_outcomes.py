"""Two models on the same pictures, or a refusal."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from raytl.errors import DataError
from raytl.results.outcomes import compare, outcomes
from raytl.results.schemas import to_table
from raytl.results.stats import paired_difference
from tests.rows import prediction_row

RIGHT = {
    "a0": {"x": True, "y": True, "z": False},
    "a1": {"y": True, "z": True, "x": False},
    "b0": {"z": False, "x": True, "y": False},
}


def predictions(runs: dict[str, dict[str, bool]]) -> pa.Table:
    """Rows in the order given, which differs from run to run."""
    rows = [
        prediction_row(trial_id=run, path=path, label="yes", predicted="yes" if right else "no")
        for run, answers in runs.items()
        for path, right in answers.items()
    ]
    return to_table("predictions", rows, 1)


def test_answers_are_joined_by_path() -> None:
    found = outcomes(predictions(RIGHT), ["a0", "a1"])
    assert found.paths.tolist() == ["x", "y", "z"]
    assert found.correct.tolist() == [[True, True, False], [False, True, True]]


def test_a_comparison_is_that_of_the_joined_grids() -> None:
    a, b = (np.array([[RIGHT[run][path] for path in "xyz"] for run in runs]) for runs in (("a0", "a1"), ("b0",)))
    assert compare(predictions(RIGHT), ["a0", "a1"], ["b0"]) == paired_difference(a, b)


def test_different_test_pictures_are_refused() -> None:
    table = predictions({**RIGHT, "c0": {"x": True, "y": True, "other": True}})
    with pytest.raises(DataError, match=r"a0 was tested on 3 pictures and c0 on 3; 2 belong to one alone \(such as"):
        compare(table, ["a0"], ["c0"])
    with pytest.raises(DataError, match="only models tested on the same pictures"):
        outcomes(table, ["a0", "c0"])


def test_every_run_without_predictions_is_named() -> None:
    with pytest.raises(DataError, match="no predictions") as error:
        outcomes(predictions(RIGHT), ["a0", "lost", "gone"])
    assert [problem.split(":")[0] for problem in error.value.problems] == ["lost", "gone"]
