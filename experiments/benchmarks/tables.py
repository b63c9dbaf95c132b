"""S11: what the leaderboard, the best trial of each backbone and one learning curve cost in a large study.

Command:   python experiments/benchmarks/tables.py [--quick] [--out FILE]
Hardware:  one processor core, 1 GB of disk, no network
Minutes:   2
Expected:  each answer in under 0.5 s with a peak of under 500 MB

A made-up study of 10,000 trials of 50 epochs (random accuracies from a fixed seed) is written through the real ledger,
then compacted. Each question is asked five times, each time by a fresh process, once with the ledger there (as
during a run, and by `raytl list`) and once with the Parquet files alone. Seconds count from the imported library to the
answer, reading included; memory is the peak of the whole process, imports included. The check: every answer equals
that of plain Python over the same random numbers.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from measure import Finding, Goal, conclude, parser

from raytl.metric import METRICS
from raytl.recipe import Recipe
from raytl.results.folder import StudyFolder
from raytl.results.ledger import Ledger
from raytl.results.schemas import EpochRow, TrialRow
from raytl.results.tables import Tables, best_trial_per_backbone, compact, leaderboard, learning_curve, load_tables

TRIALS, EPOCHS = 10_000, 50
BACKBONES = ("resnet18", "resnet50", "mobilenetv2_100", "convnext_tiny", "vit_base_patch16_224")
COMMITS = 64  # as many files as the ledger keeps of a table before it rolls them together
START = datetime(2026, 1, 1, tzinfo=UTC)
METRIC = METRICS["val_accuracy"]
SECONDS, MEGABYTES = Goal(0.5, at_least=False), Goal(500, at_least=False)
REPEATS, QUICK_REPEATS = 5, 1
QUESTIONS = ("leaderboard", "best per backbone", "learning curve")


@dataclass(frozen=True)
class MadeUp:
    """One trial of the made-up study: its accuracies by epoch."""

    number: int
    accuracies: tuple[float, ...]

    @property
    def trial_id(self) -> str:
        return f"trial{self.number:05d}"

    @property
    def backbone(self) -> str:
        return BACKBONES[self.number % len(BACKBONES)]

    @property
    def best(self) -> float:
        return max(self.accuracies)


def main() -> None:
    options = _parse()
    if options.question:
        print(json.dumps(measured_answer(options.question, options.folder)))
        return
    trials = list(made_up(TRIALS // 10 if options.quick else TRIALS))
    with tempfile.TemporaryDirectory() as place:
        ledger, parquet = StudyFolder(Path(place) / "ledger"), StudyFolder(Path(place) / "parquet")
        begin = time.perf_counter()
        write_study(ledger, trials)
        print(f"study of {len(trials)} trials written in {time.perf_counter() - begin:.0f} s", flush=True)
        parquet.root.mkdir()
        ledger.tables.rename(parquet.tables)
        repeats = QUICK_REPEATS if options.quick else REPEATS
        findings = [
            finding
            for source, folder in (("ledger", ledger), ("Parquet", parquet))
            for question in QUESTIONS
            for finding in ask(question, source, folder, trials, repeats)
        ]
    conclude(findings, options)


def _parse() -> argparse.Namespace:
    made = parser(__doc__, "tables")
    made.add_argument("--question", choices=QUESTIONS, help=argparse.SUPPRESS)  # a fresh process of this program
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return made.parse_args()


def made_up(count: int) -> Iterator[MadeUp]:
    """Trials with random accuracies, no two alike."""
    rng = random.Random(0)
    for number in range(count):
        yield MadeUp(number, tuple(rng.random() for _ in range(EPOCHS)))


def write_study(folder: StudyFolder, trials: list[MadeUp]) -> None:
    """The study's ledger and, compacted from it, its tables."""
    folder.create()
    ledger = Ledger.open(folder.ledger)
    size = -(-len(trials) // COMMITS)
    for start in range(0, len(trials), size):
        part = trials[start : start + size]
        ledger.commit("trials", [replace(trial_row(trial), status="running") for trial in part])
        ledger.commit("epochs", [row for trial in part for row in epoch_rows(trial)])
        ledger.commit("trials", [trial_row(trial) for trial in part])
    compact(folder)


def trial_row(trial: MadeUp) -> TrialRow:
    """The trial as it ended."""
    recipe = Recipe(backbone=trial.backbone, lr=1e-5 * (1 + trial.number), epochs=EPOCHS)
    return TrialRow(
        study="made-up",
        trial_id=trial.trial_id,
        recipe_hash=trial.trial_id,
        tune_trial_id=None,
        stage="search",
        backbone=trial.backbone,
        status="completed",
        started_at=START + timedelta(seconds=trial.number),
        ended_at=START + timedelta(seconds=trial.number + EPOCHS),
        seconds=float(EPOCHS),
        epochs_run=EPOCHS,
        best_epoch=trial.accuracies.index(trial.best) + 1,
        val_accuracy=trial.best,
        val_macro_f1=trial.best,
        val_loss=1 - trial.best,
        freeze_depth=0,
        recipe=recipe,
    )


def epoch_rows(trial: MadeUp) -> Iterator[EpochRow]:
    """The trial's epochs."""
    for epoch, accuracy in enumerate(trial.accuracies, start=1):
        yield EpochRow(
            trial_id=trial.trial_id,
            epoch=epoch,
            started_at=START + timedelta(seconds=trial.number + epoch - 1),
            ended_at=START + timedelta(seconds=trial.number + epoch),
            train_loss=1 - accuracy,
            train_accuracy=accuracy,
            val_loss=1 - accuracy,
            val_accuracy=accuracy,
            val_macro_f1=accuracy,
            lr=1e-3,
            images_per_second=500.0,
            is_best=accuracy == max(trial.accuracies[:epoch]),
        )


def ask(question: str, source: str, folder: StudyFolder, trials: list[MadeUp], repeats: int) -> list[Finding]:
    """Seconds and megabytes of one question, by as many fresh processes as `repeats`."""
    command = [sys.executable, __file__, "--question", question, "--folder", str(folder.root)]
    said = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(repeats)
    ]
    right = all(each["answer"] == expected(question, trials) for each in said)
    case = f"{question}, from {source}"
    check = "answer as computed by hand" if right else "wrong answer"
    return [
        Finding(
            measure="S11", case=case, figure=figure, values=values, goal=goal, check=check, check_passed=right, unit=""
        )
        for figure, goal, values in (
            ("seconds", SECONDS, tuple(each["seconds"] for each in said)),
            ("MB", MEGABYTES, tuple(each["peak_bytes"] / 1e6 for each in said)),
        )
    ]


