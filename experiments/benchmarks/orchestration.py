"""S7: what a search costs beside the training itself: 100 trials of about two seconds in warm actors.

Command:   python experiments/benchmarks/orchestration.py [--trials 100] [--quick] [--out FILE]
Hardware:  two processor cores, no network
Minutes:   6
Expected:  wall time at most 1.08 times the loops' own time on two cores, 1.03 with a core to spare for the driver

A study of raytl with one backbone under the policy `flat`, no scheduler, Optuna as searcher: tiny_resnet, all weights
trained, 400 drawn flowers, three epochs, which takes about two seconds on one core. The wall time counts from the
beginning of the first trial, when its actor has started and imported everything, to the end of the last one; it holds
suggestions, Tune, building models, checkpoints, the ledger and TensorBoard.

Two yardsticks, each divided by the number of trials at a time: the time that the epochs took inside the study, as their
rows say (the definition of the measure); and the time that the same epochs take in as many plain processes side by
side, without Ray, which also shows where the driver slows the trials down. Plain processes run a few of the trials.

Beside the ratios stands where the rest of the time went, in seconds a trial: before its first epoch (the model is
built), between its epochs and after the last one (results and checkpoints), and while a place had no trial at all (Tune
hands out the next one); and how much processor time the driver itself used meanwhile, on the cores of the trials.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import astuple, dataclass, fields
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from arms import CACHE, run_quietly, search_trials
from measure import Finding, Goal, conclude, parser, take_turns
from shown import PIXELS, SAMPLE

from raytl.data.album import open_album
from raytl.data.samples import write_sample
from raytl.data.store import build_store, open_data
from raytl.on_ray.cluster import divide, joined
from raytl.recipe import Recipe, make_recipe
from raytl.results.schemas import EpochRow, TrialRow
from raytl.results.tables import epoch_rows
from raytl.space import Value
from raytl.study import FLAT, Study
from raytl.train.loop import fit
from raytl.train.world import World

PER_CLASS, EPOCHS = 114, 3  # 400 training pictures: about two seconds on one of two AVX-512 cores
TRIALS, QUICK_TRIALS = 100, 12
PLAIN_TRIALS, QUICK_PLAIN_TRIALS = 8, 2  # of each plain process
GOAL = Goal(1.08, at_least=False)
FIXED: dict[str, Value] = {
    "freeze_depth": 0,
    "head_lr_scale": 1.0,
    "batch_size": 32,
    "augment": "light",
    "label_smoothing": 0.0,
    "mixup": 0.0,
    "ema_decay": 0.0,
    "warmup_epochs": 0.5,
    "precision": "fp32",
}


def main() -> None:
    options = _parse()
    if options.plain:
        print(json.dumps(plain_seconds(options.plain, options.trials)))
        return
    trials = QUICK_TRIALS if options.quick else options.trials
    plain_trials = QUICK_PLAIN_TRIALS if options.quick else PLAIN_TRIALS
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ[CACHE] = str(place / "cache")
        pictures = write_sample(SAMPLE, place / SAMPLE, PER_CLASS)
        findings = compare(pictures, trials, plain_trials, options.quick)
    conclude(findings, options)


def _parse() -> argparse.Namespace:
    made = parser(__doc__, "orchestration")
    made.add_argument("--trials", type=int, default=TRIALS)
    made.add_argument("--plain", type=Path, help=argparse.SUPPRESS)  # a plain process of this program
    return made.parse_args()


@dataclass(frozen=True)
class Rest:
    """Seconds a trial in which a place for trials did not train, by reason."""

    before_first_epoch: float
    between_epochs: float
    after_last_epoch: float
    without_trial: float
    driver_processor: float


def compare(pictures: Path, trials: int, plain_trials: int, quick: bool) -> list[Finding]:
    """The study's wall time against both yardsticks, and what the rest of it was."""
    inside: list[float] = []
    rests: list[Rest] = []
    study = make_study(str(pictures), trials)
    with joined(None) as resources:
        slots = divide(resources, 1, trials).count

        def searched() -> float:
            began = time.process_time()
            with tempfile.TemporaryDirectory() as out:
                tables = run_quietly(study, Path(out) / "study")
            rows = search_trials(tables)
            inside.append(loop_seconds(rows) / slots)
            rests.append(rest_of(rows, epoch_rows(tables.epochs), slots, time.process_time() - began))
            return wall_seconds(rows)

        taken = take_turns(lambda: side_by_side(pictures, plain_trials, slots) * trials / slots, searched, quick)
    each = f"{statistics.mean(inside) * slots / trials:.2f} s a trial by the rows"
    check = f"{trials} trials, {slots} at a time; {each}, {statistics.mean(taken.a) * slots / trials:.2f} s alone"
    ratios = tuple(wall / loop for wall, loop in zip(taken.b, inside, strict=True))
    make = partial(Finding, measure="S7", figure="wall / loop", goal=GOAL, b=taken.b, check=check)
    return [
        make(case="loop by the rows", values=ratios, a=tuple(inside)),
        make(case="loop in plain processes", values=taken.b_over_a, a=taken.a),
        *rest_findings(rests),
    ]


