"""The ledger: the only record of a study. What is not committed did not happen.

A commit is one immutable Arrow IPC file, `<number>-<table>-<checksum>.arrow`; a segment holds the rows of many
commits of one table, `<first>-<last>-<table>-<checksum>.arrow`. The checksum is the start of the file's SHA-256,
in the name because Arrow files carry none and must stay plain Arrow files. Readers pass over files whose range
lies within an intact segment's, so a kill while commits are rolled into a segment neither loses nor doubles a row.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from raytl.errors import StorageError
from raytl.results.folder import TEMPORARY, sync_folder, write_atomically
from raytl.results.schemas import TABLES, Row, conform, empty_table, to_table
from raytl.steps import reached

LOOSE_LIMIT = 256  # chosen: rolling them costs about as much as ten commits
SEGMENT_LIMIT = 64  # chosen: a table of 500,000 commits is rewritten 30 times and read from at most 320 files
DAMAGED = "_damaged"  # a leading underscore: pyarrow.dataset passes over it
READ_ATTEMPTS = 50  # chosen: each is spoilt only by a segment finished during it

_NAME = re.compile(r"(\d{8,})(?:-(\d{8,}))?-([a-z]+)-([0-9a-f]{8})\.arrow")


@dataclass(frozen=True)
class LedgerView:
    """What a ledger holds: `tables` by name, rows in commit order, and a sentence for each file that is not read."""

    tables: Mapping[str, pa.Table]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    path: Path
    table: str
    first: int
    last: int
    checksum: str


@dataclass(frozen=True)
class _Scan:
    """A ledger's files: those read, with their rows; those within a segment; those damaged, with the reason."""

    intact: list[tuple[_File, pa.Table]]
    covered: list[_File]
    damaged: list[tuple[_File, str]]


class _DamagedError(Exception):
    """A ledger file whose content is not what was written; the text says how."""


class Ledger:
    """The writer of a ledger; a study has one at a time (the search's driver holds the lock).

    `removed_files` counts temporary and rolled-up files that a kill left behind; `problems` names damaged files
    that were set aside in `_damaged/`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: defaultdict[str, list[_File]] = defaultdict(list)
        self._next_number = 1
        self.removed_files = 0
        self.problems: tuple[str, ...] = ()

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Opens or begins the ledger in `folder` (a study's `StudyFolder.ledger`) and goes on with its numbers.

        Raises:
            StorageError: the folder cannot be read or written.
        """
        ledger = cls(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            ledger._recover()
        except OSError as error:
            raise StorageError(f"{folder}: cannot be opened ({error}); mend the folder, then resume") from error
        return ledger

    def commit(self, table: str, rows: Sequence[Row]) -> int:
        """Records `rows` for good and returns the commit's number, which stands in each row's `commit_number`.

        Raises:
            StorageError: the disk is full or fails; earlier commits are kept.
            ValueError: a row that does not fit its table.
        """
        content = to_table(table, rows, self._next_number)
        number = self._next_number
        self._next_number += 1  # used even when writing fails: no two files may ever claim one number
        self._files[table].append(self._write(table, number, number, content))
        try:
            self._roll_when_many(table)
        except OSError as error:
            raise StorageError(
                f"{self._folder}: commits cannot be rolled into one file ({error}); all rows are kept: make room or "
                "mend the folder, then resume"
            ) from error
        return number

    def _write(self, table: str, first: int, last: int, content: pa.Table) -> _File:
        data = _ipc_bytes(content)
        checksum = _checksum(data)
        numbers = f"{first:08d}" if first == last else f"{first:08d}-{last:08d}"
        path = self._folder / f"{numbers}-{table}-{checksum}.arrow"
        write_atomically(path, data, f"{'commit' if first == last else 'segment'} of {table}")
        return _File(path, table, first, last, checksum)

    def _roll_when_many(self, table: str) -> None:
        loose = [file for file in self._files[table] if file.first == file.last]
        if len(loose) <= LOOSE_LIMIT:
            return
        self._roll(table, loose)
        if len(self._files[table]) > SEGMENT_LIMIT:
            self._roll(table, list(self._files[table]))

    def _roll(self, table: str, files: list[_File]) -> None:
        intact, damaged = _read_each(files)
        self._set_aside(damaged)
        segment = self._write(table, files[0].first, files[-1].last, _concatenate(table, (rows for _, rows in intact)))
        rolled = set(files)
        self._files[table] = [*(file for file in self._files[table] if file not in rolled), segment]
        self._remove([file.path for file, _ in intact])

    def _recover(self) -> None:
        orphans = list(self._folder.glob(f"{TEMPORARY}*"))
        known = _list(self._folder)
        scan = _scan(known)
        self._next_number = 1 + max((file.last for file in known), default=0)
        self._next_number = max(self._next_number, 1 + _last_set_aside(self._folder))
        for file, _ in scan.intact:
            self._files[file.table].append(file)
        self._set_aside(scan.damaged)
        self.problems = tuple(_set_aside_problems(self._folder))
        self._remove([*orphans, *(file.path for file in scan.covered)])
        self.removed_files = len(orphans) + len(scan.covered)

    def _set_aside(self, damaged: list[tuple[_File, str]]) -> None:
        for file, _ in damaged:
            aside = self._folder / DAMAGED
            aside.mkdir(exist_ok=True)
            file.path.rename(aside / file.path.name)
            reached("damaged file set aside")
        if damaged:
            self.problems = tuple(_set_aside_problems(self._folder))

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)
            reached("covered file removed")
        if paths:
            sync_folder(self._folder)


