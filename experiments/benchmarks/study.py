"""S1: a whole study: the documented way of Ray and torchvision against `raytl search`.

Command:   python experiments/benchmarks/study.py [--data DIR] [--policy ladder|flat] [--trials 24] [--quick]
           [--out FILE]
Hardware:  two processor cores, no network
Minutes:   40
Expected:  A/B at least 10 on two cores, 20 on a GPU; best validation accuracy within 0.3 points

Two backbones, tiny_resnet and tiny_vit with the carried weights at 64 pixels, 24 trials of up to 9 epochs, ASHA, freeze
depth, rate and weight decay searched; the embedded flowers, or the pictures in DIR, split once for both arms. Both arms
are whole processes, timed from start to end. Arm A is `documented.py`: Tune over functions that each start a
`TorchTrainer` on `ImageFolder`s, as many at a time as there are cores. Ray is told of 64 processors, since with two the
pattern hangs. Arm B is `experiments/search_all.py` with an empty cache, and it does more than arm A: it trains the best
recipes and the linear probes again, reads the test set, saves models and writes the report. A second row leaves that
out: it ends with the search's last trial. A third ends each arm where an epoch first reached the best validation
accuracy of arm A in that pair: what an equal accuracy takes, which no goal is set for; where arm B never gets there, it
counts as endless. Seeds, batches and augmentation are each side's own. The check: the best validation accuracy that the
search of arm B saw is not below arm A's by more than 0.3 points.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from arms import CACHE, run_command, run_documented
from measure import Finding, Goal, Taken, conclude, parser, take_turns
from shown import SAMPLE, split_folders

from raytl.data.album import open_album
from raytl.data.samples import write_sample
from raytl.results.folder import StudyFolder
from raytl.results.tables import epoch_rows, load_tables, trial_rows
from raytl.study import LADDER, POLICIES

BACKBONES = ("tiny_resnet", "tiny_vit")
TRIALS, QUICK_TRIALS = 24, 4
EPOCHS = 9
LOWER = 0.003
SEARCHED = ("probe", "search")  # stages of a study before its confirmation


@dataclass(frozen=True)
class Documented:
    """What one turn of arm A said, its times as seconds since it began."""

    accuracy: float
    best_seconds: float


@dataclass(frozen=True)
class Searched:
    """What one turn of arm B left; `equal_seconds` passed until it saw arm A's accuracy (infinite: never)."""

    accuracy: float
    search_seconds: float
    equal_seconds: float


def main() -> None:
    options = _parse()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        source = options.data or write_sample(SAMPLE, place / SAMPLE, 40 if options.quick else None)
        folder = split_folders(open_album(source), place / "split")
        trials = QUICK_TRIALS if options.quick else options.trials
        findings = compare(folder, place, trials, options.policy, options.quick)
    conclude(findings, options)


def _parse() -> argparse.Namespace:
    made = parser(__doc__, "study")
    made.add_argument("--data", type=Path, help="a folder of pictures (default: drawn flowers)")
    made.add_argument("--policy", choices=POLICIES, default=LADDER)
    made.add_argument("--trials", type=int, default=TRIALS)
    return made.parse_args()


def compare(folder: Path, place: Path, trials: int, policy: str, quick: bool) -> list[Finding]:
    """All rows: the whole of arm B, its search alone, and both arms up to an equal accuracy."""
    documented: list[Documented] = []
    searched: list[Searched] = []

    def run_theirs() -> float:
        begin, began_at = time.perf_counter(), time.time()
        words = ["--trials", str(trials), "--epochs", str(EPOCHS), "--backbones", ",".join(BACKBONES), "--asha"]
        said = run_documented(folder, [*words, "--concurrent", str(len(os.sched_getaffinity(0)))])
        seconds = time.perf_counter() - begin
        documented.append(Documented(said["best_val_accuracy"], said["best_at"] - began_at))
        return seconds

    def run_ours() -> float:
        turn = place / f"turn{len(searched)}"
        os.environ[CACHE] = str(turn / "cache")
        begin, began_at = time.perf_counter(), time.time()
        run_command(words_of(folder, turn / "study", trials, policy))
        seconds = time.perf_counter() - begin
        searched.append(read(turn / "study", began_at, documented[-1].accuracy))
        return seconds

    taken = take_turns(run_theirs, run_ours, quick)
    return findings_of(f"{trials} trials, {' and '.join(BACKBONES)}, policy {policy}", taken, documented, searched)


def findings_of(
    case: str, taken: Taken, documented: Sequence[Documented], searched: Sequence[Searched]
) -> list[Finding]:
    """The three rows of what was measured."""
    a, b = max(turn.accuracy for turn in documented), max(turn.accuracy for turn in searched)
    check = f"best val_accuracy: A {a:.3f}, B {b:.3f}"
    goal = Goal(20) if torch.cuda.is_available() else Goal(10)
    alone = tuple(turn.search_seconds for turn in searched)
    until_best = tuple(turn.best_seconds for turn in documented)
    until_equal = tuple(turn.equal_seconds for turn in searched)
    rows = [
        (case, goal, taken.a, taken.b),
        (f"{case}; B without confirmation", goal, taken.a, alone),
        (f"{case}; each until A's best accuracy", None, until_best, until_equal),
    ]
    return [
        Finding(
            measure="S1",
            case=name,
            figure="A/B",
            values=tuple(left / right for left, right in zip(left_seconds, right_seconds, strict=True)),
            goal=bound,
            a=left_seconds,
            b=right_seconds,
            check=check,
            check_passed=b >= a - LOWER,
        )
        for name, bound, left_seconds, right_seconds in rows
    ]


def words_of(folder: Path, out: Path, trials: int, policy: str) -> list[str]:
    """The options of arm B; trials are per backbone there."""
    return [
        *("--data", str(folder), "--out", str(out), "--backbones", ",".join(BACKBONES), "--policy", policy),
        *("--trials", str(max(1, trials // len(BACKBONES))), "--epochs", str(EPOCHS), "--confirm-seeds", "1"),
    ]


def read(out: Path, began_at: float, wanted: float) -> Searched:
    """What the study's tables say of the time before its confirmation; `wanted` is a validation accuracy."""
    tables = load_tables(StudyFolder(out))
    rows = [row for row in trial_rows(tables.trials) if row.stage in SEARCHED]
    best = max(row.val_accuracy for row in rows if row.val_accuracy is not None)
    end = max(row.ended_at for row in rows if row.ended_at is not None).timestamp()
    trials = {row.trial_id for row in rows}
    reached = [
        epoch for epoch in epoch_rows(tables.epochs) if epoch.trial_id in trials and epoch.val_accuracy >= wanted
    ]
    equal = min((epoch.ended_at.timestamp() for epoch in reached), default=math.inf)
    return Searched(best, end - began_at, equal - began_at)


if __name__ == "__main__":
    main()