def rest_of(trials: list[TrialRow], epochs: list[EpochRow], slots: int, driver_seconds: float) -> Rest:
    """Where the places' time went beside the epochs; trials that have not ended are none of it."""
    own: dict[str, list[EpochRow]] = {row.trial_id: [] for row in trials}
    for row in epochs:
        if row.trial_id in own:
            own[row.trial_id].append(row)
    before = between = after = lived = 0.0
    for trial in trials:
        if trial.ended_at is None:
            continue
        rows = sorted(own[trial.trial_id], key=lambda row: row.epoch)
        before += (rows[0].started_at - trial.started_at).total_seconds()
        between += sum((b.started_at - a.ended_at).total_seconds() for a, b in pairwise(rows))
        after += (trial.ended_at - rows[-1].ended_at).total_seconds()
        lived += (trial.ended_at - trial.started_at).total_seconds()
    without = wall_seconds(trials) * slots - lived
    return Rest(*(seconds / len(trials) for seconds in (before, between, after, without, driver_seconds)))


def rest_findings(rests: list[Rest]) -> list[Finding]:
    """One row for each reason."""
    reasons = [item.name.replace("_", " ") for item in fields(Rest)]
    return [
        Finding(measure="S7", case=reason, figure="seconds a trial", values=values)
        for reason, values in zip(reasons, zip(*map(astuple, rests), strict=True), strict=True)
    ]


def make_study(data: str, trials: int) -> Study:
    """Trials that differ in rate and weight decay only, so that all take alike."""
    return Study(
        name="orchestration",
        data=data,
        backbones=("tiny_resnet",),
        weights="none",
        trials=trials,
        epochs=EPOCHS,
        settings=FIXED,
        scheduler="none",
        policy=FLAT,
        confirm_seeds=1,
    )


def wall_seconds(rows: list[TrialRow]) -> float:
    """From the beginning of the first trial to the end of the last one."""
    ends = [row.ended_at for row in rows if row.ended_at is not None]
    return (max(ends) - min(row.started_at for row in rows)).total_seconds()


def loop_seconds(rows: list[TrialRow]) -> float:
    """What all epochs of all trials took together."""
    return sum(row.seconds for row in rows if row.seconds is not None)


def side_by_side(pictures: Path, trials: int, slots: int) -> float:
    """Seconds of a trial's loop, the mean over as many plain processes at once as the study has slots."""
    command = [sys.executable, __file__, "--plain", str(pictures), "--trials", str(trials)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(slots)]
    said = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise RuntimeError("a plain process failed; what it said stands above")
    return statistics.mean(seconds for text in said for seconds in json.loads(text))


def plain_seconds(pictures: Path, trials: int) -> list[float]:
    """Seconds of the epochs of each of some trials, one after another in this process."""
    torch.set_num_threads(1)
    album = open_album(pictures)
    data = open_data(album, build_store(album, PIXELS, Path(os.environ[CACHE])))
    start = Recipe(backbone="tiny_resnet", weights="none", image_size=PIXELS, eval_resize=PIXELS, epochs=EPOCHS)
    recipe = make_recipe(start, FIXED)
    list(fit(recipe, data, World()))  # by then the other processes have imported everything, too
    runs = [list(fit(recipe, data, World())) for _ in range(trials)]
    return [sum((row.ended_at - row.started_at).total_seconds() for row in rows) for rows in runs]


if __name__ == "__main__":
    main()
