"""Real searches under a real Ray, stopped and killed; `make test-faults` runs them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raytl.results.folder import TEMPORARY, StudyFolder
from raytl.results.schemas import TrialRow
from raytl.results.tables import load_tables, trial_rows
from tests.processes import Command, recorded

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.faults]

TRIALS, EPOCHS = 8, 27
SEARCH = ["--backbones", "plain_cnn", "--weights", "none", "--image-size", "32"]
SEARCH += ["--policy", "flat", "--scheduler", "none"]
COUNTS = f"--trials {TRIALS} --epochs {EPOCHS} --confirm-seeds 1 --set precision=fp32".split()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of sixty noisy squares."""
    root, generator = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for label, color in (("red", (200, 60, 60)), ("green", (60, 200, 60)), ("blue", (60, 60, 200))):
        (root / label).mkdir()
        for index in range(60):
            pixels = 0.4 * np.array(color) + 0.6 * generator.integers(0, 256, (32, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / label / f"{index:02d}.png")
    return root


def search(pictures: Path, root: Path, *words: str) -> tuple[Command, StudyFolder]:
    """A search that has recorded its first epochs."""
    folder = StudyFolder(root / "study")
    options = ["--out", str(folder.root), *SEARCH, *COUNTS, *words]
    command = Command.start(root / "search.log", "search", str(pictures), *options)
    command.wait_for(lambda: len(recorded(folder)) >= 5)
    return command, folder


def resumed(folder: StudyFolder, root: Path) -> tuple[str, list[TrialRow]]:
    """Goes on to the end; what was said, and the trials of the search."""
    command = Command.start(root / "resume.log", "resume", str(folder.root))
    assert command.end() == 0, command.said
    return command.said, [row for row in trial_rows(load_tables(folder).trials) if row.stage == "search"]


def temporary_files(folder: StudyFolder) -> list[Path]:
    return [path for path in folder.root.rglob("*") if path.name.startswith(TEMPORARY)]


def test_f3_f19_a_killed_search_goes_on_and_leaves_nothing_behind(pictures: Path, tmp_path: Path) -> None:
    command, folder = search(pictures, tmp_path)
    assert any("raylet" in title for title in command.processes().values())
    command.kill()
    assert command.left() == {}
    before = recorded(folder)
    said, trials = resumed(folder, tmp_path)
    assert "going on: " in said and " trials kept, " in said and "continued from their checkpoints" in said
    after = recorded(folder)
    assert {key: after.get(key) for key in before} == before
    assert len(trials) == TRIALS == len({row.recipe for row in trials})
    assert {(row.status, row.epochs_run) for row in trials} == {("completed", EPOCHS)}
    assert temporary_files(folder) == [] and not (folder.root / ".ray").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_f5_one_signal_ends_a_search_in_order(number: signal.Signals, pictures: Path, tmp_path: Path) -> None:
    command, folder = search(pictures, tmp_path)
    begin = time.monotonic()
    command.process.send_signal(number)
    assert command.end(10) == 130, command.said
    assert time.monotonic() - begin <= 10
    assert command.said.splitlines()[-1] == (
        f"raytl: interrupted; all that was recorded is kept in {folder.root}; type `raytl resume {folder.root}` to go "
        "on from there"
    )
    assert "Traceback" not in command.said
    assert command.left() == {}
    assert recorded(folder) and temporary_files(folder) == []


def test_f6_f18_a_second_search_is_refused_and_a_second_signal_ends_the_first_at_once(
    pictures: Path, tmp_path: Path
) -> None:
    command, folder = search(pictures, tmp_path)
    begin = time.monotonic()
    second = Command.start(tmp_path / "second.log", "resume", str(folder.root))
    assert second.end(10) == 6 and f"process {command.process.pid} on " in second.said
    assert time.monotonic() - begin < 5, "refused before anything heavy is imported"
    command.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    begin = time.monotonic()
    command.process.send_signal(signal.SIGINT)
    assert command.end(5) == 130 and time.monotonic() - begin < 2
    assert f"raytl resume {folder.root}" in command.said.splitlines()[-1]
    assert command.left() == {}
    before = recorded(folder)
    _, trials = resumed(folder, tmp_path)
    after = recorded(folder)
    assert {key: after.get(key) for key in before} == before and len(trials) == TRIALS


def test_f2_a_trial_whose_actor_is_killed_goes_on(pictures: Path, tmp_path: Path) -> None:
    command, folder = search(pictures, tmp_path)
    title_of_trials = "ray::ResourceTrainable"  # Tune's name for what it runs
    actors = [pid for pid, title in command.processes().items() if title.startswith(title_of_trials)]
    os.kill(actors[0], signal.SIGKILL)
    assert command.end() == 0, command.said
    trials = [row for row in trial_rows(load_tables(folder).trials) if row.stage == "search"]
    assert {(row.status, row.epochs_run) for row in trials} == {("completed", EPOCHS)} and len(trials) == TRIALS
    assert sorted(row.attempts for row in trials) == [1] * (TRIALS - 1) + [2]
    epochs = load_tables(folder).epochs.to_pylist()
    assert len({(row["trial_id"], row["epoch"]) for row in epochs}) == len(epochs)


def test_f1_a_trial_whose_ddp_worker_is_killed_goes_on(pictures: Path, tmp_path: Path) -> None:
    command, folder = search(pictures, tmp_path, "--workers-per-trial", "2", "--trials", "1")
    workers = [pid for pid, title in command.processes().items() if "RayTrainWorker" in title]
    assert len(workers) >= 2
    os.kill(workers[0], signal.SIGKILL)
    assert command.end() == 0, command.said
    (trial,) = (row for row in trial_rows(load_tables(folder).trials) if row.stage == "search")
    assert (trial.status, trial.epochs_run, trial.attempts) == ("completed", EPOCHS, 2)
