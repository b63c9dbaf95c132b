"""Worker-seconds and costs by the rows: against sums that DuckDB makes of the tables, and by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytl.money import ANY
from raytl.results.folder import StudyFolder
from raytl.results.ledger import Ledger
from raytl.results.report import report_page
from raytl.results.schemas import EpochRow, TrialRow, to_table
from raytl.results.tables import compact, load_tables, trial_rows
from raytl.results.usage import Bill, amount, bill_of, held_seconds, used_line, used_seconds, with_costs
from tests.rows import START, epoch_row, trial_row
from tests.studies import Plan, write_study

PRICES = {"gpu": 3.0, ANY: 0.5}


def after(seconds: float) -> EpochRow:
    return epoch_row(ended_at=START + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("trial", "ends", "expected"),
    [
        (trial_row(), [], 0.0),
        (trial_row(worker_count=3), [4.0, 10.0], 30.0),
        (trial_row(resumed_at=START + timedelta(hours=9), worker_seconds=7.0), [4.0], 7.0),  # nothing since the kill
        (trial_row(resumed_at=START + timedelta(seconds=100), worker_seconds=7.0, worker_count=2), [4.0, 103.0], 13.0),
        (trial_row(status="stopped", worker_seconds=8.0, seconds=5.0, worker_count=2), [99.0], 8.0),
        (trial_row(status="stopped", seconds=5.0, worker_count=2), [99.0], 10.0),  # of a version that recorded none
        (trial_row(status="failed"), [], 0.0),
    ],
)
def test_a_trial_holds_workers_for_as_long_as_its_rows_tell(
    trial: TrialRow, ends: list[float], expected: float
) -> None:
    rows = [after(seconds) for seconds in ends]
    assert held_seconds(trial, rows) == pytest.approx(expected)
    other = replace(trial, trial_id="other", status="failed", worker_seconds=5.0)
    assert used_seconds([trial, other], {"t0": rows}) == pytest.approx(expected + 5.0)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(0, 1e6), st.sampled_from([None, "gpu", "cpu"]), st.none() | st.floats(0.01, 1.0)
        ),
        max_size=6,
    ),
    st.sampled_from([{}, {"gpu": 3.0}, PRICES]),
)
def test_a_trial_costs_its_hours_its_share_and_the_price(
    rows: list[tuple[float | None, str | None, float | None]], prices: dict[str, float]
) -> None:
    trials = [
        trial_row(trial_id=str(place), worker_seconds=seconds, node_type=kind, node_share=share)
        for place, (seconds, kind, share) in enumerate(rows)
    ]
    expected: list[float | None] = []
    for seconds, kind, share in rows:
        price = prices.get(kind, prices.get(ANY)) if kind is not None else None
        known = seconds is not None and share is not None and price is not None
        expected.append(seconds / 3600 * share * price if known else None)  # type: ignore[operator]
    assert with_costs(to_table("trials", trials, 1), prices)["cost"].to_pylist() == pytest.approx(expected)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A made-up study on machines of two types, of two of its trials it is not known where they ran."""
    made = write_study(tmp_path / "study", Plan())
    rows = [
        replace(
            row,
            worker_seconds=10.0 + 7 * place,
            node_type=None if place < 2 else ("gpu", "cpu")[place % 2],
            node_share=None if place < 2 else 0.5 / (1 + place % 3),
        )
        for place, row in enumerate(trial_rows(load_tables(made).trials))
    ]
    Ledger.open(made.ledger).commit("trials", rows)
    return made


def give(folder: StudyFolder, prices: dict[str, float]) -> None:
    study = folder.read_study()
    spec = study["spec"]
    assert isinstance(spec, dict)
    folder.write_study({**study, "spec": {**spec, "prices": prices}})


ASK = """select sum(worker_seconds) / 3600,
    sum(worker_seconds / 3600 * node_share * case node_type when 'gpu' then {gpu} else {other} end),
    sum(worker_seconds / 3600 * node_share * case node_type when 'gpu' then {gpu} else {other} end)
        filter (where stage = 'confirm'), count(*) filter (where node_type is null),
    sum(cost), sum(cost) filter (where stage = 'confirm'), count(*) - count(cost)
    from '{tables}/trials.parquet'"""


