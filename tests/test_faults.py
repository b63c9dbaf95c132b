"""Real searches under a real Ray, stopped and killed; `make test-faults` runs them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ray._private.node import Node
from ray._raylet import Config  # type: ignore[attr-defined]  # a compiled module
from ray.cluster_utils import Cluster

from raytl.on_ray.token import token_file
from raytl.results.folder import TEMPORARY, StudyFolder
from raytl.results.ledger import read
from raytl.results.schemas import TrialRow
from raytl.results.tables import epoch_rows, load_tables, trial_rows
from tests.processes import Command, children, recorded

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.faults]

TRIALS, EPOCHS = 5, 27
IN_AN_EPOCH = "ray::ResourceTrainable.train"  # what Ray calls the process of a trial that is training
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


def resumed(folder: StudyFolder, root: Path, *words: str) -> tuple[str, list[TrialRow]]:
    """Goes on to the end; what was said, and the trials of the search."""
    command = Command.start(root / "resume.log", "resume", str(folder.root), *words)
    assert command.end() == 0, command.said
    return command.said, [row for row in trial_rows(load_tables(folder).trials) if row.stage == "search"]


def training(processes: dict[int, str]) -> list[int]:
    """Those that are in the middle of an epoch, so that the trial loses something when they die."""
    return [pid for pid, title in processes.items() if title.startswith(IN_AN_EPOCH)]


def node_trains(node: Node) -> bool:
    """Whether a trial is in the middle of an epoch on this node; its processes are children of its raylet."""
    return bool(training(children(node.all_processes["raylet"][0].process.pid)))


def temporary_files(folder: StudyFolder) -> list[Path]:
    return [path for path in folder.root.rglob("*") if path.name.startswith(TEMPORARY)]


def test_f3_f19_a_killed_search_goes_on_and_leaves_nothing_behind(pictures: Path, tmp_path: Path) -> None:
    command, folder = search(pictures, tmp_path)
    [raylet] = [pid for pid, title in command.processes().items() if "/raylet/raylet " in title]
    assert b"RAY_AUTH_MODE=token" in Path(f"/proc/{raylet}/environ").read_bytes().split(b"\0")
    assert token_file().stat().st_mode & 0o777 == 0o600
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
    os.kill(command.wait_for(lambda: training(command.processes()))[0], signal.SIGKILL)
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


POWER_OFF = (
    ("commit of epochs synced", 12),
    ("checkpoint tensors renamed", 4),
    ("checkpoint commit written", 4),
    ("model drafted", 1),
    ("table of trials written", 1),
)


def test_f4_a_search_is_gone_on_from_whenever_the_power_goes_off(pictures: Path, tmp_path: Path) -> None:
    """One search, in which every process of the machine dies five times, each time at another step."""
    folder = StudyFolder(tmp_path / "study")
    words = ["search", str(pictures), "--out", str(folder.root), *SEARCH, *COUNTS, "--trials", "2"]
    before: dict[tuple[str, int], float] = {}
    for number, (step, time_) in enumerate(POWER_OFF):
        environment = {"PYTHONPATH": str(Path(__file__).parent / "killing"), "RAYTL_TEST_POWER_OFF": f"{step}:{time_}"}
        command = Command.start(tmp_path / f"{number}.log", *words, environment=environment)
        assert command.end() == -signal.SIGKILL, f"{step}: {command.said}"
        assert command.left() == {}
        after = recorded(folder)
        assert {key: after.get(key) for key in before} == before
        before, words = after, ["resume", str(folder.root)]
    _, trials = resumed(folder, tmp_path)
    after = recorded(folder)
    assert {key: after.get(key) for key in before} == before
    assert {(row.status, row.epochs_run) for row in trials} == {("completed", EPOCHS)} and len(trials) == 2
    assert temporary_files(folder) == []


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    """A head that trains nothing and two nodes of one processor each, all of them on this machine."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    Config.initialize("")  # this process has read these variables when it imported Ray
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()
    monkeypatch.undo()
    Config.initialize("")


def test_f7_trials_of_a_node_that_is_killed_go_on_elsewhere(pictures: Path, tmp_path: Path, cluster: Cluster) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    command, folder = search(pictures, tmp_path, "--address", cluster.address)
    busy = command.wait_for(lambda: [node for node in nodes if node_trains(node)])  # the other one may yet be starting
    cluster.remove_node(busy[0], allow_graceful=False)
    assert command.end() == 0, command.said
    trials = [row for row in trial_rows(load_tables(folder).trials) if row.stage == "search"]
    assert {(row.status, row.epochs_run) for row in trials} == {("completed", EPOCHS)} and len(trials) == TRIALS
    assert max(row.attempts for row in trials) == 2


def test_f8_a_lost_head_ends_the_search_and_a_fresh_cluster_resumes_it(
    pictures: Path, tmp_path: Path, cluster: Cluster
) -> None:
    cluster.add_node(num_cpus=2)
    command, folder = search(pictures, tmp_path, "--address", cluster.address)
    begin = time.monotonic()
    assert cluster.head_node is not None
    cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
    assert command.end(60) == 130, command.said
    assert time.monotonic() - begin < 60
    assert "the head of the Ray cluster at " in command.said
    assert f"type `raytl resume {folder.root}`" in command.said.splitlines()[-1]
    before = recorded(folder)
    cluster.shutdown()
    _, trials = resumed(folder, tmp_path, "--address", "local")
    after = recorded(folder)
    assert {key: after.get(key) for key in before} == before and len(trials) == TRIALS


def test_f17_a_worker_that_freezes_is_noticed_and_its_trial_goes_on(pictures: Path, tmp_path: Path) -> None:
    words = ["--workers-per-trial", "2", "--trials", "1", "--peer-timeout", "20s"]
    command, folder = search(pictures, tmp_path, *words)
    workers = [pid for pid, title in command.processes().items() if "RayTrainWorker" in title]
    os.kill(workers[0], signal.SIGSTOP)
    command.wait_for(lambda: any(row.attempt == 2 for row in epoch_rows(read(folder.ledger, "epochs"))))
    command.process.send_signal(signal.SIGTERM)
    assert command.end(10) == 130
    epochs = epoch_rows(load_tables(folder).epochs)
    assert [row.epoch for row in epochs] == list(range(1, len(epochs) + 1)), "of one trial, none missing, none twice"
    last = max(row.ended_at for row in epochs if row.attempt == 1)
    first = min(row.started_at for row in epochs if row.attempt == 2)
    assert (first - last).total_seconds() < 20 + 120, "the time-out, and a new group; not Ray's half hour"
    assert command.left() == {}


def test_the_cluster_that_ray_address_names_is_joined_and_its_types_have_prices(
    pictures: Path, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_NODE_TYPE_NAME", "gpu_node")
    cluster.add_node(num_cpus=2)
    monkeypatch.delenv("RAY_NODE_TYPE_NAME")
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    words = ["search", str(pictures), "--out", str(tmp_path / "study"), *SEARCH, *COUNTS, "--dry-run"]
    command = Command.start(tmp_path / "search.log", *words, "--price", "gpu_node=4")
    assert command.end() == 0, command.said
    assert f"Ray: the cluster at {cluster.address}, as RAY_ADDRESS says" in command.said
    assert " worker-hours (" in command.said and " at 2 each" in command.said, "half of a machine for each worker"
