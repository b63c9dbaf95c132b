"""Kills searches again and again and counts what was lost, beside plain Ray Tune killed the same way.

Command:   python experiments/benchmarks/chaos.py [--kills 40] [--plain-kills 3] [--seed 0] [--out FILE]
           python experiments/benchmarks/chaos.py --soak [--trials 200]
Hardware:  two processor cores, no network
Minutes:   50 for 40 kills
Expected:  no committed row lost, no trial twice, at most one epoch trained again per kill, every decision of ASHA the
           one that an uninterrupted search takes on the same figures; plain Ray loses trials

A study is 24 trials of at most nine epochs of a tiny network on 180 made pictures, ASHA with factor three, and one
final model. Its process is killed (SIGKILL) at a random moment of its start or of its training, then `raytl resume`
goes on, until the study has ended; studies follow each other until there have been enough kills. What lay in the
ledger after a kill must be in the tables at the end, unchanged. The other arm is `plain_ray.py`: the same number of
trials under Ray Tune with Optuna and ASHA, killed once and restored by `Tuner.restore`; a trial that had reported and
is not among the results is lost.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from marks import marked, marking
from measure import ROOT, Finding, Goal, conclude, parser
from PIL import Image
from soak import findings, soak

from raytl.on_ray.schedulers import BackboneSchedulers, make_scheduler
from raytl.results.folder import StudyFolder
from raytl.results.ledger import read
from raytl.results.tables import epoch_rows, first_epochs, load_tables, trial_rows

KILLS, PLAIN_KILLS = 40, 3
SOAK_TRIALS = 200
TRIALS, EPOCHS = 24, 9
# Chosen: one kill in five falls on the start, between its fourth second and the first epoch; the others after that one.
EARLY_SHARE, FIRST_SECONDS, START_SECONDS, TRAINING_SECONDS = 0.2, 4.0, 25.0, 8.0
PATIENCE_SECONDS = 300
LEFT_SECONDS = 30  # within which nothing of a killed search may be left

Rows = dict[tuple[str, int], float]


@dataclass
class Tally:
    """What was seen over all studies."""

    kills: int = 0
    rows_lost: int = 0
    duplicate_trials: int = 0
    trained_again: list[int] = field(default_factory=list)  # epochs recorded twice, by the kill that they followed
    cold_seconds: list[float] = field(default_factory=list)  # from a study's first start to its first epoch
    recovery_seconds: list[float] = field(default_factory=list)  # from a resume to its first new epoch
    agreed: list[bool] = field(default_factory=list)  # by trial
    left_over: int = 0
    codes: list[int] = field(default_factory=list)


def main() -> None:
    options = _parse()
    if options.soak:
        with tempfile.TemporaryDirectory() as name:
            words = search_words(draw_pictures(Path(name) / "pictures"), Path(name) / "study", options.trials)
            seen = soak(start, words, StudyFolder(Path(name) / "study"), random.Random(options.seed))
        conclude(findings(seen, options.trials), options)
        return
    kills = 4 if options.quick else options.kills
    tally, chance = Tally(), random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        pictures = draw_pictures(place / "pictures")
        while tally.kills < kills:
            torment(pictures, place / f"study{len(tally.codes)}", tally, kills, chance)
            print(f"{tally.kills} kills, {len(tally.codes)} studies", flush=True)
        lost = [plain(place / f"plain{index}", chance) for index in range(1 if options.quick else options.plain_kills)]
    conclude(findings_of(tally, lost), options)


def _parse() -> argparse.Namespace:
    made = parser(__doc__, "chaos")
    made.add_argument("--kills", type=int, default=KILLS, help="default: %(default)s")
    made.add_argument("--plain-kills", type=int, default=PLAIN_KILLS, help="of plain Ray (default: %(default)s)")
    made.add_argument("--soak", action="store_true", help="one long search with a fault every twenty seconds instead")
    made.add_argument("--trials", type=int, default=SOAK_TRIALS, help="of --soak (default: %(default)s)")
    made.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    return made.parse_args()


def draw_pictures(folder: Path) -> Path:
    """Three classes of sixty noisy squares of 32 pixels."""
    generator = np.random.default_rng(0)
    for label, color in (("red", (200, 60, 60)), ("green", (60, 200, 60)), ("blue", (60, 60, 200))):
        (folder / label).mkdir(parents=True)
        for index in range(60):
            pixels = 0.4 * np.array(color) + 0.6 * generator.integers(0, 256, (32, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{index:02d}.png")
    return folder


def torment(pictures: Path, out: Path, tally: Tally, most_kills: int, chance: random.Random) -> None:
    """One study to its end, killed as often as it takes that long."""
    folder, seen, twice, killed = StudyFolder(out), Rows(), 0, False
    words = search_words(pictures, out, TRIALS)
    while True:
        process = start(words)
        code, seconds = watched(process, folder, moment(chance) if tally.kills < most_kills else Moment())
        if seconds is not None:
            (tally.recovery_seconds if words[0] == "resume" else tally.cold_seconds).append(seconds)
        left = [] if code is not None else kill(process)
        if killed:
            tally.trained_again.append(doubled(folder) - twice)
        twice, killed = doubled(folder), code is None
        if code is not None:
            break
        if tally.kills >= most_kills:
            raise RuntimeError(f"a study that nobody kills any more did not end in {PATIENCE_SECONDS} s")
        tally.kills += 1
        tally.left_over += len(left)
        for title in left:
            print(f"left after {LEFT_SECONDS} s: {title}", flush=True)
        for key, value in recorded(folder).items():
            tally.rows_lost += seen.setdefault(key, value) != value
        if folder.study_json.exists():
            words = ["resume", str(out)]
    tally.codes.append(code)
    count(folder, seen, tally)


def search_words(pictures: Path, out: Path, trials: int) -> list[str]:
    """A search of a tiny network, all its trials alike to the searcher."""
    words = ["search", str(pictures), "--out", str(out), "--backbones", "plain_cnn", "--weights", "none"]
    words += ["--image-size", "32", "--trials", str(trials), "--epochs", str(EPOCHS), "--confirm-seeds", "1"]
    return [*words, "--policy", "flat"]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """`raytl` with these words, silent, in a session of its own."""
    command = [sys.executable, "-m", "raytl.cli", *words]
    return silent(command)


def silent(command: list[str]) -> subprocess.Popen[bytes]:
    """A process that shows nothing, in a session of its own."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=ROOT, start_new_session=True, env=marking())


