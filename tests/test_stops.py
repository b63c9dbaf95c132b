"""Ctrl-C and SIGTERM, once and twice, in a process of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from raytl.stops import INTERRUPTED, orderly, unchanged

PROGRAM = """
import sys, time
from raytl.stops import orderly
try:
    with orderly(lambda: "kept"):
        print("ready", flush=True)
        time.sleep(30)
except KeyboardInterrupt:
    print("in order", flush=True)
    sys.exit(7)
"""
SLOW = PROGRAM.replace("        time.sleep(30)", "        try:\n            time.sleep(30)\n        finally:\n"
                       "            print('mending', flush=True)\n            time.sleep(30)")  # fmt: skip


def started(program: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_the_block_in_order(number: signal.Signals) -> None:
    process = started(PROGRAM)
    process.send_signal(number)
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (7, "in order\n")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_at_once(second: signal.Signals) -> None:
    process = started(SLOW)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "mending\n"
    begin = time.monotonic()
    process.send_signal(second)
    _, err = process.communicate(timeout=10)
    assert process.returncode == INTERRUPTED and err == "kept\n" and time.monotonic() - begin < 2


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with orderly(lambda: ""):
        ours = signal.getsignal(signal.SIGTERM)
        with unchanged():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is ours
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_nothing_changes() -> None:
    seen = []

    def look() -> None:
        with orderly(lambda: ""), unchanged():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
