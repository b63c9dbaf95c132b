"""The contract of all views: they take everything that can be told, keep secrets, and never end a study."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raytl.results.schemas import CONFIRM, PROBE, SEARCH
from raytl.results.view import DESIGN, REPORT, Silent, View
from tests.rows import trial_row
from tests.views import (
    ESTIMATE,
    GRID,
    STUDY,
    VIEWS,
    conclusion,
    tell_design,
    tell_search,
)

Names = pytest.mark.parametrize("name", VIEWS)


@Names
def test_a_whole_study_is_told_without_its_secrets(name: str, tmp_path: Path) -> None:
    shown = VIEWS[name]()
    with shown.view as view:
        assert view is shown.view
        view.begin(STUDY, tmp_path)
        tell_search(view)
    view.concluded(conclusion(tmp_path / "study"))
    said = shown.out.getvalue() + shown.words.getvalue()
    assert "pass-word-1" not in said
    assert "Best is tiny_vit" in said.replace("\n", " ") and str(tmp_path / "study") in said


@Names
def test_a_design_is_told(name: str, tmp_path: Path) -> None:
    shown = VIEWS[name]()
    with shown.view as view:
        view.begin(GRID, tmp_path)
        tell_design(view)
    if name != "quiet":
        assert "all trained" in shown.out.getvalue()


@Names
def test_an_estimate_is_told_in_every_mode(name: str) -> None:
    shown = VIEWS[name]()
    with shown.view:
        pass
    shown.view.estimated(ESTIMATE)
    said = " ".join(shown.out.getvalue().split())
    assert "roughly 2 min (60 s to 4 min)" in said or json.loads(said)["duration_seconds"] == 100.0


@Names
def test_what_comes_unasked_does_no_harm(name: str) -> None:
    """A trial of a backbone that was not announced, a step of nothing, an end without a beginning."""
    view: View = VIEWS[name]().view
    with view:
        for step in (PROBE, SEARCH, CONFIRM, DESIGN, REPORT):
            view.step(step, 0)
            view.ended(trial_row(trial_id=step, backbone="other", status="failed", reason=None))
            view.ended(trial_row(trial_id=f"{step} 2", backbone="other", status="completed", stage="confirm"))
        view.settled("another", 3, "")
        view.say("\ud800 \x00")


@Names
def test_an_error_passes(name: str) -> None:
    with pytest.raises(ValueError, match="mine"), VIEWS[name]().view:
        raise ValueError("mine")


def test_what_is_told_of_a_study_has_one_place_that_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A method of the interface that the base lacks would have to be repeated in every view."""
    view: View = Silent()
    with view as entered:
        assert entered is view
        view.begin(STUDY, tmp_path)
        tell_search(view)
        tell_design(view)
    view.estimated(ESTIMATE)
    view.concluded(conclusion(tmp_path / "study"))
    assert capsys.readouterr() == ("", "")
    assert all(isinstance(shown().view, Silent) for shown in VIEWS.values())


def test_the_result_alone_is_the_leaderboard_and_paths(tmp_path: Path) -> None:
    shown, ended = VIEWS["quiet"](), conclusion(tmp_path / "study")
    with shown.view as view:
        view.begin(STUDY, tmp_path)
        tell_search(view)
    assert shown.out.getvalue() == ""
    view.concluded(ended)
    assert shown.out.getvalue().splitlines() == ["", *ended.lines()]


def test_plain_lines_hold_no_control_characters(tmp_path: Path) -> None:
    shown = VIEWS["plain"]()
    with shown.view as view:
        view.begin(STUDY, tmp_path)
        tell_search(view)
    assert all(line.isprintable() for line in shown.out.getvalue().splitlines())
