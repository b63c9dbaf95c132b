"""Whether a file is the one that was meant: its SHA-256 against what was published, or what it was the first time.

A record lies beside the file, as `<name>.sha256`, in the form that `sha256sum -c` reads. It stays where the file goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raytl.digest import sha256_of
from raytl.errors import DataError
from raytl.results.folder import write_atomically


def record_of(file: Path) -> Path:
    """Where the checksum of `file` is recorded."""
    return file.with_name(f"{file.name}.sha256")


def check_sum(file: Path, record: Path, published: str | None) -> None:
    """Compares `file` with what was published, else with what was recorded; where neither is, anything passes.

    Raises:
        DataError: they differ.
    """
    recorded = _recorded(record)
    wanted = published or recorded
    found = sha256_of(file)
    if wanted is None or found == wanted:
        return
    if published:
        raise DataError(
            f"{file}: its SHA-256 is {found}, but {published} was published; the file is damaged or another one: "
            "get it again, and do not use it if that does not help"
        )
    raise DataError(
        f"{file}: its SHA-256 is {found}, but was {recorded} the first time; the file is damaged, or the source has "
        f"changed it: download it again and, if you trust the new one, remove {record} first"
    )


def record_sum(file: Path, record: Path) -> None:
    """Writes down the checksum of a file that was found to be good, unless one is written down."""
    if _recorded(record) is None:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(record, f"{sha256_of(file)}  {file.name}\n".encode(), "checksum")


@contextmanager
def removed_if_bad(file: Path) -> Iterator[None]:
    """Removes a download that the block finds to be damaged or another file than was meant."""
    try:
        yield
    except DataError as error:
        file.unlink(missing_ok=True)
        raise DataError(*error.problems, f"{file}: removed, so that the same command downloads it again") from error


def _recorded(record: Path) -> str | None:
    try:
        words = record.read_text("utf-8", errors="replace").split()
    except FileNotFoundError:
        return None
    return words[0] if words else None
