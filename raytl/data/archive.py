"""Archives of pictures (zip, tar), unpacked once and carefully: an archive is a stranger's word about names and sizes.

Everything is checked before the first byte is written, and the bytes themselves are counted while they come: nothing
lands outside the folder, no link or device is made, and what is small packed and huge unpacked is refused.
"""

from __future__ import annotations

import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from raytl.data.draft import UNPACKING, draft_of, sweep
from raytl.data.sources import SPLIT_NAMES, is_litter, printable
from raytl.digest import sha256_of
from raytl.errors import DataError, RaytlError, StorageError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
CHUNK_BYTES = 1 << 20
_EXAMPLES = 5  # chosen: how many members an error names
_MOST_NAME_BYTES = 1_000_000  # chosen: of a header that tarfile reads whole, names and the like; paths have 4,096
_READ_WHOLE = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X")
_REGULAR_OR_UNSAID = (0, stat.S_IFREG, stat.S_IFDIR)  # of a zip member's Unix mode; 0 where it was packed elsewhere


@dataclass(frozen=True)
class Limits:
    """What an archive may hold. Chosen: ten times what the largest public sets of pictures hold in one file."""

    files: int = 20_000_000
    bytes: int = 2_000_000_000_000
    ratio: float = 100.0  # unpacked bytes per packed byte; pictures are packed already and come to about 1
    free_bytes: int = 10_000_000  # below which no ratio is minded: a small archive cannot do harm


@dataclass(frozen=True)
class Member:
    """One entry of an archive: its name as said there, its size as said there, and what kind of thing it is."""

    name: str
    bytes: int
    kind: str = "file"  # file, folder, or what it is that is refused


class Packed(Protocol):
    """An archive that is open."""

    def members(self) -> Iterator[Member]:
        """Its entries in order."""

    def open(self, index: int) -> IO[bytes]:
        """The content of the entry with this index."""


def is_archive(path: Path) -> bool:
    """Whether the name is one of an archive."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES)


def unpacked(archive: Path, folder: Path, limits: Limits | None = None) -> Path:
    """The pictures of `archive`, unpacked below `folder` under the hash of its bytes unless they are there already.

    What killed processes left there by half is removed.

    Where all lies in one folder of the archive, that one is returned.

    Raises:
        DataError: a damaged archive, or members that are refused; each is named, and nothing was written.
        StorageError: the disk is full or cannot be written.
    """
    try:
        target = folder / sha256_of(archive)[:16]
        sweep(folder)
        if not target.is_dir():
            with _opened(archive) as packed:
                names = _checked(archive, packed, limits or Limits())
                _write(archive, packed, names, target, limits or Limits())
    except OSError as error:
        raise StorageError(f"{printable(archive)}: cannot be unpacked to {folder} ({error}); make room") from error
    return _innermost(target)


@contextmanager
def _opened(archive: Path) -> Iterator[Packed]:
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                yield _Zip(file)
        else:
            with tarfile.open(archive, tarinfo=_ShortHeader) as file_:
                yield _Tar(file_)
    except RaytlError:
        raise
    except _LongHeaderError as error:
        raise DataError(f"{printable(archive)}: {error}; nothing was unpacked; unpack it yourself") from error
    except Exception as error:  # foreign bytes can raise anything in a decompressor
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's own
        said = printable(str(error))
        raise DataError(f"{printable(archive)}: damaged or no archive ({said}); get it again, or unpack it") from error


class _Zip:
    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file, self._entries = file, file.infolist()

    def members(self) -> Iterator[Member]:
        for entry in self._entries:
            name = entry.orig_filename.replace("\\", "/")  # as some programs of Windows write it
            yield Member(name, entry.file_size, _zip_kind(entry))

    def open(self, index: int) -> IO[bytes]:
        return self._file.open(self._entries[index])


def _zip_kind(entry: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if entry.flag_bits & 0x1:
        return "an encrypted file"
    if mode == stat.S_IFLNK:
        return "a link"
    if mode not in _REGULAR_OR_UNSAID:
        return "neither a file nor a folder"
    return "folder" if entry.is_dir() else "file"


class _LongHeaderError(Exception):
    """A header that would fill the memory before the member that it belongs to is seen."""


class _ShortHeader(tarfile.TarInfo):
    """A header of a tar archive, refused before what it announces is read if that is more than names can need."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _ShortHeader:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _READ_WHOLE and not 0 <= header.size <= _MOST_NAME_BYTES:
            raise _LongHeaderError(
                f"a header of {header.size:,} bytes for a member's name, at most {_MOST_NAME_BYTES:,} are read"
            )
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise _LongHeaderError(f"member {printable(header.name)!r} is a sparse file")
        return header

    def _proc_gnusparse_10(self, *_: object) -> None:
        raise _LongHeaderError("a member is a sparse file")  # its map may be as long as it likes


