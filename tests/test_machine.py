"""What a machine has: each check passes on a good one, and says what is needed on one that lacks something."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from raytl import machine
from raytl.machine import (
    OPEN_FILES,
    Check,
    cache_folder,
    check_count,
    check_disk,
    check_open_files,
    check_processors,
    check_shared_memory,
    check_versions,
    check_writable,
)


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTL_CACHE", "here")
    assert cache_folder() == Path.cwd() / "here"
    monkeypatch.delenv("RAYTL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "there")
    assert cache_folder() == Path.cwd() / "there" / "raytl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "raytl"


def test_a_check_is_one_line() -> None:
    assert Check("disk", "1 GB free").line == "ok   disk: 1 GB free"
    assert Check("disk", "1 GB free", "make room").line == "FAIL disk: 1 GB free; make room"


def test_the_installed_packages_are_those_that_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    check = check_versions()
    assert check.passed and "torch " in check.there and "python 3" in check.there
    wanted = ["torch>=99", "pillow>=1", "nothing-like-it>=2", 'boto3>=99; extra == "cluster"']
    monkeypatch.setattr(machine, "requires", lambda _name: wanted)
    problem = check_versions().problem or ""
    assert "torch>=99 (there is 2." in problem and "nothing-like-it>=2 (there is 0)" in problem
    assert "pillow" not in problem and "boto3" not in problem and "requirements.lock" in problem


def test_out_of_its_source_versions_are_told_and_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(machine, "requires", requires)
    check = check_versions()
    assert check.passed and "torch " in check.there and "raytl itself is not installed" in check.there


def test_processors_and_gpus_are_counted() -> None:
    assert check_processors().there.startswith(f"{len(os.sched_getaffinity(0))} CPUs, ")


def test_workers_that_cannot_find_room_are_refused_with_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(machine, "count_gpus", lambda: 0)
    assert check_count(4).passed
    assert "8 workers x 1 CPU, but there is room for 4" in (check_count(8).problem or "")
    monkeypatch.setattr(machine, "count_gpus", lambda: 2)
    assert check_count(2).passed
    assert "3 workers x 1 CPU and 1 GPU, but there is room for 2" in (check_count(3).problem or "")


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert check_disk("disk", folder, 1).passed and check_writable("folder", folder).passed
    lacking = check_disk("disk", folder, 10**18)
    assert not lacking.passed and "1000000000.0 GB are needed" in (lacking.problem or "")
    assert not folder.parent.exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "nothing can be written" in (check_writable("study folder", tmp_path / "file" / "study").problem or "")


def test_a_folder_that_nobody_may_look_into_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, exists = tmp_path / "closed", Path.exists
    closed.mkdir()

    def looked(path: Path) -> bool:
        if closed in path.parents:
            raise PermissionError(path)
        return exists(path)

    monkeypatch.setattr(Path, "exists", looked)
    monkeypatch.setattr(os, "access", lambda path, _: path != closed)
    check = check_writable("study folder", closed / "x")
    assert check.problem == f"nothing can be written in {closed}: give a folder that can be written"


def test_little_shared_memory_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=64_000_000))
    assert "--shm-size" in (check_shared_memory().problem or "")
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "none")
    assert check_shared_memory().passed


@pytest.fixture
def limit() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_low_limit_of_open_files_is_raised(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, limit))
    assert check_open_files().passed
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (OPEN_FILES, limit)


def test_a_limit_of_open_files_that_cannot_be_raised_is_said(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, 512))
    check = check_open_files()
    assert check.there == "at most 256" and "ulimit -n 65536" in (check.problem or "")
