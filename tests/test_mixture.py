"""An ensemble's rows: means by hand, times that add up, and members that were tested on the same pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from raytl.errors import DataError
from raytl.identity import ensemble_id
from raytl.metric import Figures
from raytl.results.schemas import ENSEMBLE, to_table
from raytl.use.finals import Final
from raytl.use.mixture import Weighted, mix
from tests.rows import confirmed_row, prediction_row
from tests.tiny import tiny_recipe

VALIDATION = Figures(0.9, 0.8, 0.7)
FIRST = {"x": [0.9, 0.1], "y": [0.4, 0.6], "z": [0.2, 0.8], "w": [0.7, 0.3]}
SECOND = {"w": [0.1, 0.9], "z": [0.5, 0.5], "y": [0.9, 0.1], "x": [0.6, 0.4]}
LABELS = {"x": "a", "y": "b", "z": "b", "w": "a"}


def weighted(name: str, weight: float, speed: float = 100.0) -> Weighted:
    row = confirmed_row(trial_id=name, predict_images_per_second=speed, train_seconds=2.5, split=1)
    return Weighted(Final(row, tiny_recipe(), Path("nowhere")), weight)


def table(answers: dict[str, dict[str, list[float]]]) -> pa.Table:
    rows = [
        prediction_row(trial_id=name, path=path, label=LABELS[path], probabilities=values)
        for name, own in answers.items()
        for path, values in own.items()
    ]
    return to_table("predictions", rows, 1)


def test_probabilities_are_means_and_figures_are_theirs() -> None:
    members = [weighted("s", 0.75, speed=50.0), weighted("t", 0.25, speed=200.0)]
    made = mix(members, VALIDATION, table({"s": FIRST, "t": SECOND}), ("a", "b"))
    expected = {path: 0.75 * np.array(FIRST[path]) + 0.25 * np.array(SECOND[path]) for path in FIRST}
    assert {row.path: list(row.probabilities) for row in made.predictions} == {
        path: pytest.approx(list(mean), abs=1e-6) for path, mean in expected.items()
    }
    assert {row.path: row.predicted for row in made.predictions} == {"x": "a", "y": "a", "z": "b", "w": "a"}
    row = made.row
    assert (row.role, row.backbone, row.split, row.test_count, row.correct) == (ENSEMBLE, ENSEMBLE, 1, 4, 3)
    assert (row.val_accuracy, row.val_macro_f1, row.val_loss) == (0.9, 0.8, 0.7)
    assert row.test_accuracy == 0.75
    labels, scores = [LABELS[path] == "b" for path in expected], [mean[1] for mean in expected.values()]
    assert row.test_auc == pytest.approx(roc_auc_score(labels, scores))
    losses = [-np.log(mean["ab".index(LABELS[path])]) for path, mean in expected.items()]
    assert row.test_loss == pytest.approx(np.mean(losses), abs=1e-6)
    assert row.predict_images_per_second == pytest.approx(1 / (1 / 50 + 1 / 200)) and row.train_seconds == 5.0
    assert json.loads(row.members or "") == {"s": 0.75, "t": 0.25}
    assert {each.trial_id for each in made.predictions} == {row.trial_id} == {ensemble_id({"t": 0.25, "s": 0.75})}


def test_a_speed_that_was_not_measured_leaves_the_sum_unknown() -> None:
    members = [weighted("s", 0.5), weighted("t", 0.5, speed=0.0)]
    made = mix(members, VALIDATION, table({"s": FIRST, "t": SECOND}), ("a", "b"))
    assert made.row.predict_images_per_second == 0.0


def test_other_pictures_are_refused() -> None:
    fewer = {path: values for path, values in SECOND.items() if path != "w"}
    with pytest.raises(DataError, match="tested on different pictures"):
        mix([weighted("s", 0.5), weighted("t", 0.5)], VALIDATION, table({"s": FIRST, "t": fewer}), ("a", "b"))
