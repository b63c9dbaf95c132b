"""S9: what record keeping costs: the ledger, TensorBoard, the tables and the report, against the training itself.

Command:   python experiments/benchmarks/recording.py [--quick] [--out FILE]
Hardware:  two processor cores, no network
Minutes:   5
Expected:  (loop + recording) / loop at most 1.01 on two cores

The embedded study on one backbone (tiny_resnet, drawn flowers, policy `flat`), whole: search, confirmation, report. The loop is
the sum of all epochs of all trials, by their rows. Recording is measured inside: every call that writes a commit of the
ledger, an event file of TensorBoard, the compacted tables, the report or a picture for them is timed, and the seconds are
summed, although most of them pass while workers go on training. Two rows: what is paid for every epoch (ledger and
TensorBoard), which is the measure, and the same with tables, pictures and report, which are paid once per study and
weigh the less the longer it is.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from arms import CACHE, run_quietly
from measure import Finding, Goal, conclude, parser

from raytl.on_ray import driver
from raytl.results.ledger import Ledger
from raytl.results.tables import trial_rows
from raytl.results.tensorboard import BoardWriter
from raytl.study import FLAT, Study

GOAL = Goal(1.01, at_least=False)
REPEATS = 2
TRIALS, QUICK_TRIALS = 8, 3
# What writes, as (owner, name, kind); none of these calls another one.
CALLS: tuple[tuple[Any, str, str], ...] = (
    (Ledger, "commit", "ledger"),
    *((BoardWriter, name, "TensorBoard") for name in ("start", "epoch", "picture", "end", "close")),
    (driver, "compact", "tables"),
    *((driver, name, "report") for name in ("write_report", "confusion_picture", "mistakes_picture")),
)
EVERY_EPOCH = ("ledger", "TensorBoard")


def main() -> None:
    options = parser(__doc__, "recording").parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ[CACHE] = str(Path(place) / "cache")
        counts = [
            recorded(Path(place) / f"study{number}", QUICK_TRIALS if options.quick else TRIALS)
            for number in range(1 if options.quick else REPEATS)
        ]
    conclude(findings(counts), options)


def recorded(out: Path, trials: int) -> dict[str, float]:
    """Seconds of each kind of recording in one study, and of its loop."""
    study = Study(
        name="recording",
        data="drawn-flowers",
        backbones=("tiny_resnet",),
        trials=trials,
        settings={"precision": "fp32"},
        policy=FLAT,
        confirm_seeds=2,
    )
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


def findings(counts: Sequence[dict[str, float]]) -> list[Finding]:
    """Both rows of the table."""
    kinds = tuple(dict.fromkeys(kind for _, _, kind in CALLS))
    return [
        finding("ledger and TensorBoard", counts, EVERY_EPOCH, GOAL),
        finding("and tables, pictures, report once", counts, kinds, None),
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
