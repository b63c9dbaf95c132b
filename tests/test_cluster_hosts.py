"""`ray up cluster.yaml` on hosts of their own, a search on all of them, and one that vanishes.

`make test-cluster` runs it.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raytl.cli import main
from raytl.results.folder import StudyFolder
from raytl.results.ledger import read
from raytl.results.schemas import TrialRow
from raytl.results.tables import confirmed_rows, epoch_rows, latest_trials, load_tables, trial_rows
from tests.hosts import SHARED, Host, missing, network
from tests.launched import Launched, furnish, study_words
from tests.processes import Command, recorded

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]

WORKERS = ("worker1", "worker2", "worker3")
TITLES_OF_TRIALS = ("ray::ResourceTrainable", "ray::WarmTrial")  # what Ray calls a trial's actor in and between epochs
ALIKE = shlex.split("--policy flat --scheduler none --confirm-seeds 1 --set precision=fp32")
GRID = shlex.split("drawn-flowers:20 --backbones tiny_resnet --searcher grid --trials 8 --epochs 3") + ALIKE
SETTINGS = "augment=light label_smoothing=0 mixup=0 ema_decay=0 weight_decay=0.01 head_lr_scale=10 batch_size=16"
SETTINGS += " lr=1e-3|1e-2 freeze_depth=0|3"
GRID += [word for setting in SETTINGS.split() for word in ("--set", setting)]
# No batch-norm, no dropout and no mixing: these belong to a worker's share, and nothing else does.
PAIR = shlex.split("drawn-flowers:20 --backbones tiny_vit --searcher grid --trials 2 --epochs 2") + ALIKE
PAIR += [word for setting in SETTINGS.split()[:-1] for word in ("--set", setting)]
SEARCH = shlex.split("--data drawn-flowers:30 --backbones tiny_resnet,tiny_mobilenet --trials 5 --epochs 10")
SEARCH += [*ALIKE, "--set", "freeze_depth=0|1"]
LONG = shlex.split("drawn-flowers:20 --backbones tiny_resnet --trials 60 --epochs 20") + ALIKE


def searched(folder: StudyFolder) -> list[TrialRow]:
    """The trials of the search, as the ledger has them by now."""
    if not folder.ledger.is_dir():
        return []
    return [row for row in trial_rows(latest_trials(read(folder.ledger, "trials"))) if row.stage == "search"]


def epochs_of(folder: StudyFolder) -> dict[tuple[str, int], tuple[float, ...]]:
    """What was measured in each epoch of each trial of the search."""
    names = {row.trial_id for row in searched(folder)}
    rows = [row for row in epoch_rows(load_tables(folder).epochs) if row.trial_id in names]
    return {(row.trial_id, row.epoch): (row.train_loss, row.val_loss, row.val_accuracy, row.lr) for row in rows}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A laptop, a head and three workers of one processor each, after `ray up`."""
    if reason := missing():
        pytest.skip(reason)
    with network(tmp_path_factory.mktemp("hosts"), ["laptop", "head", *WORKERS]) as (laptop, head, *workers):
        for host in (head, *workers):
            furnish(host)
        launched = Launched(laptop, head, workers)
        launched.ray("get-auth-token", "--generate", seconds=60)
        (laptop.home / ".ray" / "auth_token").chmod(0o600)
        launched.up()
        yield launched


