"""Checkpoints: a round trip, damage that is named, and a kill at every step of writing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raytl.errors import StorageError
from raytl.metric import Figures
from raytl.steps import listening
from raytl.train.checkpoint import COMMIT, PREVIOUS, Snapshot, latest_snapshot, load_snapshot, save_snapshot
from tests.faults import Killed, largest_file


def snapshot_of(epoch: int, best_epoch: int) -> Snapshot:
    """A snapshot whose tensors hold their epoch."""
    return Snapshot(
        epoch=epoch,
        best_epoch=best_epoch,
        best_figures=Figures(0.5, 0.4, 1.0),
        tensors={"model/a": torch.full((2, 3), float(epoch)), "optimizer/0/step": torch.tensor(float(epoch))},
        best={"a": torch.full((2, 3), float(best_epoch))},
        schedule={"level": 0.25, "best": None},
        stopping={"waited": 1.0},
    )


def assert_same(one: Snapshot | None, other: Snapshot) -> None:
    """All values and tensors are equal."""
    assert one is not None
    for name, value in vars(other).items():
        found = getattr(one, name)
        if name in ("tensors", "best"):
            assert found.keys() == value.keys()
            assert all(torch.equal(found[key], value[key]) for key in value)
            assert all(found[key].dtype == value[key].dtype for key in value)
        else:
            assert found == value


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "t"
    assert load_snapshot(folder) is None
    assert save_snapshot(folder, snapshot_of(3, 2)) == "epoch-3"
    assert_same(load_snapshot(folder), snapshot_of(3, 2))


def test_tensors_keep_values_whatever_their_storage(tmp_path: Path) -> None:
    """safetensors refuses storage that is shared, strided or channels-last; a model has all three."""
    whole = torch.randn(4, 3, 5, 5)
    tensors = {
        "shared": whole,
        "part": whole[1:2],
        "strided": whole.transpose(0, 3),
        "channels_last": whole.contiguous(memory_format=torch.channels_last),
        "bfloat16": whole.bfloat16(),
        "count": torch.tensor(7),
    }
    values: dict[str, Any] = {**vars(snapshot_of(1, 1)), "tensors": tensors}
    save_snapshot(tmp_path, Snapshot(**values))
    assert_same(load_snapshot(tmp_path), Snapshot(**values))


def test_the_commit_gives_sizes_and_hashes_and_old_files_are_removed(tmp_path: Path) -> None:
    for epoch, best in ((1, 1), (2, 2), (3, 2), (4, 2)):
        save_snapshot(tmp_path, snapshot_of(epoch, best))
    commit, before = (json.loads((tmp_path / name).read_text()) for name in (COMMIT, PREVIOUS))
    assert (commit["epoch"], before["epoch"]) == (4, 3)
    assert set(commit["files"]) == {"last-0004.safetensors", "best-0002.safetensors", "state-0004.json"}
    assert set(before["files"]) == {"last-0003.safetensors", "best-0002.safetensors", "state-0003.json"}
    assert names(tmp_path) == {*commit["files"], *before["files"], COMMIT, PREVIOUS}
    for name, entry in commit["files"].items():
        content = (tmp_path / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_best_tensors_are_written_once(tmp_path: Path) -> None:
    save_snapshot(tmp_path, snapshot_of(1, 1))
    before = (tmp_path / "best-0001.safetensors").stat()
    save_snapshot(tmp_path, snapshot_of(2, 1))
    after = (tmp_path / "best-0001.safetensors").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert_same(load_snapshot(tmp_path), snapshot_of(2, 1))


def test_a_run_begun_again_does_not_keep_the_best_of_the_run_before(tmp_path: Path) -> None:
    save_snapshot(tmp_path, snapshot_of(3, 1))
    again = Snapshot(**{**vars(snapshot_of(1, 1)), "best": {"a": torch.full((2, 3), 7.0)}})
    save_snapshot(tmp_path, again)
    assert_same(load_snapshot(tmp_path), again)


def flip(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("name", ["last-0002.safetensors", "best-0001.safetensors", "state-0002.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_file_is_named(name: str, damage: str, tmp_path: Path) -> None:
    save_snapshot(tmp_path, snapshot_of(2, 1))
    path = tmp_path / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(flip(path.read_bytes()) if damage == "flipped" else path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=f"damaged since it was committed: {name};"):
        load_snapshot(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": 3}', b"\xff"])
def test_a_damaged_commit_is_named(content: bytes, tmp_path: Path) -> None:
    save_snapshot(tmp_path, snapshot_of(2, 1))
    (tmp_path / COMMIT).write_bytes(content)
    with pytest.raises(StorageError, match=r"COMMIT\.json"):
        load_snapshot(tmp_path)


@pytest.mark.parametrize("name", ["last-0003.safetensors", "state-0003.json", COMMIT])
def test_f10_a_damaged_checkpoint_is_named_and_the_one_before_is_used(name: str, tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        save_snapshot(tmp_path, snapshot_of(epoch, 1))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-3])
    found, problems = latest_snapshot(tmp_path, 3)
    assert_same(found, snapshot_of(2, 1))
    assert len(problems) == 1 and name in problems[0]
    save_snapshot(tmp_path, snapshot_of(3, 1))
    assert_same(load_snapshot(tmp_path), snapshot_of(3, 1))
    assert_same(latest_snapshot(tmp_path, 2)[0], snapshot_of(2, 1))


def test_a_checkpoint_ahead_of_the_record_is_passed_over(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        save_snapshot(tmp_path, snapshot_of(epoch, 1))
    assert_same(latest_snapshot(tmp_path, 3)[0], snapshot_of(3, 1))
    assert_same(latest_snapshot(tmp_path, 2)[0], snapshot_of(2, 1))
    assert latest_snapshot(tmp_path, 1) == (None, ())
    assert latest_snapshot(tmp_path / "absent", 1) == (None, ())


def save_until(kill_at: int, folder: Path, snapshot: Snapshot) -> list[str]:
    """Saves, killed at the step with this number; returns the steps taken, files first."""
    steps: list[str] = []

    def step(name: str) -> None:
        steps.append(name)
        if len(steps) == kill_at:
            raise Killed

    with listening(step):
        try:
            save_snapshot(folder, snapshot)
        except Killed:
            steps.append("killed")
    return steps


@pytest.mark.parametrize("best_epoch", [1, 2])
def test_a_kill_at_any_step_leaves_a_whole_checkpoint(best_epoch: int, tmp_path: Path) -> None:
    old, new = snapshot_of(1, 1), snapshot_of(2, best_epoch)
    kill_at, steps = 0, ["killed"]
    while steps[-1] == "killed":
        kill_at += 1
        folder = tmp_path / str(kill_at)
        save_snapshot(folder, old)
        steps = save_until(kill_at, folder, new)
        committed = "checkpoint commit renamed" in steps
        assert_same(load_snapshot(folder), new if committed else old)
        assert_same(latest_snapshot(folder, 1)[0], old)  # the row of epoch 2 may not have been committed
        for epoch in (3, 4):
            save_snapshot(folder, snapshot_of(epoch, epoch))
        of = [
            {f"last-{epoch:04d}.safetensors", f"best-{epoch:04d}.safetensors", f"state-{epoch:04d}.json"}
            for epoch in (3, 4)
        ]
        assert names(folder) == {*of[0], *of[1], COMMIT, PREVIOUS}
    assert kill_at == 4 * (4 + (best_epoch == 2)) + 1, "four steps for each file, both commits included"


def test_a_kill_in_the_first_save_leaves_nothing_to_load(tmp_path: Path) -> None:
    for kill_at in range(1, 15):
        folder = tmp_path / str(kill_at)
        assert save_until(kill_at, folder, snapshot_of(1, 1))[-1] == "killed"
        assert load_snapshot(folder) is None


def test_f9_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    save_snapshot(tmp_path, snapshot_of(1, 1))
    large = Snapshot(**{**vars(snapshot_of(2, 2)), "tensors": {"model/a": torch.zeros(10_000)}})
    with largest_file(4096), pytest.raises(StorageError, match="last-0002"):
        save_snapshot(tmp_path, large)
    assert_same(load_snapshot(tmp_path), snapshot_of(1, 1))


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="checkpoint of epoch 1 not written"):
        save_snapshot(tmp_path / "file" / "t", snapshot_of(1, 1))
