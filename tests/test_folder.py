"""The study folder: taken or refused, and files that a kill cannot halve."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from raytl.errors import ConfigError, StorageError
from raytl.results.folder import StudyFolder, paths_below, write_atomically
from raytl.steps import listening
from tests.faults import Killed, largest_file

STEPS = ["file written", "file synced", "file renamed", "file in its folder"]


def test_a_new_and_an_empty_folder_are_taken(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "results" / "new"):
        StudyFolder(root).create()
        assert StudyFolder(root).ledger.is_dir()


def test_a_study_is_taken_again_and_left_as_it_is(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.create()
    folder.write_study({"seed": 3, "name": "Blüten"})
    folder.create()
    assert folder.read_study() == {"seed": 3, "name": "Blüten"} and folder.read_spec() == {}
    folder.write_study({"spec": {"name": "Blüten"}})
    assert folder.read_spec() == {"name": "Blüten"}
    folder.write_study({"spec": "Blüten"})
    assert folder.read_spec() == {}


def test_f20_a_folder_with_other_things_is_refused_and_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(StorageError, match=r"not empty and no study.*--out") as caught:
        StudyFolder(tmp_path).create()
    assert caught.value.exit_code == 6
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("mine")
    for root in (tmp_path / "results", tmp_path / "results" / "study"):
        with pytest.raises(StorageError, match="cannot be written"):
            StudyFolder(root).create()


def test_f20_an_absent_folder_is_a_mistake_in_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder") as caught:
        StudyFolder(tmp_path / "absent").read_study()
    assert caught.value.exit_code == 2


def test_a_sweep_goes_on_where_others_remove_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is ended removes its own drafts while the driver sweeps."""
    folder = StudyFolder(tmp_path / "study")
    for name in (".tmp-a/x", ".tmp-a/y", "checkpoints/t0/x", "checkpoints/t1/.tmp-b"):
        (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.root / name).touch()
    list_folder, unlink, removed = os.scandir, os.unlink, list[str]()

    def scandir(path: str | int | Path) -> object:
        if str(path).endswith("t0"):
            Path(str(path)).rename(tmp_path / "gone")
        return list_folder(path)

    def unlink_late(path: str | Path, *, dir_fd: int | None = None) -> None:
        removed.append(str(path))
        unlink(path, dir_fd=dir_fd)
        if len(removed) == 1:
            raise FileNotFoundError(errno.ENOENT, "removed by another", path)

    monkeypatch.setattr("os.scandir", scandir)
    monkeypatch.setattr("os.unlink", unlink_late)
    assert folder.sweep() == 2
    assert [path.name for path in folder.root.rglob("*") if path.name.startswith(".tmp-")] == []


def test_a_folder_that_cannot_be_listed_is_not_taken_for_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: str) -> object:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(OSError, match="Input/output error"):
        paths_below(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "missing"), (b"{", "cannot be read"), (b"[]", "no JSON object")]
)
def test_f20_a_folder_without_a_readable_study_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "study.json").write_bytes(content)
    with pytest.raises(StorageError, match=message):
        StudyFolder(tmp_path).read_study()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("end", [Killed, KeyboardInterrupt])
def test_f4_f5_ended_after_any_step_a_file_is_old_or_new_and_whole(
    tmp_path: Path, step: str, end: type[BaseException]
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old", "file")

    def stop(name: str) -> None:
        if name == step:
            raise end

    with listening(stop), pytest.raises(end):
        write_atomically(path, b"new and longer", "file")
    assert path.read_bytes() == (b"old" if STEPS.index(step) < 2 else b"new and longer")
    assert end is Killed or list(tmp_path.iterdir()) == [path], "only a kill leaves something beside it"


def test_the_steps_are_those_tested(tmp_path: Path) -> None:
    steps: list[str] = []
    with listening(steps.append):
        write_atomically(tmp_path / "file", b"x", "file")
    assert steps == STEPS


def test_the_file_is_forced_to_disk_before_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[tuple[int, bool]] = []
    path = tmp_path / "file"
    monkeypatch.setattr("os.fsync", lambda descriptor: forced.append((os.fstat(descriptor).st_ino, path.exists())))
    write_atomically(path, b"x", "file")
    assert forced == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_f9_a_full_disk_is_told_with_figures_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    write_atomically(path, b"old", "file")
    with largest_file(1000), pytest.raises(StorageError, match=r"study\.json.*5,000 bytes needed, [\d,]+ bytes free"):
        write_atomically(path, bytes(5000), "file")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
