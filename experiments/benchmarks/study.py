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
out: it ends with the search's last trial. Seeds, batches and augmentation are each side's own. The check: the best
validation accuracy that the search of arm B saw is not below arm A's by more than 0.3 points.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from arms import CACHE, run_command, run_documented
from measure import Finding, Goal, conclude, parser, take_turns
from shown import SAMPLE, split_folders

from raytl.data.album import open_album
from raytl.data.samples import write_sample
from raytl.results.folder import StudyFolder
from raytl.results.tables import load_tables, trial_rows
from raytl.study import LADDER, POLICIES

BACKBONES = ("tiny_resnet", "tiny_vit")
TRIALS, QUICK_TRIALS = 24, 4
EPOCHS = 9
LOWER = 0.003
SEARCHED = ("probe", "search")  # stages of a study before its confirmation


@dataclass(frozen=True)
class Searched:
    """What one turn of arm B left."""

    accuracy: float
    search_seconds: float


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
    """Both rows: the whole of arm B, and its search alone."""
    accuracies: list[float] = []
    searched: list[Searched] = []

    def documented() -> float:
        begin = time.perf_counter()
        words = ["--trials", str(trials), "--epochs", str(EPOCHS), "--backbones", ",".join(BACKBONES), "--asha"]
        said = run_documented(folder, [*words, "--concurrent", str(len(os.sched_getaffinity(0)))])
        seconds = time.perf_counter() - begin
        accuracies.append(said["best_val_accuracy"])
        return seconds

    def ours() -> float:
        turn = place / f"turn{len(searched)}"
        os.environ[CACHE] = str(turn / "cache")
        begin, began_at = time.perf_counter(), time.time()
        run_command(words_of(folder, turn / "study", trials, policy))
        seconds = time.perf_counter() - begin
        searched.append(read(turn / "study", began_at))
        return seconds

    taken = take_turns(documented, ours, quick)
    a, b = max(accuracies), max(turn.accuracy for turn in searched)
    check = f"best val_accuracy: A {a:.3f}, B {b:.3f}"
    goal = Goal(20) if torch.cuda.is_available() else Goal(10)
    alone = tuple(turn.search_seconds for turn in searched)
    case = f"{trials} trials, {' and '.join(BACKBONES)}, policy {policy}"
    return [
        Finding(
            measure="S1",
            case=name,
            figure="A/B",
            values=tuple(left / right for left, right in zip(taken.a, seconds, strict=True)),
            goal=goal,
            a=taken.a,
            b=seconds,
            check=check,
            check_passed=b >= a - LOWER,
        )
        for name, seconds in ((case, taken.b), (f"{case}; B without confirmation", alone))
    ]


def words_of(folder: Path, out: Path, trials: int, policy: str) -> list[str]:
    """The options of arm B; trials are per backbone there."""
    return [
        *("--data", str(folder), "--out", str(out), "--backbones", ",".join(BACKBONES), "--policy", policy),
        *("--trials", str(max(1, trials // len(BACKBONES))), "--epochs", str(EPOCHS), "--confirm-seeds", "1"),
    ]


def read(out: Path, began_at: float) -> Searched:
    """The best validation accuracy before the confirmation, and when that was reached, from the study's tables."""
    rows = [row for row in trial_rows(load_tables(StudyFolder(out)).trials) if row.stage in SEARCHED]
    best = max(row.val_accuracy for row in rows if row.val_accuracy is not None)
    return Searched(best, max(row.ended_at for row in rows if row.ended_at is not None).timestamp() - began_at)


if __name__ == "__main__":
    main()
