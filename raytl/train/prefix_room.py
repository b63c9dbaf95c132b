"""Room in the prefix store: what is kept, what may go, and what goes first."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from raytl.train.prefix_entry import DRAFT, FACTS_BYTES, ROWS, DamagedEntryError, read_facts

_GONE = ".gone-"


@dataclass(frozen=True)
class Kept:
    """An entry as seen by who must make room: worth `value` seconds of computing per byte."""

    path: Path
    bytes: int
    value: float
    made_ns: int


def kept_entries(folder: Path) -> list[Kept]:
    """All entries in `folder`; one that cannot be read is worth nothing."""
    return [_seen(path) for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def draft_bytes(folder: Path) -> int:
    """What drafts of living processes take; those of dead ones, and what was being removed, go away."""
    total = 0
    for path in [*folder.glob(f"{DRAFT}*"), *folder.glob(f"{_GONE}*")]:
        with suppress(FileNotFoundError):
            if path.name.startswith(_GONE) or _is_free(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                total += (path / ROWS).stat().st_size + FACTS_BYTES
    return total


def make_room(folder: Path, limit_bytes: int, need_bytes: int) -> bool:
    """Whether `need_bytes` more fit under the limit, once the least valuable entries that nobody holds are gone.

    Where they would not fit even then, nothing is removed. The caller holds the store's lock.
    """
    while True:
        entries = kept_entries(folder)
        used = sum(each.bytes for each in entries) + draft_bytes(folder)
        free = [each for each in entries if _is_free(each.path)]
        chosen = choose_evicted(free, used + need_bytes - limit_bytes)
        if chosen is None:
            return False
        if all(_evict(each.path) for each in chosen):
            return True  # else somebody has opened one of them meanwhile: choose again


def remove_entry(path: Path) -> None:
    """Takes an entry away in one step; who has it mapped keeps what is mapped."""
    gone = path.with_name(f"{_GONE}{uuid4().hex}")
    with suppress(FileNotFoundError):
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def choose_evicted(free: Iterable[Kept], too_many_bytes: int) -> list[Kept] | None:
    """The least valuable of `free`, older first where values tie, that together give `too_many_bytes` back.

    None where all of them together would not.
    """
    chosen: list[Kept] = []
    for each in sorted(free, key=lambda entry: (entry.value, entry.made_ns)):
        if too_many_bytes <= 0:
            break
        chosen.append(each)
        too_many_bytes -= each.bytes
    return chosen if too_many_bytes <= 0 else None


@contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Whether no living process has the entry or draft open; if so, none can open it meanwhile."""
    try:
        # Open for writing, although nothing is written: NFS refuses an exclusive lock of a file that is not (flock(2)).
        file = os.open(path / ROWS, os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    except PermissionError:
        yield False  # another user's
        return
    try:
        yield _locked_alone(file)
    finally:
        os.close(file)


def _locked_alone(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(path: Path) -> bool:
    with _claimed(path) as free:
        return free


def _evict(path: Path) -> bool:
    with _claimed(path) as free:
        if free:
            remove_entry(path)
        return free


def _seen(path: Path) -> Kept:
    try:
        facts = read_facts(path)
        return Kept(path, facts.bytes + FACTS_BYTES, facts.seconds / max(facts.bytes, 1), facts.made_ns)
    except DamagedEntryError:
        sizes = [each.stat().st_size for each in path.glob("*")]
        return Kept(path, sum(sizes), 0.0, 0)
