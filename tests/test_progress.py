"""Progress: plain lines in a log, a live table of 80 columns in a terminal, and the time that is left."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from raytl.metric import METRICS
from raytl.results import progress as progress_module
from raytl.results.progress import Progress
from tests.rows import epoch_row, trial_row

ACCURACY = METRICS["val_accuracy"]
ENDED = trial_row(trial_id="t1", status="completed", epochs_run=4, seconds=12.4, val_accuracy=0.8125, val_loss=0.5)
LONG = "swinv2_tiny_window8_256.ms_in1k"


class Clock:
    """Stands for the `time` module."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress_module, "time", made)
    return made


def log(width: int = 80) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=False, width=width, highlight=False), file


def test_a_log_has_a_line_for_each_trial_that_ended(clock: Clock) -> None:
    console, file = log()
    with Progress(ACCURACY, console) as progress:
        progress.expect(("tiny_a",), 4)
        progress.say("data: 10 pictures")
        for name in ("t1", "t2", "t3"):
            progress.started(trial_row(trial_id=name))
            progress.epoch(trial_row(trial_id=name), epoch_row(trial_id=name))
        clock.seconds += 10
        progress.ended(ENDED)
        clock.seconds += 10
        progress.ended(replace(ENDED, trial_id="t2", status="stopped", epochs_run=1))
        progress.ended(trial_row(trial_id="t3", status="diverged", reason="loss was NaN in epoch 1"))
        progress.ended(replace(ENDED, stage="confirm", origin="best"))
    figures = "lr 3.0e-03, batch 32, 0 stages frozen, 12 s"
    assert file.getvalue().splitlines() == [
        "[    0 s] data: 10 pictures",
        f"[   10 s] tiny_a 1/4: val_accuracy 0.812 after 4 epochs, {figures}; about 30 s of search left",
        f"[   20 s] tiny_a 2/4: val_accuracy 0.812 after 1 epochs (stopped), {figures}; about 20 s of search left",
        "[   20 s] tiny_a 3/4: diverged: loss was NaN in epoch 1; about 7 s of search left",
        f"[   20 s] tiny_a final model (best, seed 0): val_accuracy 0.812 after 4 epochs, {figures}",
    ]


@given(st.text(max_size=200))
def test_a_line_is_one_line_without_control_characters_whatever_is_said(text: str) -> None:
    console, file = log(width=20)
    with Progress(ACCURACY, console) as progress:
        progress.say(f"\x1b[1;31mred\x1b[0m :bug: [bold]{text}\r\n\u2028.")
    said = file.getvalue()
    assert said.endswith("\n") and len(said.splitlines()) == 1
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said) is None
    assert "] red :bug: [bold]" in said


def test_a_log_holds_no_control_characters(clock: Clock) -> None:
    console, file = log()
    with Progress(ACCURACY, console) as progress:
        progress.expect(("tiny_a",), 1)
        progress.started(trial_row(trial_id="t1"))
        progress.ended(replace(ENDED, status="failed", reason="\x1b[36mray\x1b[39m said:\n  no"))
    assert file.getvalue() == "[    0 s] tiny_a 1/1: failed: ray said:   no\n"


@pytest.mark.parametrize(
    ("passed", "ended", "said"),
    [(60, 1, "7 min"), (10, 4, "10 s"), (10, 8, None), (89, 4, "89 s"), (90, 4, "2 min"), (3600, 2, "180 min")],
)
def test_the_time_left_is_that_of_the_trials_left_at_the_pace_so_far(
    passed: float, ended: int, said: str | None, clock: Clock
) -> None:
    console, file = log()
    progress = Progress(ACCURACY, console)
    progress.expect(("tiny_a", "tiny_b"), 4)
    clock.seconds += passed
    for index in range(ended):
        progress.ended(replace(ENDED, trial_id=f"t{index}", backbone=("tiny_a", "tiny_b")[index % 2]))
    last = file.getvalue().splitlines()[-1]
    assert last.endswith(f"; about {said} of search left" if said else "s frozen, 12 s")


def terminal() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    environment = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "40"}
    return Console(file=file, force_terminal=True, color_system=None, width=80, _environ=environment), file


def screens(text: str) -> list[list[str]]:
    """What was drawn, table by table, without the sequences that move the cursor."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
    lines = plain.splitlines()
    tops = [index for index, line in enumerate(lines) if line.startswith("┏")]
    return [lines[top:after] for top, after in pairwise([*tops, len(lines)])]


def test_a_terminal_shows_a_table_of_80_columns(clock: Clock) -> None:
    console, file = terminal()
    with Progress(ACCURACY, console) as progress:
        progress.expect((LONG, "tiny_a"), 12)
        for index, name in enumerate((LONG, "tiny_a", "tiny_a")):
            progress.started(trial_row(trial_id=f"t{index}", backbone=name))
        progress.started(trial_row(trial_id="t0", backbone=LONG))
        progress.ended(replace(ENDED, backbone="tiny_a"))
        progress.ended(replace(ENDED, trial_id="t2", backbone="tiny_a", val_accuracy=0.5, status="stopped"))
    table = screens(file.getvalue())[-1]
    assert all(len(line) <= 80 for screen in screens(file.getvalue()) for line in screen if "─" in line or "│" in line)
    row = next(line for line in table if line.startswith("│ tiny_a"))
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[:5] == ["tiny_a", "0", "1/12", "1", "0"]
    assert any("0.812" in line for line in table)
    first_long = next(line for line in table if line.startswith("│ swin"))
    assert [cell.strip() for cell in first_long.strip("│").split("│")][1:3] == ["1", "0/12"]
    assert "".join(line.split("│")[1].strip() for line in table if line.startswith("│")).startswith(LONG)


def test_the_table_goes_when_the_study_is_over_and_lines_stay(clock: Clock) -> None:
    console, file = terminal()
    with Progress(ACCURACY, console) as progress:
        progress.expect(("tiny_a",), 1)
        progress.ended(ENDED)
    said = file.getvalue()
    assert "tiny_a 1/1: val_accuracy 0.812" in said
    after_table = said.rpartition("┘")[2]
    height = len(screens(said)[-1])
    assert after_table.count("\x1b[1A\x1b[2K") >= height - 1  # every line of the table is gone over and erased
    assert "\x1b[?25h" in after_table  # and the cursor is shown again
