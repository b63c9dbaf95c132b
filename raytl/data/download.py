"""One file from the web: begun again where the connection broke, and not there under its name before it is whole.

`<name>.part` holds what has come and `<name>.part.json` of what it is a part. It is gone on with as HTTP has it (RFC
9110, 14.2 Range and 13.1.5 If-Range): only where the server says that the rest belongs to the same file.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from raytl.data.web import Answer, BrokenError, ChangedError, Version, ask, host_of
from raytl.errors import MachineError, StorageError
from raytl.results.folder import sync_folder, write_atomically
from raytl.steps import reached

Say = Callable[[str], None]
PAUSES_SECONDS = (1.0, 5.0, 20.0)  # chosen: before each further try; all of them again once more of the file has come
EVERY_SECONDS = 10.0  # chosen: a line of progress; a download of an hour is 360 lines in a log


@dataclass(frozen=True)
class Source:
    """A file in the web: its address, and how a person gets it without this program."""

    address: str
    by_hand: str


def download(source: Source, target: Path, say: Say) -> None:
    """Brings the file of `source` to `target`, unless it is there; only one process may at a time.

    Killed at any moment, `target` holds the whole file or is not there; what has come is gone on with.

    Raises:
        MachineError: the host cannot be reached, or breaks off again and again.
        DataError: the host has no such file, or gives it to nobody unknown.
        StorageError: no room, with the bytes needed and free; or the folder cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    pauses, best = list(PAUSES_SECONDS), 0
    while not target.is_file():
        try:
            _receive(source, part, say)
            _finish(part, target)
        except BrokenError as problem:
            if isinstance(problem, ChangedError):
                _forget(part)
            have = _size(part)
            pauses, best = (list(PAUSES_SECONDS), have) if have > best else (pauses, best)
            if not pauses:
                raise MachineError(_given_up(source, problem, have)) from problem
            say(f"{target.name}: {problem}; tries again in {pauses[0]:g} s")
            time.sleep(pauses.pop(0))
        except OSError as error:
            raise StorageError(_unwritten(part, error)) from error


def _receive(source: Source, part: Path, say: Say) -> None:
    """Brings the part to the whole, from where it ends or from the beginning."""
    known = _read_version(part)
    have = _size(part) if known and known.address == source.address else 0
    if known and have and have == known.bytes:
        return
    with closing(ask(source.address, source.by_hand, known if have else None, have)) as answer:
        if answer.begin and (answer.begin != have or not answer.version.may_follow(known)):
            raise ChangedError("the file at the source has changed, so it is begun again")
        if answer.begin == 0:
            _begin(part, answer.version)
        _check_room(part, answer)
        _write(part, answer, say)


def _begin(part: Path, version: Version) -> None:
    """An empty part that says what it will be a part of; what was there is gone before that is said."""
    part.open("wb").close()
    write_atomically(_note_of(part), json.dumps(asdict(version)).encode(), "download noted")


def _write(part: Path, answer: Answer, say: Say) -> None:
    progress = _Progress(part.stem, answer, say)
    with part.open("ab") as file:
        for data in answer.chunks():
            file.write(data)
            progress.came(len(data))
    size, whole = _size(part), answer.version.bytes
    if whole is not None and size > whole:
        raise ChangedError(f"{size:,} bytes came of {whole:,}")
    if whole is not None and size < whole:
        raise BrokenError(f"the connection broke at {size:,} of {whole:,} bytes")


def _finish(part: Path, target: Path) -> None:
    with part.open("rb+") as file:
        reached("download written")
        os.fsync(file.fileno())
    reached("download synced")
    part.replace(target)
    reached("download renamed")
    sync_folder(target.parent)
    _note_of(part).unlink(missing_ok=True)


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _note_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_version(part: Path) -> Version | None:
    """What the part is a part of; None where that is not known, so that it cannot be gone on with."""
    try:
        return Version(**json.loads(_note_of(part).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _check_room(part: Path, answer: Answer) -> None:
    needed, free = (answer.version.bytes or 0) - answer.begin, shutil.disk_usage(part.parent).free
    if needed > free:
        raise StorageError(
            f"{part}: {needed:,} bytes needed, {free:,} bytes free; make room, or set RAYTL_CACHE to a folder with room"
        )


def _unwritten(part: Path, error: OSError) -> str:
    known = _read_version(part)
    needed = f"{known.bytes - _size(part):,}" if known and known.bytes is not None else "unknown"
    free = f"{shutil.disk_usage(part.parent).free:,}"
    return (
        f"{part}: cannot be written ({error.strerror or error}); {needed} bytes needed, {free} bytes free; what has "
        "come is kept: make room, or set RAYTL_CACHE to a folder with room"
    )


def _given_up(source: Source, problem: BrokenError, have: int) -> str:
    return (
        f"{host_of(source.address)}: {problem}, {len(PAUSES_SECONDS) + 1} times; {have:,} bytes of {source.address} "
        f"are kept and gone on with: try again later, or {source.by_hand}"
    )


class _Progress:
    """A line when it begins, and one now and then."""

    def __init__(self, name: str, answer: Answer, say: Say) -> None:
        self._name, self._say = name, say
        self._count, self._whole = answer.begin, answer.version.bytes
        self._begin, self._began = answer.begin, time.monotonic()
        self._due = self._began + EVERY_SECONDS
        size = "unknown size" if self._whole is None else f"{self._whole:,} bytes"
        after = f", from byte {answer.begin:,} on" if answer.begin else ""
        say(f"{name}: {size} from {host_of(answer.version.address)}{after}")

    def came(self, count: int) -> None:
        self._count += count
        now = time.monotonic()
        if now >= self._due:
            self._due = now + EVERY_SECONDS
            share = "" if self._whole is None else f" ({self._count / self._whole:.0%})"
            speed = (self._count - self._begin) / (now - self._began) / 1e6
            self._say(f"{self._name}: {self._count:,} bytes{share}, {speed:.1f} MB/s")
