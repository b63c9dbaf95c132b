"""A study's folder: where each thing lies, the study as it was run, and writing that a kill cannot halve."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from raytl.errors import ConfigError, StorageError
from raytl.redaction import redacted_values
from raytl.steps import reached

TEMPORARY = ".tmp-"  # a leading dot: pyarrow.dataset and shell globs pass over such files
HEAT_FILE = "grad_cam.jpg"  # beside each final model: where in some test pictures it looks


@dataclass(frozen=True)
class StudyFolder:
    """The paths of one study; nothing is made before `create`."""

    root: Path

    @property
    def study_json(self) -> Path:
        return self.root / "study.json"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def tensorboard_finals(self) -> Path:
        """Published models alone, a run each: among hundreds of trials nobody finds them."""
        return self.root / "tensorboard_finals"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def create(self) -> None:
        """Makes the folder, or takes one that is empty or already holds a study.

        Raises:
            StorageError: it holds something else, or cannot be written. Nothing is left behind.
        """
        try:
            if self.root.exists() and not self._is_ours():
                raise StorageError(
                    f"{self.root}: not empty and no study of raytl (no study.json, no ledger); "
                    "give a new or empty folder with --out"
                )
            for part in (self.ledger, self.checkpoints):
                part.mkdir(parents=True, exist_ok=True)
            probe = draft_of(self.root / "write-test")
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StorageError(
                f"{self.root}: cannot be written ({error.strerror or error}); give a folder that can with --out"
            ) from error

    def sweep(self) -> int:
        """Removes what interrupted writes left and returns how much that was; only who holds the lock may.

        Raises:
            StorageError: something cannot be removed.
        """
        try:
            left = [path for path in paths_below(self.root) if path.name.startswith(TEMPORARY)]
            for path in left:
                if path.is_dir():
                    _remove_folder(path)
                else:
                    path.unlink(missing_ok=True)  # it may have lain in a folder that is gone
        except OSError as error:
            raise StorageError(f"{error.filename}: cannot be removed ({error.strerror}); remove it by hand") from error
        return len(left)

    def write_study(self, values: Mapping[str, object]) -> None:
        """Writes `study.json`: the study as run, without secrets.

        A value JSON does not know raises TypeError or ValueError.
        """
        text = json.dumps(redacted_values(values), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(self.study_json, f"{text}\n".encode(), "study")

    def read_study(self) -> dict[str, object]:
        """What `write_study` wrote.

        Raises:
            ConfigError: there is no such folder.
            StorageError: the folder holds no study, or `study.json` cannot be read.
        """
        try:
            if not self.root.is_dir():
                raise ConfigError(f"{self.root}: no such folder; give the folder of a study, such as results/<study>")
            values = json.loads(self.study_json.read_bytes())
        except FileNotFoundError:
            raise StorageError(
                f"{self.root}: no study of raytl (study.json is missing); give the folder of a study"
            ) from None
        except (OSError, ValueError) as error:
            raise StorageError(f"{self.study_json}: cannot be read ({error}); restore it from a copy") from error
        if not isinstance(values, dict):
            raise StorageError(f"{self.study_json}: holds no JSON object; restore it from a copy")
        return values

    def read_spec(self) -> dict[str, object]:
        """The study as it was asked for, in `study.json`; empty where that does not say.

        Raises:
            ConfigError, StorageError: as `read_study` does.
        """
        spec = self.read_study().get("spec")
        return spec if isinstance(spec, dict) else {}

    def _is_ours(self) -> bool:
        foreign = (path for path in self.root.iterdir() if not path.name.startswith(TEMPORARY))
        return self.study_json.is_file() or self.ledger.is_dir() or next(foreign, None) is None


def paths_below(root: Path) -> list[Path]:
    """All files and folders below `root`; what others remove meanwhile is left out, and no link is followed.

    Raises:
        OSError: a folder that is there and can be entered cannot be listed.
    """

    def pass_over(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | PermissionError):
            raise error

    walked = os.walk(root, onerror=pass_over)
    return [Path(folder, name) for folder, folders, files in walked for name in (*folders, *files)]


def _remove_folder(path: Path) -> None:
    """Removes a folder from which others may be removing, too."""
    while path.exists():
        with suppress(FileNotFoundError):
            shutil.rmtree(path)


def draft_of(path: Path) -> Path:
    """A name for what is to become `path`, beside it, and another one at every call.

    No process number: processes of two machines that share the folder may have the same.
    """
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}-{path.name}")


def write_atomically(path: Path, data: bytes, what: str) -> None:
    """Writes a file so that, killed at any moment, `path` holds all of `data` or what it held before.

    A temporary file in the same folder, fsync, rename, fsync of the folder; steps are named after `what` is written.
    Interrupted by Ctrl-C or SIGTERM it leaves no temporary file, either.

    Raises:
        StorageError: with the bytes needed and free where the disk is full; the temporary file is removed.
    """
    temporary = draft_of(path)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            reached(f"{what} written")
            os.fsync(file.fileno())
        reached(f"{what} synced")
        temporary.replace(path)
        reached(f"{what} renamed")
        sync_folder(path.parent)
        reached(f"{what} in its folder")
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(_write_problem(path, len(data), error)) from error
    except KeyboardInterrupt:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Makes names given, changed or removed in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_problem(path: Path, needed_bytes: int, error: OSError) -> str:
    try:
        free = f"{shutil.disk_usage(path.parent).free:,} bytes free"
    except OSError:
        free = "free space unknown"
    return (
        f"{path}: cannot be written ({error.strerror or error}); {needed_bytes:,} bytes needed, {free}; "
        "what was written before is kept: make room or mend the folder, then resume"
    )
