"""What each freeze depth was given, against counts over the rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytl.metric import METRICS
from raytl.results.facts import backbone_searches
from raytl.results.ledger import Ledger
from raytl.results.rungs import rungs
from raytl.results.search_sections import ladder_section
from raytl.results.tables import Tables, load_tables
from tests.pages import Page
from tests.rows import trial_row
from tests.studies import Plan, write_study

ACCURACY = METRICS["val_accuracy"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return load_tables(write_study(tmp_path_factory.mktemp("study"), Plan()))


def test_every_ranked_trial_is_on_one_rung(tables: Tables) -> None:
    found = rungs(tables, backbone_searches(tables, ACCURACY), ACCURACY)
    rows = [row for row in tables.trials.to_pylist() if row["stage"] in ("probe", "search")]
    for rung in found:
        own = [
            row
            for row in rows
            if (row["backbone"], row["stage"], row["freeze_depth"]) == (rung.backbone, rung.stage, rung.freeze_depth)
        ]
        assert rung.trials == len(own) > 0
        assert rung.stopped == sum(row["status"] == "stopped" for row in own)
        assert rung.seconds == pytest.approx(sum(row["seconds"] or 0 for row in own))
        ended = [row["val_accuracy"] for row in own if row["status"] in ("completed", "stopped")]
        ended = [value for value in ended if value is not None]
        assert (rung.best.val_accuracy if rung.best else None) == max(ended, default=None)
    assert sum(rung.trials for rung in found) == len(rows)


def test_rungs_go_from_heads_to_open_stages(tables: Tables) -> None:
    found = rungs(tables, backbone_searches(tables, ACCURACY), ACCURACY)
    for backbone in {rung.backbone for rung in found}:
        own = [(rung.stage, -rung.freeze_depth) for rung in found if rung.backbone == backbone]
        assert own == sorted(own)


def test_the_report_tells_the_rungs(tables: Tables, tmp_path: Path) -> None:
    folder = write_study(tmp_path, Plan())
    head = trial_row(trial_id="head", stage="probe", backbone="tiny_vit", status="completed", seconds=0.25)
    unbegun = trial_row(trial_id="late", stage="search", backbone="tiny_vit", freeze_depth=99, status="stopped")
    Ledger.open(folder.ledger).commit("trials", [head, unbegun])
    probed = load_tables(folder)
    found = rungs(probed, backbone_searches(probed, ACCURACY), ACCURACY)
    page = Page(ladder_section(found, ACCURACY))
    assert [rung.best for rung in found if rung.freeze_depth == 99] == [None]
    assert page.problems == [] and "heads, before the search" in page.texts
    flat = Page(ladder_section([rung for rung in found if rung.stage == "search"], ACCURACY))
    assert any("no heads were tried" in text for text in flat.texts)
    assert any("No trial has run" in text for text in Page(ladder_section((), ACCURACY)).texts)
