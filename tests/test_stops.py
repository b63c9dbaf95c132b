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
    with orderly(lambda: "kept", lambda: "ending"):
        print("ready", flush=True)
        time.sleep(30)
except KeyboardInterrupt:
    print("in order", flush=True)
    sys.exit(7)
"""
READY = '        print("ready", flush=True)\n        time.sleep(30)'
SLOW = PROGRAM.replace(
    READY,
    f"        try:\n    {READY}".replace("\n        time", "\n            time")
    + """
        finally:
            print('mending', flush=True)
            time.sleep(30)""",
)


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
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (7, "in order\n", "ending\n")


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_the_process_at_once(second: signal.Signals) -> None:
    process = started(SLOW)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "mending\n"
    begin = time.monotonic()
    process.send_signal(second)
    _, err = process.communicate(timeout=10)
    assert process.returncode == INTERRUPTED and err == "ending\nkept\n" and time.monotonic() - begin < 2


BUSY = """
import hashlib
from raytl.stops import orderly
try:
    with orderly(lambda: "kept", lambda: "ending"):
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"key", b"salt", 10_000_000)
except KeyboardInterrupt:
    print("in order", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_answered_within_a_second_while_a_library_is_busy(number: signal.Signals) -> None:
    """Python's handler has to wait for the end of a long computation in C; the words do not."""
    process = started(BUSY)
    time.sleep(0.2)
    begin = time.monotonic()
    process.send_signal(number)
    assert process.stderr is not None and process.stderr.readline() == "ending\n"
    said_after = time.monotonic() - begin
    assert process.wait(60) == 0 and process.stderr.read() == ""
    assert said_after < 1 < time.monotonic() - begin, "the computation was still under way"


def test_what_has_to_be_done_before_an_exit_at_once_is_done() -> None:
    program = SLOW.replace("from raytl.stops import orderly", "from raytl.stops import before_exit, orderly\n"
                           "import os\nbefore_exit(lambda: os.write(2, b'cursor '))\n"
                           "before_exit(lambda: os.write(2, b'gone '))()\n"
                           "before_exit(lambda: os.write(99, b'closed'))")  # fmt: skip
    process = started(program)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "mending\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (INTERRUPTED, "ending\ncursor kept\n")


def test_handlers_are_put_back() -> None:
    before, threads = signal.getsignal(signal.SIGTERM), threading.active_count()
    with orderly(lambda: ""):
        ours = signal.getsignal(signal.SIGTERM)
        with unchanged():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is ours
    assert signal.getsignal(signal.SIGTERM) is before and threading.active_count() == threads
    assert signal.set_wakeup_fd(-1) == -1


def test_outside_the_main_thread_nothing_changes() -> None:
    seen = []

    def look() -> None:
        with orderly(lambda: ""), unchanged():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_run_is_abandoned_from_any_thread_with_a_reason_and_the_last_words() -> None:
    program = (
        "import threading, time\n"
        "from raytl.stops import abandon, orderly\n"
        "with orderly(lambda: 'raytl: resume it'):\n"
        "    threading.Thread(target=abandon, args=('the head is gone',)).start()\n"
        "    time.sleep(60)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 130
    assert ran.stderr.splitlines() == ["raytl: the head is gone", "raytl: resume it"]
