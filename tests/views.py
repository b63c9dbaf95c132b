"""Every way to show a study, on consoles that write to memory, and the events of a small study."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from raytl.estimate import Estimate
from raytl.metric import METRICS
from raytl.results.conclusion import Conclusion
from raytl.results.event_lines import EventLines
from raytl.results.live_view import LiveView
from raytl.results.log_lines import LogLines
from raytl.results.result_only import ResultOnly
from raytl.results.schemas import CONFIRM, PROBE, SEARCH
from raytl.results.tables import load_tables
from raytl.results.view import DESIGN, REPORT, View
from raytl.study import Study
from tests.rows import START, confirmed_row, epoch_row, trial_row
from tests.studies import Plan, write_study

ACCURACY = METRICS["val_accuracy"]
LONG = "vit_large_patch16_siglip_gap_512.v2_webli.ft_in22k_in1k"
STUDY = Study(name="small", data="pictures", backbones=("tiny_a", "tiny_b"), trials=4, confirm_seeds=2)
GRID = replace(
    STUDY,
    design={
        "strategy": {"all trained": {"freeze_depth": 0}, "extractor": {"freeze_depth": "all"}},
        "loss": {"plain": {}, "focal": {"loss": "focal"}},
    },
)
ESTIMATE = Estimate(12_000_000, 3_000_000_000, 5_000_000, 100.0, 60.0, 240.0, {"probe": 40.0, "search": 60.0})
SECRET = "https://me:pass-word-1@host/x"
ENDED = trial_row(trial_id="t1", status="completed", epochs_run=4, seconds=12.4, val_accuracy=0.8125, val_loss=0.5)


@dataclass
class Shown:
    """A view, and what it has written: `out` is standard output, `words` what a program would not read."""

    view: View
    out: io.StringIO
    words: io.StringIO


def terminal(width: int = 80, height: int = 24, **environment: str) -> tuple[Console, io.StringIO]:
    """A terminal of a size."""
    file = io.StringIO()
    given = {"TERM": "xterm-256color", "COLUMNS": str(width), "LINES": str(height), **environment}
    return Console(file=file, force_terminal=True, width=width, height=height, highlight=False, _environ=given), file


def log(width: int = 80) -> tuple[Console, io.StringIO]:
    """A file."""
    file = io.StringIO()
    return Console(file=file, force_terminal=False, width=width, highlight=False), file


def live() -> Shown:
    console, file = terminal()
    return Shown(LiveView(ACCURACY, console), file, file)


def plain() -> Shown:
    console, file = log()
    return Shown(LogLines(ACCURACY, console), file, file)


def quiet() -> Shown:
    console, file = log()
    return Shown(ResultOnly(ACCURACY, console), file, file)


def events() -> Shown:
    out, words = io.StringIO(), io.StringIO()
    return Shown(EventLines(ACCURACY, out, words), out, words)


def untimed(text: str) -> str:
    """Lines as if no time had passed: on a busy machine a second goes by between two calls."""
    return re.sub(r"\[ *\d+ s\]", "[    0 s]", text)


VIEWS: dict[str, Callable[[], Shown]] = {"live": live, "plain": plain, "quiet": quiet, "json": events}


def tell_search(view: View) -> None:
    """A study whose first run was interrupted after two trials, and which goes on to its final models."""
    earlier = replace(ENDED, trial_id="t0", backbone="tiny_a", ended_at=START + timedelta(seconds=9))
    view.known([earlier, trial_row(trial_id="t1", backbone="tiny_b")])
    view.say(f"data: from {SECRET}\x1b[31m, 10 pictures\n")
    view.step(PROBE, 2)
    for index, backbone in enumerate(STUDY.backbones):
        view.ended(replace(ENDED, trial_id=f"h{index}", backbone=backbone, stage="probe", val_accuracy=0.5))
    view.step(SEARCH, 6)
    for name in ("t1", "t2"):
        view.started(trial_row(trial_id=name, backbone="tiny_b"))
        view.epoch(trial_row(trial_id=name, backbone="tiny_b"), epoch_row(trial_id=name, val_loss=float("inf")))
    view.ended(replace(ENDED, backbone="tiny_b"))
    view.ended(trial_row(trial_id="t2", backbone="tiny_b", status="failed", reason=f"no route to {SECRET}"))
    view.settled("tiny_b", 2, "it lies too far behind the best backbone")
    view.step(CONFIRM, 1)
    view.started(trial_row(trial_id="c1", stage="confirm", origin="best"))
    view.ended(replace(ENDED, trial_id="c1", stage="confirm", origin="best"))
    view.tested(confirmed_row(trial_id="c1"))
    view.step(REPORT, 0)


def tell_design(view: View, runs: int = 8) -> None:
    """A design's first runs."""
    view.known([])
    view.step(DESIGN, 2 * runs)
    for index in range(3):
        row = trial_row(trial_id=f"r{index}", stage="confirm", origin="all trained + plain")
        view.started(row)
        view.ended(replace(ENDED, trial_id=f"r{index}", stage="confirm", origin="all trained + plain"))


def conclusion(folder: Path, exit_code: int = 0) -> Conclusion:
    """What a study of three backbones ended on."""
    made = write_study(folder, Plan())
    return Conclusion(made, load_tables(made), ACCURACY, exit_code)
