"""A cluster that `ray up` makes with the project's cluster.yaml on hosts of this machine."""

from __future__ import annotations

import itertools
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from raytl.results.folder import StudyFolder
from tests.hosts import HOME, ROOT, SHARED, Host
from tests.processes import Command

SCRIPT = "#!{python}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
SCRIPTS = {"ray": "ray.scripts.scripts", "raytl": "raytl.cli"}
# Ray's own news of itself stay at home, and the launcher's lines come when they are printed.
# Measured: Ray's second autoscaler never started the last of three listed workers; the first one does.
QUIET = {
    "RAY_UP_enable_autoscaler_v2": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
    "RAY_AUTH_MODE": "token",
}


def configuration(head: Host, workers: list[Host], key: Path) -> dict[str, Any]:
    """The project's cluster.yaml, in which provider, access and node types are replaced, and nothing else."""
    config = dict(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    for own in ("available_node_types", "head_node_type", "max_workers"):
        del config[own]
    config["provider"] = {
        "type": "local",
        "head_ip": head.address,
        "worker_ips": [worker.address for worker in workers],
    }
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(key)}
    return config


def furnish(host: Host) -> None:
    """What `make setup` would make out of 6 GB of packages: an environment of its own over this one's packages.

    Make finds it newer than the lock, so it is taken as made. It has no raytl but the one that comes to `~/raytl`.
    """
    environment = host.home / "raytl" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    [packages] = environment.glob("lib/python*/site-packages")
    [own] = Path(sys.prefix).glob("lib/python*/site-packages")
    (packages / "packages.pth").write_text(f"{HOME / 'raytl'}\n{own}\n")
    for name, module in SCRIPTS.items():
        script = environment / "bin" / name
        script.write_text(SCRIPT.format(python=HOME / "raytl/.venv/bin/python", module=module))
        script.chmod(0o755)
    (environment / ".compiled").touch()


@dataclass
class Launched:
    """The cluster, seen from the laptop on which `ray up` is typed."""

    laptop: Host
    head: Host
    workers: list[Host]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def file(self) -> Path:
        """Its cluster file, as the laptop calls it."""
        return HOME / "cluster.yaml"

    def start(self, *words: str) -> Command:
        """A command on the laptop, in the folder of the project."""
        log = self.laptop.room / f"{next(self.numbers):02d}-{words[0]}-{words[1]}.log"
        return Command(self.laptop.start(log, *words, environment=QUIET), log, mark="")

    def ray(self, *words: str, seconds: float) -> str:
        """`ray ...` on the laptop, which has to end well; what it said."""
        command = self.start("ray", *words)
        try:
            code = command.end(seconds)
        except subprocess.TimeoutExpired:
            command.kill()
            raise AssertionError(f"ray {words[0]} took over {seconds:.0f} s:\n{command.said}") from None
        assert code == 0, f"ray {shlex.join(words)}: {code}\n{command.said}"
        return command.said

    def execute(self, command: str, seconds: float) -> str:
        """A line of a shell on the head."""
        return self.ray("exec", str(self.file), command, seconds=seconds)

    def up(self) -> str:
        """Writes the cluster file and makes the cluster; over when all workers have joined."""
        config = configuration(self.head, self.workers, self.laptop.room / "key")
        (self.laptop.home / self.file.name).write_text(yaml.safe_dump(config, sort_keys=False, width=10_000))
        said = self.ray("up", "-y", str(self.file), seconds=180)
        joined = f"until ray status | grep -q '/{len(self.workers)}.0 CPU'; do sleep 1; done"
        self.execute(f"timeout 240 bash -c {shlex.quote(joined)}", seconds=260)
        return said

    def folder(self, name: str) -> StudyFolder:
        """A study that every host calls `/mnt/raytl/results/<name>`, as this process sees it."""
        return StudyFolder(self.head.shared / "results" / name)


def study_words(name: str) -> list[str]:
    """The options that put a study where all hosts find it, and run it on all of them."""
    return ["--address", "auto", "--out", str(SHARED / "results" / name)]
