"""A study as seen from afar: read from its copy in a storage, while it runs or when its machines are gone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from raytl.errors import StorageError
from raytl.redaction import redacted
from raytl.results.folder import HEAT_FILE, StudyFolder
from raytl.results.mirror import list_storage, open_storage
from raytl.storage import is_storage, name_at

ATTEMPTS = 5  # chosen: a copy that is written changes every half minute at most


@contextmanager
def seen(place: Path | str) -> Iterator[StudyFolder]:
    """The study at a path; of one at an address a passing folder that holds what can be read, and no checkpoints.

    Raises:
        ConfigError: an address that is not understood.
        StorageError: there is no study there, or it cannot be read.
    """
    if not is_storage(str(place)):
        yield StudyFolder(Path(place))
        return
    with tempfile.TemporaryDirectory(prefix="raytl-") as room:
        folder = StudyFolder(Path(room) / name_at(str(place)))
        _bring(str(place), folder)
        yield folder


def _bring(url: str, folder: StudyFolder) -> None:
    """Each file of a list of the copy; where one has gone meanwhile, what is missing of a new list."""
    files, base = open_storage(url)
    try:
        for attempt in range(ATTEMPTS):
            names = _readable(list_storage(files, base))
            if "study.json" not in names:
                raise StorageError(
                    f"{redacted(url)}: no study of raytl there (study.json is missing); give its address"
                )
            _remove_others(folder, names)
            try:
                for name in names:
                    _bring_file(files, f"{base}/{name}", folder.root / name)
                return
            except FileNotFoundError:
                if attempt == ATTEMPTS - 1:
                    raise
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{redacted(url)}: cannot be read ({redacted(str(error))}); mend the access") from error


def _readable(names: list[str]) -> list[str]:
    """What tables and report are made from; compacted tables only where there is no ledger."""
    tables = not any(name.startswith("ledger/") for name in names)
    kept = ("study.json", "tables" if tables else "ledger")
    return [name for name in names if name.split("/")[0] in kept or name.endswith(f"/{HEAT_FILE}")]


def _bring_file(files: pa.fs.FileSystem, source: str, target: Path) -> None:
    if target.exists() and target.name != "study.json":  # files of a ledger never change
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with files.open_input_stream(source) as stream:
        target.write_bytes(stream.read())


def _remove_others(folder: StudyFolder, names: list[str]) -> None:
    for path in [path for path in folder.root.rglob("*") if path.is_file()]:
        if path.relative_to(folder.root).as_posix() not in names:
            path.unlink()
