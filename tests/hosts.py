"""Hosts of their own on one Linux machine: each with its processes, network, name, home, /tmp and /dev/shm.

What they share is the processors, the memory and the rest of the file system. A host lives as long as its first
process, which ends with the process that made it, however that ends; the kernel then removes all that the host was.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLS = ("unshare", "nsenter", "ip", "ss", "mount", "bash", "make", "rsync", "ssh", "ssh-keygen", "sshd")
SUBNET = "10.200.0"  # inside the hosts' own networks, which no other network reaches
SHARED = Path("/mnt/raytl")  # in every host, where the cluster files say
HOME = Path("/mnt/home")  # in every host its own
PATIENCE_SECONDS = 20.0

# The first process of a host. What is hidden stays as it is outside; of it, the kept folders show through.
FIRST_PROCESS = """
set -eu
room=$1 name=$2; shift 2
echo "$name" > /proc/sys/kernel/hostname
for hidden in /tmp /run /mnt; do
    mount -t tmpfs -o mode=1777 tmpfs "$room/cover"
    for kept; do
        case $kept in "$hidden"/*)
            under="$room/cover${kept#"$hidden"}"
            mkdir -p "$under"
            mount --bind "$kept" "$under"
        esac
    done
    mount --rbind "$room/cover" "$hidden"
done
mkdir /run/sshd /mnt/raytl /mnt/home
mount --bind "$room/shared" /mnt/raytl
mount --bind "$room/$name/home" /mnt/home
mount -t tmpfs -o mode=1777,size=2g tmpfs /dev/shm
mount -t tmpfs tmpfs /sys/fs/cgroup
echo "100000 100000" > /sys/fs/cgroup/cpu.max # one processor, as Ray counts them
for file in passwd shadow hosts; do mount --bind "$room/$name/$file" "/etc/$file"; done
echo ready
while read -r _; do :; done # until the pipe closes
"""

SSHD = """
ListenAddress {address}
HostKey {room}/host_key
AuthorizedKeysFile {room}/key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
"""

# A host may not install anything here, and has nothing to install from: what it was asked for is written down.
SUDO = """#!/bin/sh
echo "$*" >> ~/sudo.log
case "$*" in *apt-get*) ;; *) exec "$@" ;; esac
"""


def missing() -> str | None:
    """Why this machine cannot make hosts; nothing where it can."""
    if sys.platform != "linux":
        return "separate hosts are made of Linux namespaces"
    if os.geteuid() != 0:
        return "separate hosts need root"
    if lacking := [tool for tool in TOOLS if _tool(tool) is None]:
        return (
            f"separate hosts need {', '.join(lacking)} (Debian: openssh-server, openssh-client, iproute2, rsync, make)"
        )
    trial = ["unshare", "-n", "-m", "-u", "-i", "-p", "-f", "--mount-proc", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(trial, capture_output=True, text=True)
    return f"this machine makes no namespaces: {tried.stderr.strip()}" if tried.returncode else None


def _tool(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass
class Host:
    """One host; `pid` is its first process as seen from outside."""

    name: str
    address: str
    room: Path
    outer: subprocess.Popen[bytes]
    pid: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """What it calls `HOME`, seen from outside."""
        return self.room / self.name / "home"

    @property
    def shared(self) -> Path:
        """What every host calls `SHARED`, seen from outside."""
        return self.room / "shared"

    def start(self, log: Path, *words: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A command in this host, in the folder of the project; its lines go to a file."""
        enter = [_named("nsenter"), "-t", str(self.pid), "-n", "-m", "-u", "-i", "-p", f"--wd={ROOT}"]
        path = f"{HOME}/bin:{Path(sys.executable).parent}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        variables = {"HOME": str(HOME), "PATH": path, "LANG": "C.UTF-8", "USER": "root", "TERM": "dumb"}
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*enter, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**variables, **(environment or {})},
            )
        self.started.append(process)
        return process

    def processes(self) -> dict[int, str]:
        """Number and title of all that run in it."""
        found = {}
        try:
            own = (Path("/proc") / str(self.pid) / "ns" / "pid").readlink()
        except OSError:
            return {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "ns" / "pid").readlink() == own:
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except OSError:
                continue  # it has ended meanwhile
        return found

    def listeners(self) -> set[str]:
        """Addresses at which somebody can reach it: `address:port` of all that listens over TCP."""
        command = [_named("nsenter"), "-t", str(self.pid), "-n", _named("ss"), "-Hltn"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return {line.split()[3] for line in lines}

    def leave(self) -> None:
        """All that runs in it ends at once, and its connections with it; the host itself stays."""
        for number in self.processes().keys() - {self.pid}:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def kill(self) -> None:
        """As if somebody had pulled the plug."""
        if self.outer.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.outer.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        self.kill()
        for process in self.started:
            process.kill()
            process.wait(PATIENCE_SECONDS)

    def ip(self, *words: str) -> None:
        subprocess.run([_named("nsenter"), "-t", str(self.pid), "-n", _named("ip"), *words], check=True)


def _named(tool: str) -> str:
    found = _tool(tool)
    assert found is not None, tool
    return found


@contextmanager
def network(room: Path, names: Sequence[str]) -> Iterator[list[Host]]:
    """Hosts on one bridge, which lies in the first of them: that one has no sshd, the others let it in with `room/key`.

    Nothing of it is left when the block is over, nor when this process is killed.
    """
    for folder in ("shared", "cover"):
        (room / folder).mkdir()
    for key in ("key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(room / key)], check=True)
    addresses = {name: f"{SUBNET}.{number}" for number, name in enumerate(names, start=1)}
    with ExitStack() as stack:
        hosts = []
        for name, address in addresses.items():
            _write_files(room, name, addresses)
            host = _begin(room, name, address)
            stack.callback(host.close)
            hosts.append(host)
        _connect(hosts)
        for host in hosts[1:]:
            _serve(host)
        yield hosts


def _write_files(room: Path, name: str, addresses: Mapping[str, str]) -> None:
    own = room / name
    home = own / "home"
    (home / "bin").mkdir(parents=True)
    sudo = home / "bin" / "sudo"
    sudo.write_text(SUDO)
    sudo.chmod(0o755)
    (home / ".bashrc").write_text('export PATH="$HOME/bin:$PATH"\n')
    users = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
    (own / "passwd").write_text("\n".join([f"root:x:0:0:root:{HOME}:/bin/bash", *users, ""]))
    (own / "shadow").write_text("root:*:20000:0:99999:7:::\n")
    (own / "shadow").chmod(0o600)
    others = [f"{address} {other}" for other, address in addresses.items() if other != name]
    lines = ["127.0.0.1 localhost", f"127.0.1.1 {name}", *others, ""]  # of itself as Debian and Ubuntu write it
    (own / "hosts").write_text("\n".join(lines))


def _begin(room: Path, name: str, address: str) -> Host:
    kept = [str(ROOT), sys.prefix, sys.base_prefix, str(room)]
    spaces = ["-n", "-m", "-u", "-i", "-p", "-f", "--kill-child", "--mount-proc"]
    outer = subprocess.Popen(
        [_named("unshare"), *spaces, "bash", "-c", FIRST_PROCESS, "bash", str(room), name, *kept],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(room / name / "first.log").open("wb"),
    )
    assert outer.stdout is not None
    said = outer.stdout.readline()
    assert said == b"ready\n", (room / name / "first.log").read_text()
    [pid] = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
    return Host(name, address, room, outer, int(pid))


def _connect(hosts: Sequence[Host]) -> None:
    first = hosts[0]
    first.ip("link", "add", "cloud", "type", "bridge")
    first.ip("addr", "add", f"{first.address}/24", "dev", "cloud")
    for host in hosts:
        host.ip("link", "set", "lo", "up")
    for host in hosts[1:]:
        first.ip("link", "add", host.name, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        first.ip("link", "set", host.name, "master", "cloud", "up")
        host.ip("addr", "add", f"{host.address}/24", "dev", "eth0")
        host.ip("link", "set", "eth0", "up")
        # Ray learns its own address by asking for the way out. There is none: the first host forwards nothing.
        host.ip("route", "add", "default", "via", first.address)
    first.ip("link", "set", "cloud", "up")
    first.ip("route", "add", "default", "dev", "cloud")


def _serve(host: Host) -> None:
    configuration = host.room / host.name / "sshd_config"
    configuration.write_text(SSHD.format(address=host.address, room=host.room))
    log = host.room / host.name / "sshd.log"
    process = host.start(log, _named("sshd"), "-f", str(configuration), "-E", str(log))
    assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while f"{host.address}:22" not in host.listeners():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
