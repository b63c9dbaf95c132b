"""`raytl` as a process of its own, to be stopped and killed, and who its children are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from raytl.results.folder import StudyFolder
from raytl.results.ledger import read
from raytl.results.tables import epoch_rows, first_epochs

T = TypeVar("T")

PATIENCE_SECONDS = 180

MARK = "RAYTL_TEST_MARK"  # every process that a command starts inherits it, whoever its parent is by now


@dataclass
class Command:
    """A running `raytl` command whose lines go to a file."""

    process: subprocess.Popen[bytes]
    log: Path
    mark: str

    @classmethod
    def start(cls, log: Path, *words: str, environment: Mapping[str, str] | None = None) -> Command:
        mark = uuid4().hex
        command = [sys.executable, "-m", "raytl.cli", *words]
        with log.open("wb") as file:
            variables = {**os.environ, MARK: mark, **(environment or {})}
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, env=variables
            )
        return cls(process, log, mark)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], T]) -> T:
        """Waits until it holds, while the command runs; what it then is."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := condition()):
            assert self.process.poll() is None, f"ended too early:\n{self.said}"
            assert time.monotonic() < deadline, f"waited for {PATIENCE_SECONDS} s:\n{self.said}"
            time.sleep(0.02)
        return found

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        return self.process.wait(seconds)

    def processes(self) -> dict[int, str]:
        """All living processes that the command started, itself included: number and title."""
        needle = f"{MARK}={self.mark}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if needle in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has ended meanwhile
        return found

    def left(self, seconds: float = 30) -> dict[int, str]:
        """The processes that still live after so many seconds."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left


def children(parent: int) -> dict[int, str]:
    """The living processes that this one started itself: number and title."""
    found = {}
    for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        try:
            found[int(pid)] = (Path("/proc") / pid / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended meanwhile
    return found


def recorded(folder: StudyFolder) -> dict[tuple[str, int], float]:
    """Every epoch that the ledger holds, with its validation loss."""
    if not folder.ledger.is_dir():
        return {}
    rows = epoch_rows(first_epochs(read(folder.ledger, "epochs")))
    return {(row.trial_id, row.epoch): row.val_loss for row in rows}