@dataclass(frozen=True)
class Moment:
    """When a process is killed: so long after its start, or so long after the first epoch that it recorded."""

    after_start: float = PATIENCE_SECONDS
    after_epoch: float = PATIENCE_SECONDS


def moment(chance: random.Random) -> Moment:
    """A random moment of the start, or of the training."""
    if chance.random() < EARLY_SHARE:
        return Moment(after_start=chance.uniform(FIRST_SECONDS, START_SECONDS))
    return Moment(after_epoch=chance.uniform(0.0, TRAINING_SECONDS))


def watched(process: subprocess.Popen[bytes], folder: StudyFolder, end: Moment) -> tuple[int | None, float | None]:
    """The exit code, or None where the process still runs at that moment; and when it recorded its first epoch."""
    begin, before, first = time.monotonic(), epoch_files(folder), None
    limit = begin + end.after_start
    while time.monotonic() < limit:
        if first is None and epoch_files(folder) - before:
            first = time.monotonic() - begin
            limit = min(limit, time.monotonic() + end.after_epoch)
        if process.poll() is not None:
            return process.returncode, first
        time.sleep(0.05)
    return None, first


def epoch_files(folder: StudyFolder) -> set[str]:
    """The commits of epochs that are there."""
    return {path.name for path in folder.ledger.glob("*-epochs-*.arrow")}


def doubled(folder: StudyFolder) -> int:
    """How many epochs are recorded more than once."""
    return read(folder.ledger, "epochs").num_rows - len(recorded(folder)) if folder.ledger.is_dir() else 0


