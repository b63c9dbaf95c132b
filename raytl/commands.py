"""What each command does, once its words are understood; prints for a person and returns the exit code.

Torch and Ray take ten seconds to import on a slow machine: the commands that need them import them when called.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raytl.errors import MachineError
from raytl.metric import find_metric
from raytl.results.facts import study_metric
from raytl.results.folder import StudyFolder
from raytl.results.leaderboard import leaderboard_lines
from raytl.results.lock import check_free
from raytl.results.progress import Progress
from raytl.results.report import write_report
from raytl.results.tables import compact, load_tables
from raytl.study import Study, study_of_values

if TYPE_CHECKING:
    from raytl.on_ray.driver import Outcome

FREE_BYTES = 5_000_000_000  # chosen: a small study's pictures, checkpoints and models


def search(study: Study, out: Path, dry_run: bool = False, changed_data: bool = False) -> int:
    """Runs a study and prints its leaderboard; exit code 5 where trials have no figure."""
    check_free(StudyFolder(out))
    from raytl.on_ray.driver import run_study

    metric = find_metric(study.metric)
    with Progress(metric) as progress:
        progress.expect(study.backbones, study.trials)
        outcome = run_study(study, out, progress.say, progress, dry_run, changed_data)
    if dry_run:
        return 0
    return _conclude(outcome, study)


def resume(root: Path, changes: Mapping[str, Any], changed_data: bool) -> int:
    """Goes on with the study in a folder, some of its fields replaced."""
    spec = StudyFolder(root).read_study().get("spec")
    study = study_of_values(spec if isinstance(spec, dict) else {})
    return search(replace(study, **changes), root, changed_data=changed_data)


def _conclude(outcome: Outcome, study: Study) -> int:
    folder = outcome.folder
    print("\n".join(["", *leaderboard_lines(load_tables(folder), find_metric(study.metric)), ""]))
    print(f"report:      {folder.report}")
    print(f"models:      {folder.models}")
    print(f"TensorBoard: tensorboard --logdir {folder.tensorboard}")
    if outcome.exit_code:
        print(
            f"raytl: {outcome.without_figure} of {outcome.trials} trials failed or diverged (see {folder.report}); "
            f"all that was recorded is kept in {folder.root}; type `raytl list {folder.root}` to see it",
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
    metric = study_metric(folder.read_study())
    print("\n".join(leaderboard_lines(load_tables(folder), metric)))
    return 0


def predict(model: Path, images: Sequence[Path]) -> int:
    """Prints each picture's likeliest class and its probability; exit code 4 where a picture could not be read."""
    from raytl.use.export import load_model
    from raytl.use.predict import pictures_in
    from raytl.use.predict import predict as predict_pictures

    loaded, paths = load_model(model), pictures_in(images)
    unreadable = 0
    for prediction in predict_pictures(loaded, paths):
        if prediction.predicted is None:
            unreadable += 1
            print(f"{prediction.path}\t-\t{prediction.problem}")
        else:
            sure = prediction.probabilities[prediction.predicted]
            print(f"{prediction.path}\t{prediction.predicted}\t{sure:.4f}")
    if unreadable:
        print(
            f"raytl: {unreadable} of {len(paths)} pictures could not be read; the others are classified above; "
            "mend or remove these files, then type the command again",
            file=sys.stderr,
        )
    return 4 if unreadable else 0


def check_data(data: str) -> int:
    """Opens every picture and prints what was found; exit code 4 where a study would refuse the data."""
    from raytl.data.album import MOST_BAD, describe, open_album
    from raytl.on_ray.plan import cache_folder, locate

    album = open_album(locate(data, cache_folder()), allow_bad=True)
    print("\n".join(describe(album)))
    files = Counter(row.label for row in album.pictures)
    bad = Counter(row.label for row in album.pictures if row.status == "bad")
    refused = [label for label in sorted(bad) if bad[label] > MOST_BAD * files[label]]
    if refused:
        print(
            f"raytl: more than {MOST_BAD:.0%} of the files of {', '.join(refused)} cannot be used; "
            "no file was changed; mend or remove those listed above, then type the command again",
            file=sys.stderr,
        )
    return 4 if refused else 0


def write_data_sample(name: str, folder: Path) -> int:
    """Writes an embedded data set as a folder of classes."""
    from raytl.data.samples import write_sample

    print(write_sample(name, folder))
    return 0


def doctor() -> int:
    """Prints what the machine has; exit code 3 where something that every study needs is missing."""
    import torch

    from raytl.on_ray.plan import cache_folder

    free = shutil.disk_usage(Path.cwd()).free
    shared = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").exists() else 0
    print(
        f"python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("torch", "ray", "timm"))
    )
    print(f"processors: {len(os.sched_getaffinity(0))}; GPUs: {torch.cuda.device_count()}")
    print(
        f"free disk: {free / 1e9:.1f} GB here; shared memory: {shared / 1e9:.1f} GB; "
        f"pictures are kept in {cache_folder()}"
    )
    if free < FREE_BYTES:
        raise MachineError(
            f"free disk is {free / 1e9:.1f} GB; a study needs about {FREE_BYTES / 1e9:.0f} GB: make room"
        )
    return 0