def read_ledger(folder: Path) -> LedgerView:
    """All that a ledger holds, also while a search writes to it; `folder` is a study's `StudyFolder.ledger`.

    Nothing on disk is changed. A file cut short or with a flipped byte is named in `problems`; the rest is read.

    Raises:
        StorageError: the folder cannot be read.
    """
    for _ in range(READ_ATTEMPTS):
        try:
            before = _list(folder)
            scan = _scan(before)
            after = _list(folder)
        except FileNotFoundError:
            continue  # rolled into a segment between listing and reading
        except OSError as error:
            raise StorageError(f"{folder}: the ledger cannot be read ({error})") from error
        if not _rolled_meanwhile(before, after):
            return _view(folder, scan)
    raise StorageError(f"{folder}: no ledger can be read here; check that the folder exists")


def read(folder: Path, table: str) -> pa.Table:
    """All rows of one table in commit order; see `read_ledger`."""
    return read_ledger(folder).tables[table]


def _view(folder: Path, scan: _Scan) -> LedgerView:
    tables = {
        table: _concatenate(table, (rows for file, rows in scan.intact if file.table == table)) for table in TABLES
    }
    unread = [f"{file.path.name}: {reason}; not read, the rest is" for file, reason in scan.damaged]
    return LedgerView(tables, (*unread, *_set_aside_problems(folder)))


def _list(folder: Path) -> list[_File]:
    """The files of a ledger by table, then in commit order, a segment before what it covers."""
    files = [file for path in folder.iterdir() if (file := _parse(path))]
    return sorted(files, key=lambda file: (file.table, file.first, -file.last))


def _parse(path: Path) -> _File | None:
    match = _NAME.fullmatch(path.name)
    if not match or match[3] not in TABLES:
        return None
    return _File(path, match[3], int(match[1]), int(match[2] or match[1]), match[4])


def _rolled_meanwhile(before: list[_File], after: list[_File]) -> bool:
    """Whether a listing may have missed rows: files vanished or a segment appeared. New commits do no harm."""
    new = set(after) - set(before)
    return not set(before) <= set(after) or any(file.first != file.last for file in new)


def _scan(files: list[_File]) -> _Scan:
    scan = _Scan([], [], [])
    reached: dict[str, int] = {}
    for file in files:
        if file.last <= reached.get(file.table, 0):
            scan.covered.append(file)
            continue
        intact, damaged = _read_each([file])
        scan.damaged.extend(damaged)
        scan.intact.extend(intact)
        if intact:
            reached[file.table] = file.last
    return scan


def _read_each(files: Iterable[_File]) -> tuple[list[tuple[_File, pa.Table]], list[tuple[_File, str]]]:
    intact: list[tuple[_File, pa.Table]] = []
    damaged: list[tuple[_File, str]] = []
    for file in files:
        try:
            intact.append((file, _read_file(file)))
        except _DamagedError as error:
            damaged.append((file, str(error)))
    return intact, damaged


def _read_file(file: _File) -> pa.Table:
    data = file.path.read_bytes()
    checksum = _checksum(data)
    if checksum != file.checksum:
        raise _DamagedError(
            f"damaged (its {len(data):,} bytes give checksum {checksum}, its name says {file.checksum})"
        )
    try:
        return conform(file.table, pa.ipc.open_file(pa.BufferReader(data)).read_all())
    except pa.ArrowException as error:
        raise _DamagedError(f"damaged ({error})") from error


def _concatenate(table: str, parts: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables([empty_table(table), *parts]).combine_chunks()


def _ipc_bytes(content: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, content.schema) as writer:
        writer.write_table(content)
    return sink.getvalue().to_pybytes()


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]


def _aside(folder: Path) -> list[_File]:
    aside = folder / DAMAGED
    return _list(aside) if aside.is_dir() else []


def _last_set_aside(folder: Path) -> int:
    return max((file.last for file in _aside(folder)), default=0)


def _set_aside_problems(folder: Path) -> list[str]:
    return [f"{file.path.name}: damaged, set aside in {folder / DAMAGED}; the rest is read" for file in _aside(folder)]
