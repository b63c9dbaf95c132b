"""What is looked at before a search: all that is wrong is said at once, and within a second."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raytl import machine
from raytl.cli import main
from raytl.errors import MachineError, StorageError
from raytl.machine import Check
from raytl.on_ray.preflight import check_start, check_token, machine_checks, refuse
from raytl.study import Study

STUDY = Study(name="made-up", data="digits", backbones=("tiny_resnet",))


def test_a_good_machine_is_let_through(tmp_path: Path) -> None:
    check_start(STUDY, tmp_path / "study")
    assert all(check.passed for check in machine_checks(tmp_path / "study"))
    assert list(tmp_path.iterdir()) == []


def test_all_that_fails_is_said_at_once() -> None:
    checks = [Check("a", "1"), Check("b", "2", "3 are needed"), Check("c", "4", "5 are needed")]
    with pytest.raises(MachineError) as caught:
        refuse(checks)
    assert caught.value.problems == ("b: 2; 3 are needed", "c: 4; 5 are needed")


def test_what_cannot_be_written_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAYTL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(StorageError) as caught:
        check_start(STUDY, tmp_path / "file" / "study")
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["study folder", "cache"]


def test_a_token_of_somebody_else_that_is_open_to_all_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    assert "will be made" in check_token().there
    (tmp_path / "token").write_text("x")
    (tmp_path / "token").chmod(0o644)
    assert check_token().passed, "ours: it is closed to others when Ray is started"
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert "others may read" in (check_token().problem or "")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    assert check_token().passed


def test_f15_more_workers_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "count_gpus", lambda: 0)
    words = ["search", "digits", "--workers-per-trial", "4096", "--out", str(tmp_path / "study")]
    assert main(words) == 3
    said = capsys.readouterr().err
    assert "4096 workers x 1 CPU, but there is room for" in said and "--workers-per-trial" in said
    assert not (tmp_path / "study").exists()


@pytest.mark.slow
@pytest.mark.parametrize("words", ["search digits --workers-per-trial 4096 --out {}", "doctor {}"])
def test_f15_the_impossible_and_the_doctor_take_less_than_five_seconds(words: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "raytl.cli", *words.format(tmp_path / "study").split()]
    begin = time.monotonic()
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert time.monotonic() - begin < 5
    assert ran.returncode == (3 if words.startswith("search") else 0), ran.stderr
    assert "Traceback" not in ran.stderr
