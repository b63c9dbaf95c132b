"""Drafts of folders: gone at the end, and swept after a kill unless somebody works in them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from raytl.data.draft import PREFIXES, draft_of, held, sweep
from raytl.errors import StorageError

KILLED = """
import os, signal, sys
from pathlib import Path
from raytl.data.draft import draft_of
with draft_of(Path(sys.argv[1])) as draft:
    (draft / "half").mkdir()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_draft_lies_beside_its_target_and_goes(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "set"
    with draft_of(target) as draft:
        assert draft.parent == target.parent
        (draft / "a").mkdir()
        (draft / "a").rename(target)
    with pytest.raises(ZeroDivisionError), draft_of(target):
        raise ZeroDivisionError
    assert list(target.parent.iterdir()) == [target]


def test_what_a_kill_left_is_swept_and_what_is_in_use_stays(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "set")], check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "half").is_dir()
    with draft_of(tmp_path / "set") as one, draft_of(tmp_path / "set") as other:
        assert one != other and one.is_dir() and not left.exists()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_all_that_lies_there_by_half_is_swept_unless_it_is_worked_on(prefix: str, tmp_path: Path) -> None:
    """Also what has no lock yet: it was left before there was one."""
    (tmp_path / f"{prefix}old" / "half").mkdir(parents=True)
    (tmp_path / "set").mkdir()
    with draft_of(tmp_path / "other", prefix) as living:
        sweep(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"set", living.name}


def test_a_draft_that_is_swept_before_it_is_held_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def mkdtemp(prefix: str, dir: Path) -> str:
        made.append(dir / f"{prefix}{len(made)}")
        made[-1].mkdir()
        if len(made) == 1:
            sweep(tmp_path)
        return str(made[-1])

    monkeypatch.setattr("raytl.data.draft.tempfile.mkdtemp", mkdtemp)
    with draft_of(tmp_path / "set") as draft:
        assert draft == made[1] and draft.is_dir() and not made[0].exists()


def test_a_folder_is_held_once(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(StorageError, match="another process writes there"), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_a_disk_without_locks_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(StorageError, match=r"cannot be locked \(No locks available\)"), draft_of(tmp_path / "set"):
        pytest.fail("nothing is locked")
    assert list(tmp_path.iterdir()) == []
