"""What runs took, against a loop over the rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from raytl.metric import METRICS
from raytl.results.costs import RunCost, run_costs
from raytl.results.facts import final_models
from raytl.results.ledger import Ledger
from raytl.results.tables import load_tables, trial_rows
from raytl.results.usage import with_costs
from tests.studies import Plan, write_study


def test_the_cost_of_a_model_is_told_from_start_to_end_of_its_runs(tmp_path: Path) -> None:
    folder = write_study(tmp_path, Plan())
    finals = [row for row in trial_rows(load_tables(folder).trials) if row.stage == "confirm"]
    seconds = {row.trial_id: 3.0 + place * place for place, row in enumerate(finals)}
    Ledger.open(folder.ledger).commit(
        "trials",
        [
            replace(
                row,
                ended_at=row.started_at + timedelta(seconds=seconds[row.trial_id]),
                stored_bytes=1000 + place if place % 2 else None,
                peak_memory_bytes=None,
            )
            for place, row in enumerate(finals)
        ],
    )
    tables = load_tables(folder)
    models = final_models(tables, METRICS["val_accuracy"])
    stored = {row.trial_id: row.stored_bytes for row in trial_rows(tables.trials)}
    assert len(models) > 1
    for model, cost in zip(models, run_costs(tables, models), strict=True):
        own = sorted(seconds[name] for name in model.trial_ids)
        middle = own[len(own) // 2] if len(own) % 2 else sum(own[len(own) // 2 - 1 : len(own) // 2 + 1]) / 2
        bytes_ = [value for name in model.trial_ids if (value := stored[name]) is not None]
        assert cost == RunCost(own[-1], middle, max(bytes_, default=None), None)


def test_a_run_that_was_taken_over_counts_with_what_it_took_in_the_search(tmp_path: Path) -> None:
    folder = write_study(tmp_path, Plan())
    trials = trial_rows(load_tables(folder).trials)
    searched = next(row for row in trials if row.stage == "search")
    final = next(row for row in trials if row.stage == "confirm")
    taken = replace(final, taken_over=searched.trial_id, ended_at=final.started_at + timedelta(seconds=2))
    earlier = replace(searched, ended_at=searched.started_at + timedelta(seconds=40))
    priced = [replace(row, worker_seconds=360.0, node_type="node", node_share=1.0) for row in (taken, earlier)]
    Ledger.open(folder.ledger).commit("trials", priced)
    tables = replace(load_tables(folder), trials=with_costs(load_tables(folder).trials, {"node": 5.0}))
    model = replace(final_models(tables, METRICS["val_accuracy"])[0], runs={0: (final.trial_id,)})
    (cost,) = run_costs(tables, [model])
    assert (cost.longest_seconds, cost.median_seconds, cost.cost) == (42.0, 42.0, 1.0)


def test_without_a_run_that_ended_nothing_is_told(tmp_path: Path) -> None:
    tables = load_tables(write_study(tmp_path, Plan()))
    model = replace(final_models(tables, METRICS["val_accuracy"])[0], runs={0: ("absent",)})
    assert run_costs(tables, [model]) == (RunCost(None, None, None, None),)
