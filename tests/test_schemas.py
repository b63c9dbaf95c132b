"""The columns of a study's tables, which other tools read by name."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pytest

from raytl.recipe import FIELD_NAMES
from raytl.results.schemas import TABLES, Row, TrialRow, schema, to_table
from tests.rows import confirmed_row, epoch_row, picture_row, prediction_row, trial_row

# The contract of the study folder, written out: a name missing here may be added, none may go.
CONTRACT = {
    "trials": """study trial_id recipe_hash tune_trial_id stage backbone status reason started_at ended_at seconds
        epochs_run best_epoch val_accuracy val_macro_f1 val_loss freeze_depth frozen_fraction trainable_parameters
        parameters images_per_second peak_memory_bytes worker_count node""",
    "epochs": """trial_id epoch commit_number attempt started_at ended_at train_loss train_accuracy val_loss
        val_accuracy val_macro_f1 lr images_per_second is_best""",
    "confirmed": """trial_id recipe_hash backbone seed split test_accuracy test_macro_f1 test_loss test_auc test_count
        correct train_seconds predict_images_per_second model_path""",
    "predictions": "trial_id seed path label predicted probabilities",
    "data": "path class split width height sha256 status reason",
}
ROWS: dict[str, Row] = {
    "trials": trial_row(),
    "epochs": epoch_row(),
    "confirmed": confirmed_row(),
    "predictions": prediction_row(),
    "data": picture_row(),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_the_contract_exists(table: str) -> None:
    assert set(CONTRACT[table].split()) <= set(schema(table).names)


@pytest.mark.parametrize("table", TABLES)
def test_the_schema_names_its_version_and_table(table: str) -> None:
    assert schema(table).metadata == {b"raytl_schema_version": b"1", b"raytl_table": table.encode()}


def test_every_recipe_field_is_a_column_of_trials() -> None:
    assert {f"recipe_{name}" for name in FIELD_NAMES} <= set(schema("trials").names)


@pytest.mark.parametrize("table", TABLES)
def test_a_row_comes_back_as_it_went_in(table: str) -> None:
    row = ROWS[table]
    content = to_table(table, [row], commit_number=7)
    [values] = content.to_pylist()
    assert content.schema.equals(schema(table), check_metadata=True)
    assert values.pop("commit_number") == 7
    renames = {"class": "label"}
    recipe = row.recipe.values() if isinstance(row, TrialRow) else {}
    expected = {f"recipe_{name}": value for name, value in recipe.items()}
    expected |= {name: getattr(row, renames.get(name, name)) for name in values if name not in expected}
    assert values == expected


def test_probabilities_are_float32() -> None:
    assert schema("predictions").field("probabilities").type == pa.list_(pa.float32())


def test_a_null_where_a_value_must_be_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"epochs\.val_loss: null"):
        to_table("epochs", [epoch_row(val_loss=None)], 1)


def test_a_time_without_a_zone_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"epochs\.started_at: 2026-01-01 00:00:00 has no time zone"):
        to_table("epochs", [epoch_row(started_at=datetime(2026, 1, 1))], 1)
