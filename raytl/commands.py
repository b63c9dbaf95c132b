"""What each command does, once its words are understood; prints for a person and returns the exit code."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from raytl.data.album import describe, open_album
from raytl.data.samples import write_sample
from raytl.errors import MachineError
from raytl.metric import find_metric
from raytl.on_ray.driver import Outcome, run_study
from raytl.on_ray.plan import cache_folder, locate
from raytl.results.folder import StudyFolder
from raytl.results.leaderboard import leaderboard_lines
from raytl.results.progress import Progress
from raytl.results.report import write_report
from raytl.results.tables import compact, load_tables
from raytl.study import Study
from raytl.use.export import load_model
from raytl.use.predict import pictures_in
from raytl.use.predict import predict as predict_pictures

FREE_BYTES = 5_000_000_000  # chosen: a small study's pictures, checkpoints and models


def search(study: Study, out: Path, dry_run: bool) -> int:
    """Runs a study and prints its leaderboard."""
    metric = find_metric(study.metric)
    with Progress(metric) as progress:
        progress.expect(study.backbones, study.trials)
        outcome = run_study(study, out, progress.say, progress, dry_run)
    if dry_run:
        return 0
    return _conclude(outcome, study)


def _conclude(outcome: Outcome, study: Study) -> int:
    folder = outcome.folder
    print("\n".join(["", *leaderboard_lines(load_tables(folder), find_metric(study.metric)), ""]))
    print(f"report:      {folder.report}")
    print(f"models:      {folder.models}")
    print(f"TensorBoard: tensorboard --logdir {folder.tensorboard}")
    if outcome.exit_code:
        print(
            f"raytl: {outcome.without_figure} of {outcome.trials} trials failed or diverged (reasons in {folder.tables}/"
            f"trials.parquet); all else is kept in {folder.root}; type `raytl list {folder.root}` to see it",
            file=sys.stderr,
        )
    return outcome.exit_code


def report(root: Path) -> int:
    """Writes tables and report anew."""
    folder = StudyFolder(root)
    folder.read_study()
    if folder.ledger.is_dir():
        compact(folder)
    print(write_report(folder, load_tables(folder)))
    return 0


def show(root: Path) -> int:
    """Prints a study's leaderboard."""
    folder = StudyFolder(root)
    spec = folder.read_study().get("spec")
    name = spec.get("metric", "val_accuracy") if isinstance(spec, dict) else "val_accuracy"
    print("\n".join(leaderboard_lines(load_tables(folder), find_metric(str(name)))))
    return 0


def predict(model: Path, images: Sequence[Path]) -> int:
    """Prints each picture's likeliest class and its probability; exit code 4 where a picture could not be read."""
    loaded = load_model(model)
    unreadable = 0
    for prediction in predict_pictures(loaded, pictures_in(images)):
        if prediction.predicted is None:
            unreadable += 1
            print(f"{prediction.path}\t-\t{prediction.problem}")
        else:
            sure = prediction.probabilities[prediction.predicted]
            print(f"{prediction.path}\t{prediction.predicted}\t{sure:.4f}")
    if unreadable:
        print(f"raytl: {unreadable} pictures could not be read; all others were classified", file=sys.stderr)
    return 4 if unreadable else 0


def check_data(data: str) -> int:
    """Opens every picture and prints what was found."""
    for line in describe(open_album(locate(data, cache_folder()))):
        print(line)
    return 0


def write_data_sample(name: str, folder: Path) -> int:
    """Writes an embedded data set as a folder of classes."""
    print(write_sample(name, folder))
    return 0


def doctor() -> int:
    """Prints what the machine has; exit code 3 where something that every study needs is missing."""
    import torch

    free = shutil.disk_usage(Path.cwd()).free
    shared = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").exists() else 0
    print(
        f"python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("torch", "ray", "timm"))
    )
    print(f"processors: {len(os.sched_getaffinity(0))}; GPUs: {torch.cuda.device_count()}")
    print(
        f"free disk: {free / 1e9:.1f} GB here; shared memory: {shared / 1e9:.1f} GB; pictures are kept in {cache_folder()}"
    )
    if free < FREE_BYTES:
        raise MachineError(
            f"free disk is {free / 1e9:.1f} GB; a study needs about {FREE_BYTES / 1e9:.0f} GB: make room"
        )
    return 0
