"""Ends what a search leaves of its own Ray; for one that is killed, a process that waits for its parent to be gone.

Ray's raylet and workers follow a driver that is killed. Two of its agents first try for a minute to tell a head that is
gone (`publish_error_to_driver` in Ray 2.60, 60 seconds): measured, they outlived a killed search by 110 seconds. After
an orderly end, too, where the raylet did not end within the second that `ray.shutdown` gives it and was killed.

They are known by a mark in their environment. A process that sets its title writes over what lies behind its arguments,
which is its environment (setproctitle on Linux), and both agents do: they are known by their titles and the logs that
they write to, which are those of the marked ones. Head and raylet die at once with the driver (PR_SET_PDEATHSIG), so
that the logs must be known before. Measured: without this, two agents outlived one killed search in ten by a minute.

    python -m raytl.on_ray.reaper MARK     ends what belongs to MARK once its standard input is closed
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from uuid import uuid4

MARK = "RAYTL_RAY"  # every process that Ray starts for us inherits it
GRACE_SECONDS, LAST_SECONDS = 5.0, 25.0  # chosen: what ends by itself may; by then nothing is left
SHUTDOWN_GRACE_SECONDS = 1.0  # chosen: after an orderly end there is nothing to wait for
LOOK_SECONDS = 0.25  # chosen: the agents are started some seconds after the head
TITLE = b"ray::"  # what Ray's own processes call themselves


@dataclass
class Traces:
    """How the processes that were started for one Ray are known: by their mark, or by title and logs.

    Logs that a marked process was seen to write to are remembered.
    """

    mark: str
    logs: set[Path] = field(default_factory=set)

    def processes(self) -> list[int]:
        """Those that live, as far as this user may look."""
        marked, titled = set[int](), dict[int, set[Path]]()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile, or is another user's
                if f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    marked.add(int(folder.name))
                    self.logs |= _written_logs(folder)
                elif (folder / "cmdline").read_bytes().startswith(TITLE):
                    titled[int(folder.name)] = _written_logs(folder)
        return [*marked, *(process for process, logs in titled.items() if logs & self.logs)]


def _written_logs(process: Path) -> set[Path]:
    """The folders of logs of Ray sessions in which a process has files open for writing: none, or one."""
    found = set()
    for descriptor in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            folder = descriptor.readlink().parent
            is_session = folder.name == "logs" and folder.parent.name.startswith("session_")
            if is_session and descriptor.lstat().st_mode & stat.S_IWUSR:
                found.add(folder)
    return found


@contextmanager
def reaped() -> Iterator[Traces]:
    """Within the block, what is started carries a mark; should this process be killed, all that does is ended.

    After an orderly block this process's own children are left to who started them, and what has lost its parent is
    ended, as far as it is marked or its logs are known: ask for the processes once they are started.
    """
    before, traces = os.environ.get(MARK), Traces(uuid4().hex)
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    command = [sys.executable, "-m", "raytl.on_ray.reaper", traces.mark]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment)
    os.environ[MARK] = traces.mark
    try:
        yield traces
    finally:
        end(traces, SHUTDOWN_GRACE_SECONDS)
        process.kill()
        process.communicate()
        os.environ.pop(MARK)
        if before is not None:
            os.environ[MARK] = before


def end(traces: Traces, grace_seconds: float) -> None:
    """Returns when nothing but this process and its children has the traces; what does after the grace is killed."""
    begin = time.monotonic()
    while (left := list(_of_others(traces))) and time.monotonic() < begin + LAST_SECONDS:
        if time.monotonic() > begin + grace_seconds:
            for process in left:  # again and again: one that is starting others may be among them
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        time.sleep(0.2)


def _of_others(traces: Traces) -> Iterator[int]:
    for process in traces.processes():
        with suppress(OSError):  # it has ended meanwhile
            state = Path(f"/proc/{process}/stat").read_text()
            parent = int(state.rpartition(")")[2].split()[1])  # proc(5): the title in brackets, state, parent
            if os.getpid() not in (process, parent):
                yield process


def main(mark: str) -> None:
    """Learns where the logs are, waits for the parent's end, then for those that follow it, then ends the others."""
    traces = Traces(mark)
    while not traces.logs and not select([sys.stdin], [], [], LOOK_SECONDS)[0]:
        traces.processes()
    sys.stdin.read()
    end(traces, GRACE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
