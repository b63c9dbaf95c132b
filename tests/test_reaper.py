"""What a killed process had started is ended; what an orderly one had started is left to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raytl.on_ray.reaper import MARK, Traces, reaped

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes as Linux has them")
PARENT = """
import os, subprocess, sys, time
from raytl.on_ray.reaper import MARK, reaped
with reaped():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    print(os.environ[MARK], flush=True)
    time.sleep(60)
"""


def lives(process: int) -> bool:
    """Whether it is there and no zombie, which has no title."""
    title = Path(f"/proc/{process}/cmdline")
    return title.exists() and title.read_bytes() != b""


def wait_for_none(traces: Traces, seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while (left := list(traces.processes())) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def test_f19_what_a_killed_process_had_started_is_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    mark = process.stdout.readline().strip()
    assert len(list(Traces(mark).processes())) == 1
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert wait_for_none(Traces(mark), 20) == []


UNMARKED = """
import os, pathlib, subprocess, sys, time
from raytl.on_ray.reaper import MARK, reaped
logs = pathlib.Path(sys.argv[1])
with reaped():
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    pids = []
    for name, environment, mode in (("raylet", None, "w"), ("ray::Agent", unmarked, "w"), ("ray::tail", unmarked, "r")):
        with (logs / "all.out").open(mode) as log:
            started = subprocess.Popen(
                [name, "-c", "import time; time.sleep(60)"], executable=sys.executable, start_new_session=True,
                env=environment, pass_fds=[log.fileno()],
            )
        pids.append(started.pid)
    print(os.environ[MARK], *pids, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("folder", "belongs"), [("session_1/logs", True), ("home/logs", False)])
def test_f19_one_whose_title_has_covered_the_mark_is_known_by_its_logs(
    tmp_path: Path, folder: str, belongs: bool
) -> None:
    logs = tmp_path / folder
    logs.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", UNMARKED, str(logs)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    mark, *pids = process.stdout.readline().split()
    raylet, agent, reader = map(int, pids)
    traces = Traces(mark)
    assert set(traces.processes()) == ({raylet, agent} if belongs else {raylet})
    time.sleep(3)  # until the reaper has seen the logs, too
    for victim in (raylet, process.pid):  # the marked one dies first, as Ray's do
        os.kill(victim, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert wait_for_none(traces, 20) == []
    assert lives(agent) != belongs
    for one in (agent, reader)[belongs:]:
        os.kill(one, signal.SIGKILL)


ORPHANING = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
"""


def test_f19_in_an_orderly_end_what_lost_its_parent_is_ended() -> None:
    begin = time.monotonic()
    with reaped():
        mark = os.environ[MARK]
        subprocess.run([sys.executable, "-c", ORPHANING], check=True)
        assert len(list(Traces(mark).processes())) == 1
    assert list(Traces(mark).processes()) == [] and time.monotonic() - begin < 10


def test_in_an_orderly_end_an_own_child_is_not_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "before")
    with reaped():
        mark = os.environ[MARK]
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        assert child.pid in Traces(mark).processes()
    assert os.environ[MARK] == "before"
    time.sleep(0.5)
    assert child.poll() is None
    child.kill()
    child.wait()
