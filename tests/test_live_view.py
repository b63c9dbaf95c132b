"""The live table: what stands on the screen of a small terminal, drawn by a small terminal of our own."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from raytl import stops
from raytl.results.live_view import SHOW_CURSOR, LiveView, is_drawable
from raytl.results.schemas import SEARCH
from raytl.results.sparkline import BLOCKS
from tests.rows import trial_row
from tests.views import ACCURACY, ENDED, GRID, LONG, STUDY, log, tell_design, tell_search, terminal, untimed

SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


def screen(text: str, width: int) -> list[str]:
    """What a terminal shows of `text`, all that has scrolled away included; a line that is too long wraps."""
    lines, row, column, place = [""], 0, 0, 0
    while place < len(text):
        if found := SEQUENCE.match(text, place):
            count, code = found[1], found[2]
            if code == "A":
                row -= int(count or 1)
            elif code == "K":
                lines[row] = ""
            place = found.end()
            continue
        character = text[place]
        place += 1
        if character == "\r":
            column = 0
        elif character == "\n" or column == width:
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        if character not in "\r\n":
            lines[row] = lines[row].ljust(column)[:column] + character + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def drawn(view: LiveView, file: io.StringIO, width: int) -> list[str]:
    """The screen after everything told so far has been drawn."""
    view._live.refresh()
    return screen(file.getvalue(), width)


def test_a_window_of_80_columns_shows_counts_best_curve_and_recipe() -> None:
    console, file = terminal()
    with LiveView(ACCURACY, console) as view:
        view.begin(replace(STUDY, backbones=(LONG, "tiny_a"), trials=12), Path("out"))
        view.step(SEARCH, 24)
        for index, backbone in enumerate((LONG, "tiny_a", "tiny_a", "tiny_a")):
            view.started(trial_row(trial_id=f"t{index}", backbone=backbone))
        view.ended(replace(ENDED, trial_id="t1", val_accuracy=0.25))
        view.ended(replace(ENDED, trial_id="t2", val_accuracy=0.8125, status="stopped"))
        lines = drawn(view, file, 80)
    head = next(index for index, line in enumerate(lines) if line.startswith("backbone"))
    assert lines[head].split() == ["backbone", "running", "done", "stopped", "failed", "of"]
    told = " ".join(line.strip() for line in lines[:head])
    assert re.search(r"\[ +\d+ s\] searching, 2 of 24 trials, about \d+ s left; then up to 12 final models$", told)
    name, *counts = lines[head + 1].split()
    assert counts == ["1", "0", "0", "0", "12"]
    start, end = name.split("…")
    assert LONG.startswith(start) and LONG.endswith(end) and len(start) > 10 and len(end) > 10
    assert lines[head + 2].split() == ["tiny_a", "1", "1", "1", "0", "12"]
    assert lines[head + 3] == "  val_accuracy 0.812 ▁█           lr 3.0e-03, batch 32, 0 stages frozen"
    assert all(len(line) <= 80 for line in lines)


def test_lines_stay_above_the_table_and_are_folded_at_words() -> None:
    console, file = terminal()
    with LiveView(ACCURACY, console) as view:
        view.begin(STUDY, Path("out"))
        view.say("word " * 30)
        lines = drawn(view, file, 80)
    assert [untimed(line) for line in lines if "word" in line] == [
        "[    0 s] " + ("word " * 14).strip(),
        "          " + ("word " * 14).strip(),
        "          word word",
    ]
    assert lines.index("          word word") < next(i for i, line in enumerate(lines) if line.startswith("backbone"))


def test_only_the_best_and_what_failed_have_lines() -> None:
    console, file = terminal()
    with LiveView(ACCURACY, console) as view:
        view.begin(STUDY, Path("out"))
        view.step(SEARCH, 8)
        for index, value in enumerate((0.5, 0.25, 0.75, 0.5)):
            view.ended(replace(ENDED, trial_id=f"t{index}", val_accuracy=value))
        view.ended(trial_row(trial_id="t9", status="failed", reason="no"))
    told = [line for line in screen(file.getvalue(), 80) if line.startswith("[") and "tiny_a" in line]
    assert [re.findall(r"tiny_a (\S+): (?:val_accuracy )?(\S+)", line)[0] for line in told] == [
        ("1/4", "0.500"), ("3/4", "0.750"), ("5/5", "failed:")
    ]  # fmt: skip


def test_the_table_goes_when_the_study_is_over_and_the_cursor_comes_back() -> None:
    console, file = terminal()
    with LiveView(ACCURACY, console) as view:
        view.begin(STUDY, Path("out"))
        tell_search(view)
    lines = screen(file.getvalue(), 80)
    assert not any(line.startswith("backbone") for line in lines) and any("raytl " in line for line in lines)
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")


def test_an_interruption_leaves_the_terminal_as_it_was() -> None:
    console, file = terminal()
    with pytest.raises(KeyboardInterrupt), LiveView(ACCURACY, console) as view:
        view.begin(STUDY, Path("out"))
        raise KeyboardInterrupt
    assert file.getvalue().rindex("\x1b[?25h") > file.getvalue().rindex("\x1b[?25l")
    assert stops._before_exit == []


def test_a_process_that_is_ended_at_once_shows_the_cursor_first(tmp_path: Path) -> None:
    with (tmp_path / "tty").open("w") as file:
        console = Console(file=file, force_terminal=True, width=80, height=24, _environ={"TERM": "xterm"})
        with LiveView(ACCURACY, console):
            [action] = stops._before_exit
            action()
    assert SHOW_CURSOR in (tmp_path / "tty").read_bytes()


def test_a_low_window_leaves_recipes_out_before_backbones() -> None:
    console, _ = terminal(height=8)
    names = tuple(f"tiny_{letter}" for letter in "abcd")
    with LiveView(ACCURACY, console) as view:
        view.begin(replace(STUDY, backbones=names), Path("out"))
        view.step(SEARCH, 16)
        for name in names:
            view.ended(replace(ENDED, trial_id=name, backbone=name))
        picture = console.render_lines(view._picture(), pad=False)
    told = ["".join(segment.text for segment in line) for line in picture]
    assert len(told) <= 8 and sum(line.startswith("tiny_") for line in told) == 4
    assert not any("lr " in line for line in told)


def test_an_encoding_without_blocks_gets_plain_characters() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    console = Console(file=file, force_terminal=True, width=80, height=24, _environ={"TERM": "xterm"})
    with LiveView(ACCURACY, console) as view:
        view.begin(replace(STUDY, backbones=(LONG,)), Path("out"))
        view.step(SEARCH, 4)
        for index, value in enumerate((0.25, 0.5)):
            view.ended(replace(ENDED, trial_id=f"t{index}", backbone=LONG, val_accuracy=value))
        view._live.refresh()
    said = raw.getvalue().decode("ascii")
    assert "~" in said and "0.500 _#" in said and not set(BLOCKS) & set(said)


def test_a_design_shows_its_cells() -> None:
    console, file = terminal()
    with LiveView(ACCURACY, console) as view:
        view.begin(GRID, Path("out"))
        tell_design(view)
        lines = drawn(view, file, 80)
    row = next(index for index, line in enumerate(lines) if line.startswith("tiny_a"))
    assert lines[row].split() == ["tiny_a", "0", "3", "0", "0", "8"]
    assert lines[row + 1].endswith("all trained + plain")


def test_no_color_means_no_colors() -> None:
    console, file = terminal(NO_COLOR="1")
    with LiveView(ACCURACY, console) as view:
        view.begin(STUDY, Path("out"))
        tell_search(view)
    assert not re.findall(r"\x1b\[[0-9;]*m", file.getvalue().replace("\x1b[0m", ""))


def test_where_a_table_can_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_drawable(terminal()[0]) and is_drawable(terminal(width=60)[0])
    assert not is_drawable(terminal(width=59)[0]), "too narrow for the counts"
    assert not is_drawable(terminal(TERM="dumb")[0]), "its cursor cannot be moved"
    assert not is_drawable(log()[0])


def widgets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stands for IPython and ipywidgets, of which rich uses an output area; what was displayed."""
    shown: list[Any] = []

    class Output:
        def __enter__(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...
        def clear_output(self, wait: bool) -> None:
            shown.append("cleared")

        def close(self) -> None: ...

    contents: dict[str, dict[str, Any]] = {
        "IPython": {},
        "IPython.display": {"display": shown.append},
        "ipywidgets": {"Output": Output},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        module.__spec__ = type(sys.__spec__)(name, None)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return shown


def notebook() -> Console:
    return Console(force_jupyter=True, width=80, height=24, highlight=False, _environ={})


def test_a_notebook_with_widgets_shows_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = widgets(monkeypatch)
    console = notebook()
    assert is_drawable(console)
    with LiveView(ACCURACY, console) as view:
        view.begin(STUDY, Path("out"))
        tell_search(view)
        view._live.refresh()
        pages = [each._repr_mimebundle_((), ())["text/html"] for each in shown if hasattr(each, "_repr_mimebundle_")]
    assert any("tiny_b" in page and "stopped" in page for page in pages) and "cleared" in shown
    assert "\x1b" not in "".join(pages)


def test_a_notebook_without_widgets_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytl.results.live_view.find_spec", lambda name: None)
    assert not is_drawable(notebook())
