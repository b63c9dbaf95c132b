"""F4: a search that dies, or whose disk fails, at any step of any write is gone on from, and ends as if nothing was.

Every step that an undisturbed search comes to is in `STEPS` (a test), and at each of them the process is killed once.
At each kind of write the disk is full once, and fails once. What the resumed search ends with is compared with what
the undisturbed one did: one trial at a time, so that both see the same figures in the same order.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raytl.results.folder import TEMPORARY, StudyFolder
from raytl.results.ledger import read
from raytl.results.schemas import TABLES
from raytl.results.tables import Tables, load_tables
from tests.forked import BROKEN, FULL, KILL, Ended, Fault, Forks

pytestmark = pytest.mark.slow

CANARY = "canary-5b1f0e77a2"
TRIALS, EPOCHS = 5, 5
SEARCH = f"--backbones plain_cnn --weights none --image-size 16 --policy flat --trials {TRIALS} --epochs {EPOCHS} "
SEARCH += "--confirm-seeds 1 --set precision=fp32 --set batch_size=64 --cache-gb 0"
MOMENTS = ("written", "synced", "renamed", "in its folder")
WRITES = (
    "study",
    *(f"commit of {table}" for table in ("trials", "epochs", "data", "predictions", "confirmed")),
    *(f"checkpoint {part}" for part in ("tensors", "state", "best", "before", "commit")),
    *(f"table of {table}" for table in ("trials", "epochs", "data", "predictions", "confirmed")),
    "heat maps",
    "report",
)
SINGLE = (
    "pictures drafted",
    "pictures in their place",
    "checkpoint of an earlier epoch removed",
    "event written",
    "model drafted",
    "model in its place",
)
STEPS = (*(f"{write} {moment}" for write in WRITES for moment in MOMENTS), *SINGLE)
FAULTS = (
    *(Fault(KILL, f"{write} {moment}") for write in WRITES for moment in ("written", "renamed")),
    *(Fault(KILL, step) for step in SINGLE),
    *(Fault(FULL, f"{write} written") for write in WRITES),
    *(Fault(BROKEN, f"{write} synced") for write in WRITES),
    *(Fault(BROKEN, step) for step in SINGLE),
)
LONGER = tuple(Fault(KILL, f"{write} {moment}") for write in WRITES for moment in ("synced", "in its folder"))


Rows = dict[tuple[str, int], tuple[float, float]]  # losses by trial and epoch


@pytest.fixture(scope="module")
def forks() -> Forks:
    return Forks()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of forty noisy squares."""
    root, generator = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for label, color in (("red", (150, 110, 110)), ("green", (110, 150, 110)), ("blue", (110, 110, 150))):
        (root / label).mkdir()
        for index in range(40):
            pixels = 0.2 * np.array(color) + 0.8 * generator.integers(0, 256, (16, 16, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / label / f"{index:02d}.png")
    return root


@pytest.fixture(scope="module")
def undisturbed(forks: Forks, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, StudyFolder]:
    """A search that nothing happened to."""
    root = tmp_path_factory.mktemp("undisturbed")
    ended = search(forks, pictures, root)
    assert ended.code == 0, ended.said
    return ended, StudyFolder(root / "study")


def search(forks: Forks, pictures: Path, root: Path, fault: Fault | None = None) -> Ended:
    words = ["search", str(pictures), "--out", str(root / "study"), *SEARCH.split()]
    return forks.run(root / "search.log", words, environment(root), fault)


def environment(root: Path) -> dict[str, str]:
    """Pictures are decoded in every search; no message may hold the canary."""
    return {"RAYTL_CACHE": str(root / "cache"), "CANARY_TOKEN": CANARY}


def test_every_step_of_a_search_is_among_those_tried(undisturbed: tuple[Ended, StudyFolder]) -> None:
    ended, folder = undisturbed
    assert set(ended.steps) == set(STEPS)
    assert len(FAULTS) >= 60 and len(set(FAULTS)) == len(FAULTS)
    trials = load_tables(folder).trials.to_pylist()
    assert {row["status"] for row in trials} == {"completed", "stopped"}, "ASHA has something to decide"


@dataclass(frozen=True)
class Struck:
    """A search that something happened to, what it had committed by then, and how it went on."""

    folder: StudyFolder
    ended: Ended
    began: bool
    before: Rows
    resumed: Ended


@pytest.fixture(scope="module")
def struck(
    request: pytest.FixtureRequest,
    undisturbed: tuple[Ended, StudyFolder],
    forks: Forks,
    pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[Fault, Future[Struck]]]:
    """Every fault that is asked for, two at a time."""
    calls = (getattr(item, "callspec", None) for item in request.session.items)
    wanted = [fault for call in calls if call and isinstance(fault := call.params.get("fault"), Fault)]
    counts = Counter(undisturbed[0].steps)
    with ThreadPoolExecutor(2) as pool:
        yield {
            fault: pool.submit(strike, fault, counts[fault.step], forks, pictures, tmp_path_factory.mktemp("struck"))
            for fault in wanted
        }


def strike(fault: Fault, times: int, forks: Forks, pictures: Path, root: Path) -> Struck:
    """The fault happens in the middle of the times that its step is come to."""
    ended = search(forks, pictures, root, Fault(fault.kind, fault.step, 1 + times // 2))
    folder = StudyFolder(root / "study")
    began, before = folder.study_json.exists(), committed(folder)
    resumed = (
        forks.run(root / "resume.log", ["resume", str(folder.root)], environment(root))
        if began
        else search(forks, pictures, root)
    )
    return Struck(folder, ended, began, before, resumed)


@pytest.mark.parametrize(
    "fault",
    [*FAULTS, *(pytest.param(each, marks=pytest.mark.faults) for each in LONGER)],
    ids=lambda fault: f"{fault.kind}: {fault.step}",
)
def test_f4_f9_a_search_is_gone_on_from_after_any_step(
    fault: Fault, undisturbed: tuple[Ended, StudyFolder], struck: dict[Fault, Future[Struck]]
) -> None:
    seen, reference = struck[fault].result(), load_tables(undisturbed[1])
    check_ended(seen, fault)
    assert seen.resumed.code == 0, seen.resumed.said
    after = committed(seen.folder)
    assert {key: after.get(key) for key in seen.before} == seen.before, "a committed row was lost or changed"
    tables = load_tables(seen.folder)
    assert outcome(tables) == outcome(reference)
    assert figures(tables) == figures(reference)
    assert [path for path in seen.folder.root.rglob("*") if path.name.startswith(TEMPORARY)] == []
    assert trained_again(seen.folder) <= 1


def check_ended(seen: Struck, fault: Fault) -> None:
    """Killed without a word, or ended with exit code 6, a reason, and what to type."""
    ended = seen.ended
    if fault.kind == KILL:
        assert ended.code == -9, ended.said
        return
    assert ended.code == 6 and "Traceback" not in ended.said, ended.said
    last = ended.said.splitlines()[-1]
    assert (f"`raytl resume {seen.folder.root}`" if seen.began else "the command again") in last
    assert ("No space left on device" if fault.kind == FULL else "Input/output error") in ended.said


def committed(folder: StudyFolder) -> Rows:
    """Every epoch that the ledger holds, with its losses."""
    if not folder.ledger.is_dir():
        return {}
    rows = read(folder.ledger, "epochs").to_pylist()
    return {
        (row["trial_id"], row["epoch"]): (row["train_loss"], row["val_loss"])
        for row in sorted(rows, key=lambda row: -int(row["commit_number"]))
    }


def trained_again(folder: StudyFolder) -> int:
    """How many epochs were recorded twice."""
    return read(folder.ledger, "epochs").num_rows - load_tables(folder).epochs.num_rows


def outcome(tables: Tables) -> list[tuple[object, ...]]:
    """How every trial ended, by name: the same recipes, stopped after the same epochs."""
    columns = ("trial_id", "status", "epochs_run", "best_epoch", "val_accuracy", "val_loss")
    return sorted(tuple(row[name] for name in columns) for row in tables.trials.to_pylist())


def figures(tables: Tables) -> list[tuple[object, ...]]:
    """What the final models got right, and where the chosen one lies."""
    columns = ("trial_id", "test_accuracy", "test_loss", "correct", "model_path")
    return sorted(tuple(row[name] for name in columns) for row in tables.confirmed.to_pylist())


def test_a_study_whose_machine_is_lost_is_gone_on_with_from_its_copy(
    undisturbed: tuple[Ended, StudyFolder], forks: Forks, pictures: Path, tmp_path: Path
) -> None:
    storage = ["--storage", f"file://{tmp_path}/copy"]
    words = ["search", str(pictures), "--out", str(tmp_path / "lost"), *SEARCH.split(), *storage]
    fault = Fault(BROKEN, "commit of epochs synced", 12)
    assert forks.run(tmp_path / "search.log", words, environment(tmp_path), fault).code == 6
    shutil.rmtree(tmp_path / "lost")
    ended = forks.run(tmp_path / "resume.log", ["resume", str(tmp_path / "new"), *storage], environment(tmp_path))
    assert ended.code == 0 and "files fetched from file://" in ended.said, ended.said
    assert outcome(load_tables(StudyFolder(tmp_path / "new"))) == outcome(load_tables(undisturbed[1]))
    assert outcome(load_tables(StudyFolder(tmp_path / "copy"))) == outcome(load_tables(undisturbed[1]))


def test_no_secret_is_written_anywhere(forks: Forks, pictures: Path, tmp_path: Path) -> None:
    """In the environment, in the options, in the path of the pictures, and in the message of an error."""
    secret = tmp_path / f"{CANARY}-pictures"
    secret.symlink_to(pictures)
    options = ["--out", str(tmp_path / "study"), *SEARCH.split(), "--trials", "1", "--confirm-seeds", "1"]
    options += ["--address", f"ray://me:{CANARY}-too@host:10001"]
    ended = forks.run(tmp_path / "search.log", ["search", str(secret), *options], environment(tmp_path))
    assert ended.code == 0, ended.said
    broken = forks.run(
        tmp_path / "broken.log", ["search", str(tmp_path / f"no-{CANARY}"), *options], environment(tmp_path)
    )
    assert broken.code == 4 and "<redacted>" in broken.said
    written = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(tmp_path / "cache")]
    assert len(written) > 20
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []
    tables = load_tables(StudyFolder(tmp_path / "study"))
    assert CANARY not in str([getattr(tables, name).to_pylist() for name in TABLES])
