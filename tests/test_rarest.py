"""The recall of the rarest class, against scikit-learn; silent where classes are about equal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import recall_score

from raytl.metric import METRICS
from raytl.results.facts import final_models
from raytl.results.leaderboard import leaderboard_lines
from raytl.results.rarest import rarest_class, rarest_lines
from raytl.results.report import report_page
from raytl.results.tables import Tables, load_tables
from tests.studies import Plan, picture_row, write_study

METRIC = METRICS["val_accuracy"]
COMMON = tuple(picture_row(f"train/more-{index}.jpg", "rose", "train") for index in range(300))


def study(root: Path, unequal: bool, splits: int = 1) -> Tables:
    return load_tables(write_study(root, Plan(extra_pictures=COMMON if unequal else (), splits=splits)))


def test_recalls_are_those_of_scikit_learn(tmp_path: Path) -> None:
    tables = study(tmp_path / "s", unequal=True)
    models = final_models(tables, METRIC)
    found = rarest_class(tables, models)
    assert found is not None
    used = [row for row in tables.data.to_pylist() if row["split"] == "train"]
    counts = {label: sum(row["class"] == label for row in used) for label in ("daisy", "rose", "tulip")}
    assert found.name == min(counts, key=lambda label: (counts[label], label))
    rows = tables.predictions.to_pylist()
    assert found.test_count == len({row["path"] for row in rows if row["label"] == found.name})
    for model, recall in zip(models, found.recalls, strict=True):
        own = [row for row in rows if row["trial_id"] in model.trial_ids]
        labels, predicted = ([row[column] for row in own] for column in ("label", "predicted"))
        expected = recall_score(labels, predicted, labels=[found.name], average=None)[0]
        assert recall.value == pytest.approx(expected) and recall.low <= expected <= recall.high


def test_it_is_told_where_classes_are_unequal_and_only_there(tmp_path: Path) -> None:
    for unequal in (True, False):
        root = tmp_path / str(unequal)
        tables = study(root, unequal)
        models = final_models(tables, METRIC)
        lines = rarest_lines(tables, models)
        assert bool(lines) == unequal == (rarest_class(tables, models) is not None)
        shown = "\n".join(leaderboard_lines(tables, METRIC))
        assert ("Recall of the rarest class, " in shown) == unequal
        page = report_page(root, {"spec": {"metric": "val_accuracy"}}, tables)
        assert ("recall of daisy [95%]" in page or "recall of tulip [95%]" in page) == unequal


def test_over_several_splits_there_is_a_mean_without_an_interval(tmp_path: Path) -> None:
    tables = study(tmp_path / "s", unequal=True, splits=2)
    found = rarest_class(tables, final_models(tables, METRIC))
    assert found is not None
    assert all(0 <= recall.value <= 1 and np.isnan(recall.low) for recall in found.recalls)


def test_nothing_is_told_before_a_model_was_tested(tmp_path: Path) -> None:
    tables = study(tmp_path / "s", unequal=True)
    assert rarest_class(tables, ()) is None
