"""S9: what record keeping costs: the ledger, TensorBoard, the tables and the report, against the training itself.

Command:   python experiments/benchmarks/recording.py [--quick] [--out FILE]
Hardware:  two processor cores, no network
Minutes:   5
Expected:  (loop + recording) / loop at most 1.01 on two cores

Two studies of tiny_resnet on the embedded flowers, each whole: search, confirmation, report. `fine-tuning` trains all
weights in every trial, 9 epochs of about a second each, policy `flat`; it is the measure. `ladder` is raytl's default,
most of whose rows are heads, trained by the hundred in less time than it takes to write them down. The loop is the sum
of all epochs of all trials, by their rows. Recording is measured inside: every call that writes a commit of the ledger,
an event file of TensorBoard, the compacted tables, the report or a picture for them is timed, and the seconds are
summed, although most of them pass while workers go on training. What is paid once per study (tables, report, pictures)
is shown apart: it weighs the less the longer a study is.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from arms import CACHE, run_quietly
from measure import Finding, Goal, conclude, parser

from raytl.on_ray import driver, publication
from raytl.results.ledger import Ledger
from raytl.results.tables import trial_rows
from raytl.results.tensorboard import BoardWriter
from raytl.space import Value
from raytl.study import FLAT, Study

GOAL = Goal(1.01, at_least=False)
REPEATS = 2
TRIALS, QUICK_TRIALS = 8, 2
# What writes, as (owner, name, kind); none of these calls another one.
CALLS: tuple[tuple[Any, str, str], ...] = (
    (Ledger, "commit", "ledger"),
    *((BoardWriter, name, "TensorBoard") for name in ("start", "epoch", "picture", "pr_curves", "end", "close")),
    (driver, "compact", "tables"),
    (driver, "write_report", "report"),
    *((publication, name, "report") for name in ("draw_final", "save_heat")),
)
EVERY_EPOCH = ("ledger", "TensorBoard")


def main() -> None:
    options = parser(__doc__, "recording").parse_args()
    trials = QUICK_TRIALS if options.quick else TRIALS
    found: list[Finding] = []
    with tempfile.TemporaryDirectory() as place:
        os.environ[CACHE] = str(Path(place) / "cache")
        for study, repeats in ((fine_tuning(trials), 1 if options.quick else REPEATS), (ladder(trials), 1)):
            folders = (Path(place) / f"{study.name}{turn}" for turn in range(repeats))
            found += findings(study.name, [recorded(study, folder) for folder in folders])
    conclude(found, options)


def fine_tuning(trials: int) -> Study:
    """All weights trained in every trial, to the end."""
    settings: dict[str, Value] = {"freeze_depth": 0, "augment": "light", "precision": "fp32"}
    base = ladder(trials)
    return replace(base, name="fine-tuning", weights="none", epochs=9, settings=settings, scheduler="none", policy=FLAT)


def ladder(trials: int) -> Study:
    """raytl's default."""
    return Study(
        name="ladder",
        data="drawn-flowers",
        backbones=("tiny_resnet",),
        trials=trials,
        settings={"precision": "fp32"},
        confirm_seeds=2,
    )


def recorded(study: Study, out: Path) -> dict[str, float]:
    """Seconds of each kind of recording in one study, and of its loop."""
    seconds: dict[str, float] = defaultdict(float)
    with ExitStack() as stack:
        for owner, name, kind in CALLS:
            stack.enter_context(timed_calls(owner, name, kind, seconds))
        tables = run_quietly(study, out)
    seconds["loop"] = sum(row.seconds or 0.0 for row in trial_rows(tables.trials))
    return dict(seconds)


@contextmanager
def timed_calls(owner: Any, name: str, kind: str, seconds: dict[str, float]) -> Iterator[None]:
    """Within the block, calls of `owner.name` add what they take to `seconds[kind]`."""
    original: Callable[..., Any] = getattr(owner, name)

    @wraps(original)
    def timing(*given: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return original(*given, **named)
        finally:
            seconds[kind] += time.perf_counter() - begin

    setattr(owner, name, timing)
    try:
        yield
    finally:
        setattr(owner, name, original)


def findings(name: str, counts: Sequence[dict[str, float]]) -> list[Finding]:
    """The rows of one study; only fine-tuning is held against the goal."""
    kinds = tuple(dict.fromkeys(kind for _, _, kind in CALLS))
    return [
        finding(f"{name}: ledger and TensorBoard", counts, EVERY_EPOCH, GOAL if name == "fine-tuning" else None),
        finding(f"{name}: and tables, pictures, report once", counts, kinds, None),
    ]


def finding(case: str, counts: Sequence[dict[str, float]], kinds: tuple[str, ...], goal: Goal | None) -> Finding:
    """One row: the loop (A), and the loop with some kinds of recording (B)."""
    loops = tuple(each["loop"] for each in counts)
    sums = tuple(each["loop"] + sum(each.get(kind, 0.0) for kind in kinds) for each in counts)
    return Finding(
        measure="S9",
        case=case,
        figure="(loop + recording) / loop",
        values=tuple(whole / loop for whole, loop in zip(sums, loops, strict=True)),
        goal=goal,
        a=loops,
        b=sums,
        check=", ".join(f"{kind} {counts[-1].get(kind, 0.0):.2f} s" for kind in kinds),
    )


if __name__ == "__main__":
    main()
