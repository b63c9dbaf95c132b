"""The command line in a process of its own that is forked where everything is imported already, and dies as asked.

A process that is killed tidies nothing up: no `finally` runs, locks are left to the kernel. A fresh interpreter would
take ten seconds to come as far.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

PRELOADED = ["raytl.on_ray.driver", "raytl.cli", "tests.fake_tune", "hyperopt", "matplotlib.figure"]
PATIENCE_SECONDS = 120
KILL, FULL, BROKEN = "kill", "disk full", "I/O error"


@dataclass(frozen=True)
class Fault:
    """What goes wrong when a step is reached for the `time`-th time."""

    kind: str
    step: str
    time: int = 1


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (minus nine where it was killed), what it said, the steps it came to."""

    code: int
    said: str
    steps: tuple[str, ...]


class Forks:
    """Runs commands in forks of one warm process."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._collecting = threading.Lock()  # a start collects the exit codes of others, and a code is read once

    def run(self, log: Path, words: list[str], environment: dict[str, str], fault: Fault | None = None) -> Ended:
        """`raytl` with these words and these variables, under the fake of Tune."""
        process = self._context.Process(target=_command, args=(log, words, environment, fault))
        with self._collecting:
            process.start()
        wait([process.sentinel], PATIENCE_SECONDS)
        with self._collecting:
            process.join(0)
        assert process.exitcode is not None, f"still running after {PATIENCE_SECONDS} s: {log.read_text()}"
        steps = log.with_suffix(".steps")
        return Ended(process.exitcode, log.read_text(errors="replace"), tuple(steps.read_text().splitlines()))


def _command(log: Path, words: list[str], environment: dict[str, str], fault: Fault | None) -> None:
    os.environ.update(environment)
    import torch

    from raytl.cli import main
    from raytl.steps import listening
    from tests.fake_tune import in_this_process

    torch.set_num_threads(1)
    with log.open("w") as file, log.with_suffix(".steps").open("w", buffering=1) as steps:
        sys.stdout = sys.stderr = file
        with in_this_process(), listening(_Listener(fault, steps.write)):
            code = main(words)
    sys.exit(code)


class _Listener:
    """Notes each step, and lets happen what is asked for; from then on a full disk takes nothing any more."""

    def __init__(self, fault: Fault | None, note: Callable[[str], object]) -> None:
        self._fault, self._note = fault, note
        self._times = 0
        self._full = False

    def __call__(self, step: str) -> None:
        self._note(f"{step}\n")
        if self._full and step.endswith("written"):
            raise _error(errno.ENOSPC)
        if self._fault is None or step != self._fault.step:
            return
        self._times += 1
        if self._times != self._fault.time:
            return
        if self._fault.kind == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        self._full = self._fault.kind == FULL
        raise _error(errno.ENOSPC if self._full else errno.EIO)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