def measured_answer(question: str, root: Path) -> dict[str, object]:
    """The answer to a question about the study in `root`, what it took, and the peak memory of this process."""
    begin = time.perf_counter()
    found = answer(question, load_tables(StudyFolder(root)))
    return {"seconds": time.perf_counter() - begin, "answer": found, "peak_bytes": peak_bytes()}


def answer(question: str, tables: Tables) -> list[object]:
    """What raytl answers: ids and accuracies, in order."""
    if question == "leaderboard":
        return list(leaderboard(tables, METRIC)["trial_id"].to_pylist())
    if question == "best per backbone":
        return list(best_trial_per_backbone(tables, METRIC)["trial_id"].to_pylist())
    middle = f"trial{len(tables.trials) // 2:05d}"
    return list(learning_curve(tables, middle)["val_accuracy"].to_pylist())


def expected(question: str, trials: list[MadeUp]) -> list[object]:
    """What plain Python answers."""
    ranked = sorted(trials, key=lambda trial: -trial.best)
    if question == "leaderboard":
        return [trial.trial_id for trial in ranked]
    if question == "best per backbone":
        first: dict[str, str] = {}
        for trial in ranked:
            first.setdefault(trial.backbone, trial.trial_id)
        return list(first.values())
    return list(trials[len(trials) // 2].accuracies)


def peak_bytes() -> int:
    """The largest memory this process had; a child's own, which `getrusage` would mix with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
