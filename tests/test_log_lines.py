"""Plain lines: one per event, none with control characters, and few where there are very many trials."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from raytl.results import log_lines
from raytl.results import progress as progress_module
from raytl.results.console import StudyConsole
from raytl.results.log_lines import FAILURES, MANY, LogLines
from raytl.results.schemas import CONFIRM, SEARCH
from raytl.results.view import DESIGN
from tests.rows import epoch_row, trial_row
from tests.test_progress import Clock
from tests.views import ACCURACY, ENDED, GRID, STUDY, conclusion, log, untimed

FIGURES = "lr 3.0e-03, batch 32, 0 stages frozen, 12 s"
RESULT = f"val_accuracy 0.812 after 4 epochs, {FIGURES}"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress_module, "time", made)
    monkeypatch.setattr(log_lines, "time", made)
    return made


def test_a_log_has_a_line_for_each_trial_that_ended(clock: Clock) -> None:
    console, file = log()
    with LogLines(ACCURACY, console) as view:
        view.begin(replace(STUDY, backbones=("tiny_a",)), Path("out"))
        view.step(SEARCH, 4)
        for name in ("t1", "t2", "t3"):
            view.started(trial_row(trial_id=name))
            view.epoch(trial_row(trial_id=name, recipe=replace(ENDED.recipe, epochs=99)), epoch_row(trial_id=name))
        clock.seconds += 10
        view.ended(ENDED)
        clock.seconds += 10
        view.ended(replace(ENDED, trial_id="t2", status="stopped", epochs_run=1))
        view.ended(trial_row(trial_id="t3", status="diverged", reason="loss was NaN in epoch 1"))
        view.settled("tiny_a", 1, "every recipe of its space is tried")
        view.step(CONFIRM, 2)
        view.ended(replace(ENDED, trial_id="c1", stage="confirm", origin="best"))
        view.ended(replace(ENDED, trial_id="c2", stage="confirm", origin="best", attempts=2))
    _, *lines = file.getvalue().splitlines()
    assert lines[0].startswith(f"[   10 s] tiny_a 1/4: val_accuracy 0.812 after 4 epochs, {FIGURES}; about ")
    assert lines[0].endswith(" s of search left")
    assert lines[1].startswith(f"[   20 s] tiny_a 2/4: val_accuracy 0.812 after 1 epoch (stopped), {FIGURES}; about ")
    assert lines[2:] == [
        "[   20 s] tiny_a 3/4: diverged: loss was NaN in epoch 1; about 7 s of search left",
        "[   20 s] tiny_a: 1 trial is left out: every recipe of its space is tried",
        f"[   20 s] tiny_a final model 1/2 (best, seed 0): {RESULT}; about 0 s left",
        f"[   20 s] tiny_a final model 2/2 (best, seed 0): {RESULT}, begun 2 times: its worker died",
    ]


def test_a_trial_without_an_epoch_says_why_it_was_stopped(clock: Clock) -> None:
    console, file = log()
    with LogLines(ACCURACY, console) as view:
        view.begin(replace(STUDY, backbones=("tiny_a",)), Path("out"))
        view.step(SEARCH, 4)
        view.ended(trial_row(status="stopped", epochs_run=0, reason="the time was used up before its first epoch"))
    line = file.getvalue().splitlines()[-1]
    assert line.startswith("[    0 s] tiny_a 1/4: stopped: the time was used up before its first epoch")


def test_after_a_resume_counts_go_on(clock: Clock) -> None:
    console, file = log()
    view = LogLines(ACCURACY, console)
    view.begin(STUDY, Path("out"))
    view.known([replace(ENDED, trial_id=f"t{index}") for index in range(2)])
    view.step(SEARCH, 6)
    view.ended(replace(ENDED, trial_id="t2"))
    assert "] tiny_a 3/4: " in file.getvalue()


@given(st.text(max_size=200))
def test_a_line_is_one_line_without_control_characters_whatever_is_said(text: str) -> None:
    console, file = log(width=20)
    LogLines(ACCURACY, console).say(f"\x1b[1;31mred\x1b[0m :bug: [bold]{text}\r\n\u2028.")
    said = file.getvalue()
    assert said.endswith("\n") and len(said.splitlines()) == 1
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said) is None
    assert "] red :bug: [bold]" in said


def test_hundreds_of_trials_have_a_line_where_something_is_new_and_one_a_minute(clock: Clock) -> None:
    console, file = log()
    view = LogLines(ACCURACY, console)
    view.begin(replace(STUDY, backbones=("tiny_a",), trials=600), Path("out"))
    view.step(SEARCH, 600)
    better, failed = {0: 0.25, 100: 0.5, 400: 0.75}, set(range(200, 300))
    for index in range(600):
        clock.seconds += 1
        row = replace(ENDED, trial_id=f"t{index}", val_accuracy=better.get(index, 0.125))
        view.ended(replace(row, status="failed", reason="no", val_accuracy=None) if index in failed else row)
    lines = file.getvalue().splitlines()[1:]
    told = [line for line in lines if "val_accuracy" in line]
    assert [re.findall(r"(\d+)/600: val_accuracy (\S+)", line)[0] for line in told] == [
        ("1", "0.250"), ("101", "0.500"), ("401", "0.750")
    ]  # fmt: skip
    assert sum("failed: no" in line for line in lines) == FAILURES
    summed_up = [line for line in lines if "searching, " in line]
    assert 6 <= len(summed_up) <= 10 and len(lines) == 3 + FAILURES + len(summed_up)
    seconds = [int(line[1:6]) for line in lines]
    assert max(b - a for a, b in pairwise(seconds)) <= 61


def test_up_to_sixty_trials_have_a_line_each(clock: Clock) -> None:
    console, file = log()
    view = LogLines(ACCURACY, console)
    view.begin(replace(STUDY, backbones=("tiny_a",), trials=MANY), Path("out"))
    view.step(SEARCH, MANY)
    for index in range(MANY):
        view.ended(replace(ENDED, trial_id=f"t{index}"))
    assert len(file.getvalue().splitlines()) == 1 + MANY


def test_a_long_epoch_is_a_sign_of_life_once_a_minute(clock: Clock) -> None:
    console, file = log()
    view = LogLines(ACCURACY, console)
    view.begin(STUDY, Path("out"))
    view.step(SEARCH, 8)
    row = trial_row(trial_id="t0", recipe=replace(ENDED.recipe, epochs=30))
    for epoch in range(1, 13):
        clock.seconds += 20
        view.epoch(row, epoch_row(trial_id="t0", epoch=epoch))
    lines = file.getvalue().splitlines()[1:]
    assert [line[:9] for line in lines] == ["[   60 s]", "[  120 s]", "[  180 s]", "[  240 s]"]
    assert "searching, 0 of 8 trials; then up to 12 final models (tiny_a epoch 3 of 30, val_accuracy 0.500)" in lines[0]


def test_a_design_has_runs(clock: Clock) -> None:
    console, file = log()
    view = LogLines(ACCURACY, console)
    view.begin(GRID, Path("out"))
    view.step(DESIGN, 16)
    view.ended(replace(ENDED, stage="confirm", origin="extractor + focal"))
    assert "] tiny_a run 1/16 (extractor + focal, seed 0): val_accuracy 0.812" in file.getvalue()


def test_what_an_encoding_lacks_is_replaced(tmp_path: Path) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    view = LogLines(ACCURACY, Console(file=file, force_terminal=False, highlight=False))
    view.say("a – b")
    view.concluded(conclusion(tmp_path))
    file.flush()
    assert untimed(raw.getvalue().decode("ascii")).startswith("[    0 s] a ? b\n")


class Unread(io.StringIO):
    """What `head` leaves of a pipe when it has seen enough."""

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_study_goes_on_when_nobody_reads_its_lines_any_more(capsys: pytest.CaptureFixture[str]) -> None:
    with LogLines(ACCURACY, StudyConsole(file=Unread(), force_terminal=False, highlight=False)) as view:
        for name in ("t1", "t2"):
            view.ended(replace(ENDED, trial_id=name))
        view.say("it ends")
    said = "raytl: nobody reads these lines any more; the study goes on, and its folder has all of it"
    assert capsys.readouterr().err.splitlines() == [said]
