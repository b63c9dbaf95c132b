"""The leaderboard in a terminal."""

from __future__ import annotations

from pathlib import Path

from raytl.metric import METRICS
from raytl.results.facts import final_models
from raytl.results.leaderboard import COLUMNS, leaderboard_lines
from raytl.results.tables import load_tables
from raytl.results.wording import percent_interval
from tests.studies import Plan, write_study

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


def test_before_the_confirmation_it_shows_the_search(tmp_path: Path) -> None:
    lines = leaderboard_lines(load_tables(write_study(tmp_path, Plan(confirmed=False))), ACCURACY)
    assert all("not tested" in line for line in lines[1:4])
    assert "No final model has been tested yet" in lines[4]


def test_an_empty_study_has_only_the_sentence(tmp_path: Path) -> None:
    lines = leaderboard_lines(load_tables(write_study(tmp_path, Plan(backbones=()))), ACCURACY)
    assert lines[0].startswith("No final model")
