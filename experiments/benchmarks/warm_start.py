"""S8: how long the second and later trials take to start, in the documented Tune + Train pattern and in raytl.

Command:   python experiments/benchmarks/warm_start.py [--quick] [--out FILE]
Hardware:  two processor cores, no network
Minutes:   5
Expected:  A/B at least 100 on processors; on a GPU at least 20, and raytl's start under 100 ms

Both arms run trials one at a time, without stopping any, on 100 drawn flowers with the carried tiny_resnet, two epochs
each. A start is the time from the end of the last epoch of one trial to the beginning of the first epoch of the next,
by the workers' own clocks: reporting, the search's decisions, processes, imports, pictures, model and weights. The
first trial does not count. Arm A is `documented.py` (three trials), arm B a study of raytl under the policy `flat`
(nine trials). A turn's figure is the median of its starts.
"""

from __future__ import annotations

import itertools
import logging
import os
import statistics
import tempfile
from pathlib import Path

import ray
import torch
from arms import CACHE, run_documented, run_quietly, training_times
from measure import Finding, Goal, Taken, conclude, parser, take_turns
from shown import SAMPLE, split_folders

from raytl.data.album import open_album
from raytl.data.samples import write_sample
from raytl.study import FLAT, Study

PER_CLASS, EPOCHS = 20, 2
TRIALS_A, TRIALS_B = 3, 9


def main() -> None:
    options = parser(__doc__, "warm_start").parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ[CACHE] = str(place / "cache")
        folder = split_folders(open_album(write_sample(SAMPLE, place / SAMPLE, PER_CLASS)), place / "split")
        turns = (place / f"study{number}" for number in range(1000))
        taken = take_turns(lambda: documented(folder), lambda: ours(folder, next(turns)), options.quick)
    conclude(findings(taken), options)


def findings(taken: Taken) -> list[Finding]:
    """The ratio and, where there is a GPU, whose context both arms must have, raytl's own seconds."""
    gpu = torch.cuda.is_available()
    case = "start of the second and later trials"
    goal = Goal(20) if gpu else Goal(100)
    ratio = Finding(measure="S8", case=case, figure="A/B", values=taken.a_over_b, goal=goal, a=taken.a, b=taken.b)
    seconds = Finding(measure="S8", case=case, figure="B in seconds", values=taken.b, goal=Goal(0.1, at_least=False))
    return [ratio, seconds] if gpu else [ratio]


def documented(folder: Path) -> float:
    """Arm A: median seconds between trials."""
    said = run_documented(folder, ["--trials", str(TRIALS_A), "--epochs", str(EPOCHS)])
    return median_gap(said["times"])


def ours(folder: Path, out: Path) -> float:
    """Arm B: median seconds between trials of a study with room for one."""
    study = Study(
        name="warm-start",
        data=str(folder),
        backbones=("tiny_resnet",),
        trials=TRIALS_B,
        epochs=EPOCHS,
        settings={"precision": "fp32"},
        scheduler="none",
        policy=FLAT,
        confirm_seeds=1,
    )
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        return median_gap(training_times(run_quietly(study, out)))
    finally:
        ray.shutdown()


def median_gap(times: list[tuple[float, float]]) -> float:
    """Median seconds from the end of one training to the beginning of the next; `times` are (began, ended)."""
    ordered = sorted(times)
    return statistics.median(after[0] - before[1] for before, after in itertools.pairwise(ordered))


if __name__ == "__main__":
    main()