class _Tar:
    def __init__(self, file: tarfile.TarFile) -> None:
        self._file = file
        self._entries: list[tarfile.TarInfo] = []

    def members(self) -> Iterator[Member]:
        for entry in self._file:
            self._entries.append(entry)
            yield Member(entry.name, entry.size, _tar_kind(entry))

    def open(self, index: int) -> IO[bytes]:
        content = self._file.extractfile(self._entries[index])
        assert content is not None, "only regular files are opened"
        return content


def _tar_kind(entry: tarfile.TarInfo) -> str:
    if entry.issym() or entry.islnk():
        return "a link"
    if entry.isdir():
        return "folder"
    return "file" if entry.isreg() and not entry.issparse() else "neither a file nor a folder"


def _checked(archive: Path, packed: Packed, limits: Limits) -> dict[int, str]:
    """The name to write of each file by its index; litter is left out.

    Raises:
        DataError: with the first of the members that are refused.
    """
    names: dict[int, str] = {}
    taken: dict[str, str] = {}
    problems: list[str] = []
    most_bytes, total = _most_bytes(archive, limits), 0
    for index, member in enumerate(packed.members()):
        total += max(0, member.bytes)
        if index >= limits.files:
            raise DataError(f"{printable(archive)}: more than {limits.files:,} members; unpack it yourself")
        if total > most_bytes:
            raise DataError(_too_large(archive, member.name, most_bytes))
        refusal = _refusal(member)
        if refusal:
            name = printable(member.name)
            problems.append(f"{printable(archive)}: member {name!r} is {refusal}; nothing was unpacked")
        elif member.kind == "file" and not _is_litter(member.name):
            name = "/".join(_parts(member.name))
            problems += _collisions(archive, name, taken)
            names[index] = name
    if problems:
        more = [f"{printable(archive)}: and {len(problems) - _EXAMPLES} more members like these"]
        raise DataError(*problems[:_EXAMPLES], *(more if len(problems) > _EXAMPLES else []))
    return names


def _refusal(member: Member) -> str | None:
    if member.kind not in ("file", "folder"):
        return member.kind
    if member.name.startswith(("/", "\\")) or member.name[1:2] == ":":
        return "an absolute name"
    if ".." in member.name.replace("\\", "/").split("/"):
        return "a name that leads out of the archive"
    if "\0" in member.name or (not _parts(member.name) and member.kind == "file"):
        return "no usable name"
    return "said to have less than no bytes" if member.bytes < 0 else None


def _collisions(archive: Path, name: str, taken: dict[str, str]) -> list[str]:
    """A problem where an earlier member has the same name, or one that only Unicode's composition tells apart."""
    other = taken.setdefault(unicodedata.normalize("NFC", name), name)
    if other is name:
        return []
    return [f"{printable(archive)}: members {other!a} and {name!a} are written alike; rename one"]


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _is_litter(name: str) -> bool:
    return any(is_litter(part) for part in _parts(name))


def _most_bytes(archive: Path, limits: Limits) -> int:
    return min(limits.bytes, max(limits.free_bytes, int(limits.ratio * archive.stat().st_size)))


def _too_large(archive: Path, member: str, most_bytes: int) -> str:
    return (
        f"{printable(archive)}: more than {most_bytes:,} bytes unpacked by member {printable(member)!r}, far more than "
        f"pictures of {archive.stat().st_size:,} packed bytes can have; unpack it yourself if you trust it"
    )


def _write(archive: Path, packed: Packed, names: dict[int, str], target: Path, limits: Limits) -> None:
    """Unpacks into a draft that gets its name when it is whole."""
    left = _most_bytes(archive, limits)
    with draft_of(target, UNPACKING) as draft:
        pictures = draft / "pictures"
        pictures.mkdir()
        for index, name in names.items():
            path = pictures / name
            with packed.open(index) as source, _made(archive, path, name) as file:
                left -= _copied(source, file, left)
            if left < 0:
                raise DataError(_too_large(archive, name, _most_bytes(archive, limits)))
        if not target.is_dir():
            pictures.rename(target)


def _made(archive: Path, path: Path, name: str) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        said = f"member {printable(name)!r} is a file and a folder; rename one"
        raise DataError(f"{printable(archive)}: {said}") from error


def _copied(source: IO[bytes], file: IO[bytes], most: int) -> int:
    """Copies and counts, until all is there or one byte too many: what a header says need not be true."""
    count = 0
    while count <= most and (data := source.read(CHUNK_BYTES)):
        count += len(data)
        file.write(data)
    return count


def _innermost(folder: Path) -> Path:
    """The folder in which the classes or splits lie: one folder that is alone and holds folders is gone into."""
    while True:
        folders = _folders_in(folder)
        if len(folders) != 1 or folders[0].name.lower() in SPLIT_NAMES or not _folders_in(folders[0]):
            return folder
        folder = folders[0]


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]
