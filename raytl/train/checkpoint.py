"""Checkpoints: a folder of tensors and JSON that counts only once its COMMIT.json names it.

Files carry the epoch in their name, and `COMMIT.json` (sizes and SHA-256 of the files in force) replaces its
predecessor in one rename after everything else is on disk. A process that dies at any moment leaves the last
committed epoch whole. The commit before, `PREVIOUS.json`, is kept with its files: it is gone on from where the last
one is damaged, or is of an epoch that was never recorded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from raytl.errors import StorageError
from raytl.metric import Figures
from raytl.results.folder import write_atomically
from raytl.steps import reached

COMMIT, PREVIOUS = "COMMIT.json", "PREVIOUS.json"
State = Mapping[str, float | None]
_JSON_FIELDS = ("epoch", "best_epoch", "schedule", "stopping")


@dataclass(frozen=True)
class Snapshot:
    """A run after a whole number of epochs.

    `tensors` hold what goes on changing (model, optimizer, average), `best` the model's trained tensors at
    `best_epoch`, whose figures were `best_figures`; `schedule` and `stopping` are the states of these two.
    """

    epoch: int
    best_epoch: int
    best_figures: Figures | None
    tensors: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    schedule: State
    stopping: State


def save_snapshot(folder: Path, snapshot: Snapshot) -> str:
    """Commits `snapshot` to `folder`, removes what it replaces, and returns the committed epoch's name.

    Raises:
        StorageError: where the folder cannot be written; what was committed before stays in force.
    """
    state = {name: getattr(snapshot, name) for name in _JSON_FIELDS}
    state["best_figures"] = asdict(snapshot.best_figures) if snapshot.best_figures else None
    names = _names(snapshot.epoch, snapshot.best_epoch)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = _commit(folder / COMMIT, tolerant=True)
        known = before.files if snapshot.best_epoch < snapshot.epoch else {}  # begun again: not an earlier best
        files = {
            names.last: _write(folder / names.last, save(_plain(snapshot.tensors)), "checkpoint tensors"),
            names.state: _write(folder / names.state, json.dumps(state).encode(), "checkpoint state"),
            names.best: known.get(names.best)
            or _write(folder / names.best, save(_plain(snapshot.best)), "checkpoint best"),
        }
        if before.files and before.epoch < snapshot.epoch:
            write_atomically(folder / PREVIOUS, before.text(), "checkpoint before")
        write_atomically(folder / COMMIT, _Commit(snapshot.epoch, files).text(), "checkpoint commit")
        _remove_others(folder, keep={*files, *_commit(folder / PREVIOUS, tolerant=True).files, COMMIT, PREVIOUS})
    except OSError as error:
        raise StorageError(f"{folder}: checkpoint of epoch {snapshot.epoch} not written: {error}") from error
    return f"epoch-{snapshot.epoch}"


def load_snapshot(folder: Path) -> Snapshot | None:
    """The committed snapshot, or None where nothing was ever committed.

    Raises:
        StorageError: naming the file that cannot be read, or whose size or hash is not what was committed.
    """
    commit = _commit(folder / COMMIT)
    return _load(folder, commit) if commit.files else None


def latest_snapshot(folder: Path, most_epochs: int) -> tuple[Snapshot | None, tuple[str, ...]]:
    """The newest whole snapshot of at most so many epochs, and a sentence for each damaged one that was passed over."""
    problems: list[str] = []
    for name in (COMMIT, PREVIOUS):
        try:
            commit = _commit(folder / name)
            if commit.files and commit.epoch <= most_epochs:
                return _load(folder, commit), tuple(problems)
        except StorageError as error:
            problems += error.problems
    return None, tuple(problems)


@dataclass(frozen=True)
class _Commit:
    """What a commit file says: the epoch, and sizes and hashes of the files in force by name (none: nothing is)."""

    epoch: int
    files: Mapping[str, Mapping[str, object]]

    def text(self) -> bytes:
        return json.dumps({"epoch": self.epoch, "files": self.files}, indent=1).encode()


def _commit(path: Path, tolerant: bool = False) -> _Commit:
    """The commit in `path`; one that cannot be read counts as none where that is tolerated."""
    if not path.exists():
        return _Commit(0, {})
    try:
        said = json.loads(path.read_bytes())
        return _Commit(int(said["epoch"]), dict(said["files"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if tolerant:
            return _Commit(0, {})
        raise StorageError(f"{path}: cannot be read ({error}); remove the folder to retrain") from error


def _load(folder: Path, commit: _Commit) -> Snapshot:
    damaged = [name for name, entry in commit.files.items() if _entry(folder / name) != entry]
    if damaged:
        raise StorageError(
            f"{folder}: damaged since it was committed: {', '.join(damaged)}; remove the folder to retrain"
        )
    state = json.loads(next((folder / name).read_text() for name in commit.files if name.startswith("state-")))
    names = _names(state["epoch"], state["best_epoch"])
    figures = state.pop("best_figures")
    return Snapshot(
        tensors=load_file(folder / names.last),
        best=load_file(folder / names.best),
        best_figures=Figures(**figures) if figures else None,
        **state,
    )


@dataclass(frozen=True)
class _Names:
    last: str
    best: str
    state: str


def _names(epoch: int, best_epoch: int) -> _Names:
    return _Names(f"last-{epoch:04d}.safetensors", f"best-{best_epoch:04d}.safetensors", f"state-{epoch:04d}.json")


def _write(path: Path, content: bytes, what: str) -> dict[str, object]:
    write_atomically(path, content, what)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _entry(path: Path) -> dict[str, object] | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # safetensors refuses shared and channels-last storage: each tensor gets its own, in plain order.
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _remove_others(folder: Path, keep: set[str]) -> None:
    for path in folder.iterdir():
        if path.is_file() and path.name not in keep and path.suffix in {".safetensors", ".json"}:
            path.unlink(missing_ok=True)
            reached("checkpoint of an earlier epoch removed")