def test_every_host_is_as_the_file_says(cluster: Launched) -> None:
    for host in (cluster.head, *cluster.workers):
        asked = (host.home / "sudo.log").read_text()
        assert "apt-get -o DPkg::Lock::Timeout=600 -qq update\n" in asked and "nfs-common" in asked
        assert (host.home / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
        assert (host.home / "raytl" / "raytl" / "data" / "__init__.py").is_file()
        assert not (host.home / "raytl" / "tests").exists() and not (host.home / "raytl" / ".git").exists()
        [raylet] = [number for number, title in host.processes().items() if "/raylet/raylet " in title]
        assert b"RAY_AUTH_MODE=token" in Path(f"/proc/{raylet}/environ").read_bytes().split(b"\0")
        assert {found for found in host.listeners() if found.endswith(":8265")} <= {"127.0.0.1:8265"}
    assert "127.0.0.1:8265" in cluster.head.listeners()


def test_who_has_no_token_is_refused(cluster: Launched) -> None:
    ask = ["ray", "status", "--address", f"{cluster.head.address}:6379"]
    assert "/3.0 CPU" in cluster.ray(*ask[1:], seconds=60)
    log = cluster.laptop.room / "stranger.log"
    stranger = cluster.laptop.start(log, *ask, environment={"RAY_AUTH_MODE": "disabled"})
    assert stranger.wait(60) != 0
    assert "Unauthenticated" in log.read_text() and "CPU" not in log.read_text()


def test_a_grid_gives_the_same_trials_on_one_host_and_on_three(cluster: Launched, tmp_path: Path) -> None:
    words = shlex.join(["python", "experiments/search_all.py", "--data", *GRID, *study_words("grid")])
    said = cluster.execute(f"cd ~/raytl && {words}", seconds=400)
    assert "3 trials at a time" in said
    alone = Command.start(tmp_path / "alone.log", "search", *GRID, "--out", str(tmp_path / "alone"))
    assert alone.end(300) == 0, alone.said
    here, there = epochs_of(StudyFolder(tmp_path / "alone")), epochs_of(cluster.folder("grid"))
    assert here.keys() == there.keys()
    for key, figures in there.items():
        assert figures == pytest.approx(here[key], abs=1e-4), key
    rows = searched(cluster.folder("grid"))
    assert {(1e-3, 0), (1e-3, 3), (1e-2, 0), (1e-2, 3)} <= {(row.recipe.lr, row.freeze_depth) for row in rows}
    assert {row.node for row in rows} == set(WORKERS)


def places_of_workers(cluster: Launched) -> set[str]:
    """The hosts on which workers of a group live."""
    titles = {host.name: host.processes().values() for host in cluster.workers}
    return {name for name, each in titles.items() if any("RayTrainWorker" in title for title in each)}


def test_two_workers_on_two_hosts_give_the_figures_of_one(cluster: Launched, tmp_path: Path) -> None:
    words = ["python", "experiments/search_all.py", "--data", *PAIR, "--workers-per-trial", "2", *study_words("pair")]
    pair = cluster.start("ray", "exec", str(cluster.file), f"cd ~/raytl && {shlex.join(words)}")
    pair.wait_for(lambda: len(places_of_workers(cluster)) == 2)
    alone = Command.start(tmp_path / "alone.log", "search", *PAIR, "--out", str(tmp_path / "alone"))
    assert pair.end(300) == 0, pair.said
    assert alone.end(300) == 0, alone.said
    assert "1 trial at a time, 2 workers each" in pair.said
    here, there = epochs_of(StudyFolder(tmp_path / "alone")), epochs_of(cluster.folder("pair"))
    assert here.keys() == there.keys() and len(there) == 4
    for key, figures in there.items():
        assert figures == pytest.approx(here[key], abs=1e-4), key
    assert {(row.status, row.worker_count) for row in searched(cluster.folder("pair"))} == {("completed", 2)}
    losses = [row.train_loss for row in epoch_rows(load_tables(cluster.folder("pair")).epochs)]
    assert max(losses) - min(losses) > 1e-2, "curves that do not move compare nothing"


@contextmanager
def dashboard(cluster: Launched) -> Iterator[str]:
    """The address at which the laptop reaches the dashboard, through ssh."""
    forward = cluster.start("ray", "dashboard", str(cluster.file))
    try:
        forward.wait_for(lambda: "127.0.0.1:8265" in cluster.laptop.listeners())
        yield "http://localhost:8265"
    finally:
        forward.kill()


def busy(host: Host) -> bool:
    """Whether a trial's actor lives on it."""
    return any(title.startswith(TITLES_OF_TRIALS) for title in host.processes().values())


def test_f7_a_job_outlives_one_of_its_hosts(cluster: Launched) -> None:
    folder, lost = cluster.folder("job"), cluster.workers[-1]
    study = ["python", "experiments/search_all.py", *SEARCH, *study_words("job")]
    with dashboard(cluster) as address:
        job = cluster.start("ray", "job", "submit", "--address", address, "--working-dir", ".", "--", *study)
        job.wait_for(lambda: {row.node for row in searched(folder) if row.status == "completed"} == set(WORKERS))
        job.wait_for(lambda: busy(lost) and any(row.status == "running" for row in searched(folder)))
        before = recorded(folder)
        lost.kill()
        assert job.end(400) == 0, job.said
    after, rows = recorded(folder), searched(folder)
    assert {key: after.get(key) for key in before} == before and len(after) > len(before)
    assert {(row.status, row.epochs_run) for row in rows} == {("completed", 10)}
    assert len(rows) == 10 == len({row.trial_id for row in rows}) == len({row.recipe for row in rows})
    assert max(row.attempts for row in rows) == 2, "the trial that ran on the lost host"
    tables = load_tables(folder)
    assert sorted(after) == sorted((row.trial_id, row.epoch) for row in epoch_rows(tables.epochs)), "none twice"
    assert set(pq.read_table(folder.tables / "trials.parquet")["node"].to_pylist()) == set(WORKERS)
    assert confirmed_rows(tables.confirmed) and (folder.root / "report.html").is_file()


def copy_of(cluster: Launched, name: str) -> StudyFolder:
    """What the hosts keep at `file:///mnt/raytl/copies/<name>`, as this process sees it."""
    return StudyFolder(cluster.head.shared / "copies" / name)


def test_a_search_needs_the_laptop_no_more_and_is_seen_from_afar(
    cluster: Launched, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--out", str(SHARED / "results" / "afar"), "--storage", f"file://{SHARED}/copies/afar"]
    with dashboard(cluster) as address:
        asked = cluster.start("python", "-m", "raytl.cli", "search", *LONG, *words, "--detach", "--address", address)
        assert asked.end(120) == 0, asked.said
    assert "ray job logs --follow" in asked.said
    cluster.laptop.leave()
    deadline = time.monotonic() + 180
    while cluster.laptop.listeners():
        assert time.monotonic() < deadline, cluster.laptop.processes()
        time.sleep(0.1)
    while (
        main(["list", f"file://{copy_of(cluster, 'afar').root}"]) != 0 or "tiny_resnet" not in capsys.readouterr().out
    ):
        assert time.monotonic() < deadline, list(copy_of(cluster, "afar").root.glob("*/*"))
        time.sleep(1)
    assert any(row.status == "running" for row in searched(cluster.folder("afar"))), "it is still seen while it runs"


def test_ray_down_ends_it_everywhere(cluster: Launched) -> None:
    cluster.ray("down", "-y", str(cluster.file), seconds=120)
    left = [host for host in (cluster.head, *cluster.workers) if host.outer.poll() is None]
    deadline = time.monotonic() + 120  # Ray's workers wait a minute for a head that does not come back
    while any("raylet" in title for host in left for title in host.processes().values()):
        assert time.monotonic() < deadline, [host.processes() for host in left]
        time.sleep(0.5)
    assert (cluster.folder("job").tables / "trials.parquet").is_file()


def test_what_a_lost_cluster_has_begun_goes_on_elsewhere_from_its_copy(cluster: Launched, tmp_path: Path) -> None:
    """The search that was running when the head and all workers went down."""
    copy = copy_of(cluster, "afar")
    before = recorded(copy)
    assert before and not (copy.root / "report.html").exists()
    words = ["--storage", f"file://{copy.root}", "--address", "local", "--time", "1s"]
    resumed = Command.start(tmp_path / "resumed.log", "resume", str(tmp_path / "afar"), *words)
    assert resumed.end(300) == 0, resumed.said
    after = recorded(StudyFolder(tmp_path / "afar"))
    assert {key: after.get(key) for key in before} == before
    assert confirmed_rows(load_tables(StudyFolder(tmp_path / "afar")).confirmed)
    assert recorded(copy) == after and (copy.root / "report.html").is_file()