def ask(folder: StudyFolder, gpu: float, other: float) -> tuple[float, ...]:
    [row] = duckdb.execute(ASK.format(gpu=gpu, other=other, tables=folder.tables)).fetchall()
    found: tuple[float, ...] = row
    return found


def test_the_bill_is_what_duckdb_adds_up_of_the_tables(folder: StudyFolder) -> None:
    give(folder, PRICES)
    compact(folder)
    hours, cost, confirm, unknown, *written = ask(folder, 3.0, 0.5)
    bill = bill_of(load_tables(folder).trials)
    assert bill is not None and unknown == 2
    assert [bill.worker_hours, bill.cost, bill.confirm_cost, bill.unpriced] == pytest.approx(
        [hours, cost, confirm, unknown]
    )
    assert written == pytest.approx([cost, confirm, unknown])
    wrong = duckdb.execute(
        f"select count(*) from '{folder.tables}/confirmed.parquet' join '{folder.tables}/trials.parquet' t "
        "using (trial_id) where confirmed.cost is distinct from t.cost or t.cost is null"
    ).fetchall()
    assert wrong == [(0,)]


def test_other_prices_make_other_costs_of_the_same_rows(folder: StudyFolder) -> None:
    give(folder, PRICES)
    compact(folder)
    give(folder, {"gpu": 9.0, ANY: 0.25})
    bill = bill_of(load_tables(folder).trials)
    assert bill is not None and bill.cost == pytest.approx(ask(folder, 9.0, 0.25)[1])
    for path in folder.ledger.iterdir():
        path.unlink()
    folder.ledger.rmdir()
    assert bill_of(load_tables(folder).trials) == bill, "tables alone follow the prices, too"


def test_without_prices_nothing_costs_anything(folder: StudyFolder) -> None:
    assert bill_of(load_tables(folder).trials) is None
    page = report_page(folder.root, folder.read_study(), load_tables(folder))
    assert "cost of a run" not in page and "The study cost" not in page
    give(folder, PRICES)
    page = report_page(folder.root, folder.read_study(), load_tables(folder))
    bill = bill_of(load_tables(folder).trials)
    assert bill is not None and "cost of a run" in page and bill.sentence[1:] in page


@pytest.mark.parametrize("prices", ["3", {"gpu": "x"}, {"gpu": -1.0}, None])
def test_prices_that_a_hand_has_spoilt_are_none(folder: StudyFolder, prices: object) -> None:
    study = json.loads(folder.study_json.read_text())
    study["spec"]["prices"] = prices
    folder.study_json.write_text(json.dumps(study))
    assert bill_of(load_tables(folder).trials) is None


@pytest.mark.parametrize(
    ("bill", "sentence"),
    [
        (
            Bill(2.5, 1.432, 0.314),
            "the study cost 1.43, of which the confirmation 0.31: 2.50 worker-hours at the prices given",
        ),
        (Bill(0.012, 0.0047, 0.0047), "the study cost 0.0047: 0.012 worker-hours at the prices given"),
        (
            Bill(1500.0, 4000.0, 0.0, 2),
            "the study cost 4,000.00: 1,500.00 worker-hours at the prices given; 2 trials without a known machine "
            "are not in it",
        ),
    ],
)
def test_a_bill_in_words(bill: Bill, sentence: str) -> None:
    assert bill.sentence == sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.00"),
        (0.00123, "0.0012"),
        (5.6e-5, "0.000056"),
        (0.994, "0.99"),
        (0.999, "1.00"),
        (1234.5, "1,234.50"),
    ],
)
def test_amounts(value: float | None, text: str) -> None:
    assert amount(value) == text


def test_what_is_used_of_a_budget() -> None:
    trials = [trial_row(status="completed", worker_seconds=1800.0), trial_row(trial_id="t1", worker_seconds=360.0)]
    assert used_line(trials, {}, 2) == "0.60 of 2 worker-hours used (--budget-hours)"
    assert used_line(trials, {}, 0.5).endswith("; final models are trained whatever is left")
