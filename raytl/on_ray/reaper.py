"""Ends what a killed search leaves of its own Ray: a process that waits for its parent to be gone.

Ray's raylet and workers follow a driver that is killed. Two of its agents first try for a minute to tell a head that is
gone (`publish_error_to_driver` in Ray 2.60, 60 seconds): measured, they outlived a killed search by 110 seconds.

    python -m raytl.on_ray.reaper MARK     ends all processes with RAYTL_RAY=MARK once its standard input is closed
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

MARK = "RAYTL_RAY"  # every process that Ray starts for us inherits it
GRACE_SECONDS, LAST_SECONDS = 5.0, 25.0  # chosen: what ends by itself may; by then nothing is left


@contextmanager
def reaped() -> Iterator[None]:
    """Within the block, what is started carries a mark; should this process be killed, all that does is ended."""
    before, mark = os.environ.get(MARK), uuid4().hex
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    command = [sys.executable, "-m", "raytl.on_ray.reaper", mark]
    reaper = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, env=environment)
    os.environ[MARK] = mark
    try:
        yield
    finally:
        reaper.kill()  # whoever comes here ends Ray in order
        reaper.communicate()
        os.environ.pop(MARK)
        if before is not None:
            os.environ[MARK] = before


def marked(mark: str) -> Iterator[int]:
    """The living processes that carry the mark, as far as this user may look."""
    needle = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if needle in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
        except OSError:
            continue  # it has ended meanwhile, or is another user's


def main(mark: str) -> None:
    """Waits for the parent's end, then for those that follow it, then ends the others."""
    sys.stdin.read()
    begin = time.monotonic()
    while (left := list(marked(mark))) and time.monotonic() < begin + LAST_SECONDS:
        if time.monotonic() > begin + GRACE_SECONDS:
            for process in left:  # again and again: one that is starting others may be among them
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        time.sleep(0.2)


if __name__ == "__main__":
    main(sys.argv[1])