def ended_within(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit code, or None where the process still runs after so many seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def kill(process: subprocess.Popen[bytes]) -> list[str]:
    """SIGKILL; the titles of processes that it had started and that are still there after half a minute."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + LEFT_SECONDS
    while (left := marked()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return list(left.values())


def recorded(folder: StudyFolder) -> Rows:
    """Every epoch that the ledger holds, with its validation loss."""
    if not folder.ledger.is_dir():
        return {}
    rows = epoch_rows(first_epochs(read(folder.ledger, "epochs")))
    return {(row.trial_id, row.epoch): row.val_loss for row in rows}


def count(folder: StudyFolder, seen: Rows, tally: Tally) -> None:
    """Adds what a study that has ended shows."""
    tables = load_tables(folder)
    kept = {(row.trial_id, row.epoch): row.val_loss for row in epoch_rows(tables.epochs)}
    tally.rows_lost += sum(kept.get(key) != value for key, value in seen.items())
    trials = [row for row in trial_rows(tables.trials) if row.stage == "search"]
    tally.duplicate_trials += len(trials) - len({row.recipe for row in trials}) + max(0, len(trials) - TRIALS)
    tally.agreed += agreements(folder)


def agreements(folder: StudyFolder) -> list[bool]:
    """Whether each trial of a search ended where ASHA ends it when it sees the same figures in the same order."""
    tables = load_tables(folder)
    trials = {row.trial_id: row for row in trial_rows(tables.trials) if row.stage == "search"}
    make = partial(make_scheduler, "asha", EPOCHS, 0, 1, max(1, EPOCHS // 9))
    asha = BackboneSchedulers(make, lambda *_: None, lambda _: "", lambda _: "")
    stops: dict[str, int] = {}
    for row in epoch_rows(tables.epochs):
        if row.trial_id in trials:
            answer = asha.decide("plain_cnn", row.trial_id, row.epoch, row.val_accuracy)
            if answer == "STOP":
                stops.setdefault(row.trial_id, row.epoch)
    return [stops.get(name, EPOCHS) == trial.epochs_run for name, trial in trials.items()]


def plain(place: Path, chance: random.Random) -> int:
    """Kills plain Ray Tune once, restores it, and returns how many trials that had reported are not in the results."""
    place.mkdir()
    command = [sys.executable, str(Path(__file__).with_name("plain_ray.py")), str(place), "--trials", "14"]
    process = silent(command)
    log = place / "reported.txt"
    while process.poll() is None and not log.exists():
        time.sleep(0.1)
    if ended_within(process, chance.uniform(2.0, 12.0)) is None:
        kill(process)
    reported = {line.split()[0] for line in log.read_text().splitlines()}
    ran = subprocess.run([*command, "--restore"], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True)
    return len(reported - set(json.loads(ran.stdout.splitlines()[-1])))


def findings_of(tally: Tally, lost: list[int]) -> list[Finding]:
    """The figures, each against its goal."""
    recovery = statistics.median(tally.recovery_seconds) - statistics.median(tally.cold_seconds)
    shown = f"{tally.kills} kills, {len(tally.codes)} studies, exit codes {sorted(set(tally.codes))}"
    ended = set(tally.codes) == {0}
    figures: list[tuple[str, float, Goal | None]] = [
        ("committed rows lost", tally.rows_lost, Goal(0, at_least=False)),
        ("duplicate trials", tally.duplicate_trials, Goal(0, at_least=False)),
        ("epochs recorded twice per kill, mean", statistics.mean(tally.trained_again), Goal(0.5, at_least=False)),
        ("epochs recorded twice per kill, most", max(tally.trained_again), Goal(1, at_least=False)),
        ("seconds to the next epoch after a resume, beyond a cold start", recovery, Goal(5, at_least=False)),
        ("agreement with ASHA", statistics.mean(tally.agreed), Goal(1.0)),
        ("processes left", tally.left_over, Goal(0, at_least=False)),
    ]
    ours = [
        Finding(
            measure="chaos",
            case=f"raytl: {case}",
            figure="count",
            values=(float(value),),
            goal=goal,
            check=shown,
            check_passed=ended,
        )
        for case, value, goal in figures
    ]
    theirs = Finding(
        measure="chaos",
        case="plain Ray Tune: trials lost per kill, of 14",
        figure="count",
        values=tuple(float(each) for each in lost),
    )
    return [*ours, theirs]


if __name__ == "__main__":
    main()
