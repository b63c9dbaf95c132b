"""One long search with a fault every twenty seconds, which must end by itself, every trial with a status.

Command:   python experiments/benchmarks/chaos.py --soak [--trials 200] [--seed 0] [--out FILE]
Hardware:  two processor cores, no network
Minutes:   30 for 200 trials
Expected:  all trials ended, none twice, no committed row lost; nobody had to do anything but type `raytl resume`

Not a benchmark of its own: `chaos.py --soak` runs it. The faults, at random: a trial's actor is killed, or frozen for
five seconds; the search gets Ctrl-C, or is killed, and is resumed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from marks import marked
from measure import Finding, Goal

from raytl.results.folder import StudyFolder
from raytl.results.tables import load_tables, trial_rows

EVERY_SECONDS, FROZEN_SECONDS = 20.0, 5.0
ACTORS = ("ray::ResourceTrainable", "ray::WarmTrial")  # what Ray calls a trial's actor in and between epochs
PATIENCE_SECONDS = 60


@dataclass
class Soaked:
    """What happened in a long search, and how it ended."""

    faults: Counter[str] = field(default_factory=Counter)
    code: int = -1
    ended: int = 0
    twice: int = 0


def soak(
    start: Callable[[list[str]], subprocess.Popen[bytes]], words: list[str], folder: StudyFolder, chance: random.Random
) -> Soaked:
    """Runs a search to its end through all faults; `start` begins a command of raytl."""
    soaked, process = Soaked(), start(words)
    resume = ["resume", str(folder.root)]
    while True:
        with suppress(subprocess.TimeoutExpired):
            soaked.code = process.wait(EVERY_SECONDS)
            if soaked.code in (0, 5):
                break
            process = start(resume if folder.study_json.exists() else words)
            continue
        fault = chance.choice((kill_actor, freeze_actor, interrupt, kill_search))
        soaked.faults[fault.__name__] += fault(process)
        print(f"{sum(soaked.faults.values())} faults", flush=True)
    rows = [row for row in trial_rows(load_tables(folder).trials) if row.stage == "search"]
    soaked.ended = sum(row.status != "running" for row in rows)
    soaked.twice = len(rows) - len({row.recipe for row in rows})
    return soaked


def findings(seen: Soaked, trials: int) -> list[Finding]:
    """The figures, each against its goal."""
    check = f"exit code {seen.code}; " + ", ".join(f"{name} {count}" for name, count in sorted(seen.faults.items()))
    figures = (("trials ended", seen.ended, Goal(trials)), ("trials twice", seen.twice, Goal(0, at_least=False)))
    return [
        Finding(
            measure="soak",
            case=case,
            figure="count",
            values=(float(value),),
            goal=goal,
            check=check,
            check_passed=seen.code in (0, 5),
        )
        for case, value, goal in figures
    ]


def kill_actor(process: subprocess.Popen[bytes]) -> int:
    """SIGKILL for an actor of the search, where it has one by now; how many were hit."""
    return _signalled(actors()[:1], signal.SIGKILL)


def freeze_actor(process: subprocess.Popen[bytes]) -> int:
    """SIGSTOP for an actor of the search, and SIGCONT some seconds later."""
    frozen = actors()[:1]
    hit = _signalled(frozen, signal.SIGSTOP)
    time.sleep(FROZEN_SECONDS)
    _signalled(frozen, signal.SIGCONT)
    return hit


def interrupt(process: subprocess.Popen[bytes]) -> int:
    """Ctrl-C, and the search's end is waited for."""
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE_SECONDS)
    return 1


def kill_search(process: subprocess.Popen[bytes]) -> int:
    """SIGKILL for the search itself."""
    process.kill()
    process.wait()
    return 1


def actors() -> list[int]:
    """The processes that train for this program's search."""
    return [process for process, title in marked().items() if title.startswith(ACTORS)]


def _signalled(processes: list[int], number: int) -> int:
    count = 0
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)
            count += 1
    return count
