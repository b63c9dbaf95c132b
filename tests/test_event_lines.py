"""Events for programs: one object per line, numbers as numbers, nothing else on standard output."""

from __future__ import annotations

import io
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from raytl.results.event_lines import EventLines
from raytl.results.facts import final_models
from raytl.results.schemas import ConfirmedRow, EpochRow, TrialRow
from tests.rows import epoch_row, trial_row
from tests.views import ACCURACY, ESTIMATE, STUDY, conclusion, events, tell_search, untimed

ROOT = Path(__file__).parents[1]


def refused(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def parsed(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=refused) for line in out.getvalue().splitlines()]


def told(tmp_path: Path) -> list[dict[str, Any]]:
    shown = events()
    with shown.view as view:
        view.begin(STUDY, tmp_path / "out")
        tell_search(view)
        view.estimated(ESTIMATE)
    view.concluded(conclusion(tmp_path / "study", exit_code=5))
    return parsed(shown.out)


def test_every_event_is_told_once_in_order(tmp_path: Path) -> None:
    lines = told(tmp_path)
    assert [line["event"] for line in lines] == [
        "study", "kept", "step", "ended", "ended", "step", "started", "epoch", "started", "epoch", "ended", "ended",
        "settled", "step", "started", "ended", "final", "step", "estimate", "result",
    ]  # fmt: skip
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["at"]) for line in lines)
    seconds = [line["at_seconds"] for line in lines]
    assert seconds == sorted(seconds) and all(isinstance(each, float) for each in seconds)


def test_rows_are_those_of_the_tables_and_numbers_are_numbers(tmp_path: Path) -> None:
    lines = told(tmp_path)
    by_event = {line["event"]: line for line in lines}
    for event, kind in (("epoch", EpochRow), ("ended", TrialRow), ("final", ConfirmedRow)):
        assert {item.name for item in fields(kind)} <= by_event[event].keys()
    ended = next(line for line in lines if line["event"] == "ended" and line["trial_id"] == "t1")
    assert (ended["val_accuracy"], ended["seconds"], ended["epochs_run"]) == (0.8125, 12.4, 4)
    assert ended["recipe"]["lr"] == 0.003 and ended["recipe"]["batch_size"] == 32
    assert by_event["epoch"]["val_loss"] is None, "JSON has no infinity"
    assert by_event["kept"]["trials"] == 1 and by_event["kept"]["continued_trials"] == 1
    assert by_event["study"]["spec"]["trials"] == 4
    failed = next(line for line in lines if line["event"] == "ended" and line["status"] == "failed")
    assert failed["reason"] == "no route to https://<redacted>@host/x"


def test_the_result_holds_the_models_and_the_answer(tmp_path: Path) -> None:
    result, study = told(tmp_path)[-1], conclusion(tmp_path / "again")
    models = final_models(study.tables, ACCURACY)
    assert result["exit_code"] == 5 and result["report"].endswith("report.html")
    assert [(each["backbone"], each["role"], each["test_accuracy"]) for each in result["models"]] == [
        (model.backbone, model.role, model.test.value) for model in models
    ]
    assert all(each["test_accuracy_low"] <= each["test_accuracy"] <= each["test_accuracy_high"]
               for each in result["models"])  # fmt: skip
    assert result["answer"].startswith("Best is tiny_vit") and "\n" not in result["answer"]


def test_words_go_to_standard_error() -> None:
    shown = events()
    shown.view.say("probing:\x1b[31m heads\n")
    assert shown.out.getvalue() == ""
    assert untimed(shown.words.getvalue()) == "[    0 s] probing: heads \n"


def test_heads_of_the_probe_have_their_ends_alone() -> None:
    shown = events()
    head = trial_row(stage="probe")
    shown.view.started(head)
    shown.view.epoch(head, epoch_row())
    assert shown.out.getvalue() == ""


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_has_gone_ends_no_study(tmp_path: Path) -> None:
    words = io.StringIO()
    with EventLines(ACCURACY, Closed(), words) as view:
        view.begin(STUDY, tmp_path)
        tell_search(view)
    assert words.getvalue().count("nobody reads the events any more") == 1


def test_the_documentation_names_every_event_and_field(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    for line in told(tmp_path):
        section = page.partition(f"\n## `{line['event']}`")[2].partition("\n## ")[0]
        assert section, line["event"]
        tables = {"ended": "trials", "epoch": "epochs", "final": "confirmed"}
        if table := tables.get(line["event"]):
            assert f"`{table}`" in section
            continue
        lacking = {name for name in line if f"`{name}`" not in section} - {"event", "at", "at_seconds"}
        assert lacking == set(), line["event"]
    for name in ("event", "at", "at_seconds"):
        assert f"`{name}`" in page.partition("\n## ")[0]
