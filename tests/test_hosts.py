"""Hosts of their own are apart from each other and from this machine, and gone when nobody needs them any more."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts import Host, missing, network

apart = pytest.mark.cluster  # these make hosts; the others say why they could not

Tried = namedtuple("Tried", ["returncode", "stdout", "stderr"])
SSH = ["ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
MAKE_AND_WAIT = """
import sys, time
from pathlib import Path
from tests.hosts import network
with network(Path(sys.argv[1]), ["first", "second"]):
    print("made", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def possible() -> None:
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def hosts(possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Host]]:
    with network(tmp_path_factory.mktemp("hosts"), ["first", "second", "third"]) as made:
        yield made


def said(host: Host, *words: str) -> list[str]:
    """What a command in a host prints."""
    log = host.room / f"{host.name}-{time.monotonic_ns()}.log"
    assert host.start(log, *words).wait(20) == 0, log.read_text()
    return log.read_text().splitlines()


def there(host: Host, other: Host, command: str) -> list[str]:
    """What a command prints that one host has another do through ssh."""
    return said(host, *SSH, "-i", str(host.room / "key"), f"root@{other.address}", command)


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("sys.platform", "darwin", "made of Linux namespaces"),
        ("os.geteuid", lambda: 1000, "need root"),
        (
            "_tool",
            lambda name: None if name in ("sshd", "rsync") else name,
            r"need rsync, sshd \(Debian: openssh-server",
        ),
        (
            "subprocess.run",
            lambda *_, **__: Tried(1, "", "unshare: not permitted\n"),
            "no namespaces: unshare: not perm",
        ),
    ],
)
def test_a_machine_that_can_make_no_hosts_says_why(
    attribute: str, value: object, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for able, as_if in (("sys.platform", "linux"), ("os.geteuid", lambda: 0), ("_tool", str)):
        monkeypatch.setattr(f"tests.hosts.{able}", as_if)
    monkeypatch.setattr("tests.hosts.subprocess.run", lambda *_, **__: Tried(0, "", ""))
    assert missing() is None
    monkeypatch.setattr(f"tests.hosts.{attribute}", value)
    assert re.search(reason, str(missing()))


@apart
def test_a_host_has_a_name_an_address_and_a_home_of_its_own(hosts: list[Host]) -> None:
    first, second, third = hosts
    assert there(first, second, "hostname; pwd; touch ~/own") == ["second", "/mnt/home"]
    assert (second.home / "own").is_file() and not (third.home / "own").exists()
    assert there(second, third, "hostname") == ["third"]
    assert socket.gethostname() != "second"


@apart
@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "/run"])
def test_what_a_host_writes_for_itself_nobody_else_sees(folder: str, hosts: list[Host]) -> None:
    first, second, third = hosts
    name = f"own-{time.monotonic_ns()}"
    there(first, second, f"touch {folder}/{name}")
    assert name in there(first, second, f"ls {folder}")
    assert name not in there(first, third, f"ls {folder}")
    assert not (Path(folder) / name).exists()


@apart
def test_what_lies_in_the_shared_folder_all_see(hosts: list[Host]) -> None:
    first, second, third = hosts
    there(first, second, "echo here > /mnt/raytl/shared")
    assert there(first, third, "cat /mnt/raytl/shared") == ["here"]
    assert (first.shared / "shared").read_text() == "here\n"
    assert not Path("/mnt/raytl/shared").exists()


@apart
def test_no_host_sees_the_processes_or_the_network_of_another(hosts: list[Host]) -> None:
    first, second, third = hosts
    assert second.listeners() == {f"{second.address}:22"} and first.listeners() == set()
    seen = there(first, second, "ps -e -o pid= -o comm=")
    assert seen[0].split() == ["1", "bash"] and len(seen) < 10
    assert not set(second.processes()) & set(third.processes())


@apart
def test_of_a_killed_host_nothing_is_left_and_the_others_live(possible: None, tmp_path: Path) -> None:
    with network(tmp_path, ["first", "second", "third"]) as (first, second, third):
        sleeper = second.start(tmp_path / "sleep.log", "sleep", "60")
        deadline = time.monotonic() + 20
        while "sleep 60" not in second.processes().values():
            assert time.monotonic() < deadline and sleeper.poll() is None
            time.sleep(0.05)
        second.kill()
        assert sleeper.wait(10) != 0 and second.processes() == {}
        assert there(first, third, "hostname") == ["third"]
        assert "second" not in " ".join(said(first, "ip", "-brief", "link"))


@apart
def test_hosts_end_with_the_process_that_made_them_however_that_ends(possible: None, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", MAKE_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None and maker.stdout.readline() == b"made\n"
        assert users_of(tmp_path)
        maker.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while left := users_of(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def users_of(room: Path) -> list[str]:
    """Titles of all processes that name the room."""
    titles = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended meanwhile
        if str(room) in title:
            titles.append(title)
    return titles
