"""The leaderboard in a terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raytl.limits import Limits
from raytl.metric import METRICS
from raytl.results.facts import final_models
from raytl.results.leaderboard import leaderboard_lines
from raytl.results.ledger import Ledger
from raytl.results.tables import Tables, load_tables, priced, trial_rows
from raytl.results.usage import amount
from raytl.results.wording import COLUMNS, percent_interval
from tests.studies import Plan, slowed, write_study

ACCURACY = METRICS["val_accuracy"]


def test_each_final_model_has_its_line_and_the_answer_comes_last(tmp_path: Path) -> None:
    tables = load_tables(write_study(tmp_path, Plan()))
    lines = leaderboard_lines(tables, ACCURACY)
    for line, model in zip(lines[1:], final_models(tables, ACCURACY), strict=False):
        assert line.split()[:2] == [model.backbone, model.role]
        assert percent_interval(model.test) in line
        assert line.endswith("7/2")
    assert " ".join(lines).count("Best is tiny_vit") == 1
    assert lines[10].startswith("Best is tiny_vit")


def test_no_line_is_longer_than_a_terminal_is_wide(tmp_path: Path) -> None:
    long = "convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384"
    lines = leaderboard_lines(load_tables(write_study(tmp_path, Plan(backbones=(long, long.upper())))), ACCURACY)
    assert max(map(len, lines)) <= COLUMNS
    assert "…" in lines[1]
    assert lines[1].startswith("convnext")


@pytest.mark.parametrize(
    ("columns", "left_out"), [(60, ["seconds", "trials/stopped"]), (85, ["trials/stopped"]), (100, [])]
)
def test_a_narrow_terminal_gets_fewer_columns_and_no_longer_lines(
    tmp_path: Path, columns: int, left_out: list[str]
) -> None:
    long = "convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384"
    tables = load_tables(write_study(tmp_path, Plan(backbones=(long, long.upper()))))
    lines = leaderboard_lines(tables, ACCURACY, columns)
    assert max(map(len, lines)) <= columns
    assert "test accuracy [95%]" in lines[0] and lines[1].startswith("conv")
    assert [name for name in ("seconds", "trials/stopped") if name not in lines[0]] == left_out


def test_before_the_confirmation_it_shows_the_search(tmp_path: Path) -> None:
    lines = leaderboard_lines(load_tables(write_study(tmp_path, Plan(confirmed=False))), ACCURACY)
    assert all("not tested" in line for line in lines[1:4])
    assert "No final model has been tested yet" in lines[4]


def test_an_empty_study_has_only_the_sentence(tmp_path: Path) -> None:
    lines = leaderboard_lines(load_tables(write_study(tmp_path, Plan(backbones=()))), ACCURACY)
    assert lines[0].startswith("No final model")


def test_a_model_over_the_limits_comes_last_and_says_by_what(tmp_path: Path) -> None:
    tables = slowed(load_tables(write_study(tmp_path, Plan())), "tiny_vit", images_per_second=40.0)
    lines = leaderboard_lines(tables, ACCURACY, limits=Limits(latency_ms=20.0))
    assert [line.split()[0] for line in lines[1:10]] == [
        model.backbone for model in final_models(tables, ACCURACY, Limits(latency_ms=20.0))
    ]
    assert {line.split()[0] for line in lines[7:10]} == {"tiny_vit"}
    assert lines[10] == "over the limit: tiny_vit, best: 25 ms a picture" and lines[13].startswith(
        "Best is tiny_resnet"
    )
    assert "over the limit" not in " ".join(leaderboard_lines(tables, ACCURACY))


def with_prices(root: Path) -> Tables:
    """A study on machines that cost 36 an hour; each trial held half of one for 100 seconds and more."""
    folder = write_study(root, Plan())
    rows = [
        replace(row, worker_seconds=100.0 + place, node_type="gpu", node_share=0.5)
        for place, row in enumerate(trial_rows(load_tables(folder).trials))
    ]
    Ledger.open(folder.ledger).commit("trials", rows)
    return priced(load_tables(folder), {"gpu": 36.0})


def test_with_prices_a_run_has_its_cost_and_the_study_its_sum(tmp_path: Path) -> None:
    tables = with_prices(tmp_path)
    lines = leaderboard_lines(tables, ACCURACY)
    costs = {row.trial_id: 0.005 * (row.worker_seconds or 0.0) for row in trial_rows(tables.trials)}
    place = lines[0].split("  ").index("cost") if "  cost  " in lines[0] else -1
    assert place > 0
    for line, model in zip(lines[1:], final_models(tables, ACCURACY), strict=False):
        mean = sum(costs[name] for name in model.trial_ids) / len(model.trial_ids)
        assert float(line.split()[-2]) == pytest.approx(mean, abs=0.0051)
    assert f"the study cost {amount(sum(costs.values()))}, of which" in " ".join(lines)
    assert max(map(len, lines)) <= COLUMNS
    narrow = leaderboard_lines(tables, ACCURACY, 70)
    assert max(map(len, narrow)) <= 70 and "test accuracy [95%]" in narrow[0]
