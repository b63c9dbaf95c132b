"""One writer per study folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from raytl.errors import StorageError
from raytl.results.folder import StudyFolder
from raytl.results.lock import LOCK, check_free, locked

HOLDER = """
import sys, time
from pathlib import Path
from raytl.results.folder import StudyFolder
from raytl.results.lock import locked
with locked(StudyFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def held_elsewhere(folder: StudyFolder) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    folder = StudyFolder(tmp_path / "study")
    folder.create()
    return folder


def test_f18_a_second_search_is_refused_and_the_owner_named(folder: StudyFolder) -> None:
    owner = held_elsewhere(folder)
    try:
        with pytest.raises(StorageError, match=f"process {owner.pid} on ") as caught, locked(folder):
            pytest.fail("two hold the lock")
        assert caught.value.exit_code == 6 and "--out" in str(caught.value)
        with pytest.raises(StorageError, match=f"process {owner.pid} on "):
            check_free(folder)
    finally:
        owner.kill()
        owner.wait()


def test_f18_the_lock_of_a_dead_owner_is_taken_over(folder: StudyFolder) -> None:
    owner = held_elsewhere(folder)
    owner.kill()
    owner.wait()
    assert str(owner.pid) in (folder.root / LOCK).read_text(), "what it said is left"
    check_free(folder)
    with locked(folder):
        assert str(os.getpid()) in (folder.root / LOCK).read_text()
    with locked(folder):
        pass


def test_looking_makes_nothing(tmp_path: Path) -> None:
    check_free(StudyFolder(tmp_path / "absent"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be opened"), locked(StudyFolder(tmp_path / "file")):
        pytest.fail("nothing to lock")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_said(folder: StudyFolder, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.root / LOCK).touch()
    monkeypatch.setattr("fcntl.flock", failing(number))
    said = r"study/.lock: cannot be locked \(.+\), so .* or give .* --out"
    with pytest.raises(StorageError, match=said), locked(folder):
        pytest.fail("nothing is locked")
    with pytest.raises(StorageError, match=said):
        check_free(folder)


def failing(number: int) -> Callable[..., None]:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return flock
