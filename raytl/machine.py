"""What a machine has, held against what is needed, before anything expensive starts. Imports neither torch nor Ray."""

from __future__ import annotations

import os
import platform
import resource
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_BYTES = 200_000_000  # chosen: Ray passes what it sends between processes there, some MB for a study
OPEN_FILES = 1024  # chosen: Ray, its workers' connections and an event file per trial take a few hundred
SHOWN = ("torch", "torchvision", "timm", "ray", "optuna", "hyperopt", "pyarrow")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what is there and, where that is not enough, what is needed and what to do."""

    name: str
    there: str
    problem: str | None = None

    @property
    def passed(self) -> bool:
        """Whether it is as it should be."""
        return self.problem is None

    @property
    def line(self) -> str:
        """One line for a person."""
        return f"ok   {self.name}: {self.there}" if self.passed else f"FAIL {self.name}: {self.there}; {self.problem}"


def check_versions() -> Check:
    """The packages that raytl needs, in versions that it was made for."""
    there = f"python {platform.python_version()}, " + ", ".join(f"{name} {_version(name)}" for name in SHOWN)
    try:
        needed = requires("raytl") or []
    except PackageNotFoundError:  # run out of its source: nothing says which versions are needed
        return Check("versions", f"{there} (not compared: raytl itself is not installed, as `make setup` does)")
    wrong = [
        f"{wanted} (there is {_version(wanted.name)})"
        for wanted in map(Requirement, needed)
        if (wanted.marker is None or wanted.marker.evaluate({"extra": ""}))
        and not wanted.specifier.contains(_version(wanted.name), prereleases=True)
    ]
    return Check("versions", there, f"needed: {', '.join(wrong)}; install from requirements.lock" if wrong else None)


def check_processors() -> Check:
    """Processors and GPUs; a search asks for what it needs when it knows."""
    return Check("processors", f"{len(os.sched_getaffinity(0))} CPUs, {count_gpus()} GPUs")


def check_count(workers: int) -> Check:
    """Whether a trial of so many workers finds room on this machine: a processor each, and a GPU where there are any.

    Only what cannot be is refused; what Ray may use of the machine is known when it has started.
    """
    cpus, gpus = os.cpu_count() or 1, count_gpus()
    there = f"{cpus} CPUs and {gpus} GPUs"
    most = min(cpus, gpus) if gpus else cpus
    units = "1 CPU and 1 GPU" if gpus else "1 CPU"
    problem = (
        f"workers_per_trial={workers}: {workers} workers x {units}, but there is room for {most}; ask for at most "
        f"{most} with --workers-per-trial, or join a larger cluster with --address"
    )
    return Check("processors", there, problem if workers > most else None)


def count_gpus() -> int:
    """NVIDIA's devices, without importing what would use them."""
    return len([path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()])


def check_disk(name: str, folder: Path, need_bytes: int) -> Check:
    """Room on the disk of a folder, which need not be there yet."""
    free = free_bytes(folder)
    problem = f"{need_bytes / 1e9:.1f} GB are needed: make room, or choose a folder on a larger disk"
    return Check(name, f"{free / 1e9:.1f} GB free in {folder}", problem if free < need_bytes else None)


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder, which need not be there yet."""
    return shutil.disk_usage(_nearest(folder)).free


def check_writable(name: str, folder: Path) -> Check:
    """Whether this user may write in a folder, or make it."""
    there = _nearest(folder)
    may = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    problem = f"nothing can be written in {there}: give a folder that can be written"
    return Check(name, str(folder), None if may else problem)


def check_shared_memory() -> Check:
    """What Ray passes between processes lies in shared memory; containers often have little."""
    if not SHARED_MEMORY.is_dir():
        return Check("shared memory", "none", None)
    free = shutil.disk_usage(SHARED_MEMORY).free
    problem = (
        f"{SHARED_MEMORY_BYTES / 1e6:.0f} MB are needed: give a container more with --shm-size=1g, or remove what lies "
        f"in {SHARED_MEMORY}"
    )
    there = f"{free / 1e9:.1f} GB free"
    return Check("shared memory", there, problem if free < SHARED_MEMORY_BYTES else None)


def check_open_files() -> Check:
    """How many files this process and its children may have open; a low limit that may be raised is raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else max(soft, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES <= most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
        soft = OPEN_FILES
    enough = soft == resource.RLIM_INFINITY or soft >= OPEN_FILES
    there = "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft:,}"
    return Check("open files", there, None if enough else f"{OPEN_FILES:,} are needed: raise it with `ulimit -n 65536`")


def cache_folder() -> Path:
    """Where decoded pictures and written samples are kept between studies; `RAYTL_CACHE` overrides."""
    base = os.environ.get("RAYTL_CACHE")
    folder = Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "raytl"
    return folder.absolute()  # workers have a folder of their own to start from


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    path = folder.absolute()
    while not _is_there(path):
        path = path.parent
    return path


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that this user may not look into
        return False


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "0"
