"""What a killed process had started is ended; what an orderly one had started is left to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raytl.on_ray.reaper import MARK, marked, reaped

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes as Linux has them")
PARENT = """
import os, subprocess, sys, time
from raytl.on_ray.reaper import MARK, reaped
with reaped():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    print(os.environ[MARK], flush=True)
    time.sleep(60)
"""


def wait_for_none(mark: str, seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while (left := list(marked(mark))) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def test_f19_what_a_killed_process_had_started_is_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    mark = process.stdout.readline().strip()
    assert len(list(marked(mark))) == 1
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert wait_for_none(mark, 20) == []


def test_in_an_orderly_end_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "before")
    with reaped():
        mark = os.environ[MARK]
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        assert child.pid in marked(mark)
    assert os.environ[MARK] == "before"
    time.sleep(0.5)
    assert child.poll() is None
    child.kill()
    child.wait()
