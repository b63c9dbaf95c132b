"""A copy of a study folder in object storage, kept while the study runs, and the way back from there.

What is copied is whole at every moment: tensors before the commit that names them, a segment before the commits that
it covers are removed. A copy is behind the folder by seconds at most; a study that goes on from it trains again what
the copy had not yet heard of. Addresses are those of pyarrow's file systems: s3://bucket/folder, gs://bucket/folder,
file:///folder.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs

from raytl.errors import ConfigError, StorageError
from raytl.going_on import lasting
from raytl.redaction import redacted
from raytl.results.folder import TEMPORARY, StudyFolder, paths_below

EVERY_SECONDS = 30.0  # chosen: what a lost machine costs in training; a copy without news takes one look at the folder
LOCAL_ONLY = (".lock", ".ray")
COMMITS = ("PREVIOUS.json", "COMMIT.json")  # of a checkpoint, in the order in which they are copied
# What is copied first, second, ...: a reader of the copy finds everything that a row names.
ORDER = ("checkpoints", "models", "study.json", "ledger", "tables", "tensorboard", "tensorboard_finals", "report.html")


class Mirror:
    """Copies a study folder to `url`; one that was begun there before is gone on with.

    Raises:
        ConfigError: an address that pyarrow does not understand.
        StorageError: the place holds something else, or more of the study than the folder does, or cannot be read.
    """

    def __init__(self, folder: StudyFolder, url: str) -> None:
        self._root = folder.root
        self._url = redacted(url)
        self._files, self._base = open_storage(url)
        self._named: dict[str, list[str]] = {}  # by each commit of a checkpoint that is there
        self._copied: dict[str, tuple[int, int]] = {}  # size and time of change of what is known to be there
        try:
            self._claim(list_storage(self._files, self._base))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StorageError(f"{self._url}: cannot be read ({redacted(str(error))}); mend the access") from error

    def copy(self) -> int:
        """Brings the copy up to date; returns how many files were written.

        Raises:
            StorageError: the storage cannot be reached or written. The folder is as it was.
        """
        try:
            names = sorted(self._here(), key=_rank)  # what is rolled up meanwhile stays in the copy for a round
            written = sum(self._copy_file(name) for name in names if PurePosixPath(name).name not in COMMITS)
            written += sum(self._copy_commits(PurePosixPath(name).parent) for name in names if _is_commit(name))
            self._remove_others({*names, *self._here()})
        except (OSError, pa.ArrowException) as error:
            raise StorageError(
                f"{self._url}: cannot be written ({redacted(str(error))}); all is kept in {self._root}: mend the "
                f"access, then type `raytl resume {self._root}`"
            ) from error
        return written

    def _claim(self, there: list[str]) -> None:
        """Refuses a place whose files a copy would replace or remove."""
        if not there:
            return
        remedy = "give another address with --storage"
        if "study.json" not in there:
            raise StorageError(f"{self._url}: holds {len(there)} files and no study of raytl; {remedy}")
        with self._files.open_input_stream(f"{self._base}/study.json") as stream:
            known = json.loads(stream.read()).get("spec")
        # A study that was extended or has other limits is told so in the folder before its copy is looked at.
        if lasting(known) != lasting(StudyFolder(self._root).read_study().get("spec")):
            raise StorageError(f"{self._url}: holds another study; {remedy}")
        if _last_commit(there) > _last_commit(self._here()):
            raise StorageError(
                f"{self._url}: holds more of this study than {self._root} does; go on from there with "
                f"`raytl resume NEW_FOLDER --storage ...`, or {remedy}"
            )

    def _here(self) -> list[str]:
        paths = (path.relative_to(self._root) for path in paths_below(self._root) if path.is_file())
        return [path.as_posix() for path in paths if not _is_private(path)]

    def _copy_file(self, name: str) -> bool:
        path = self._root / name
        try:
            seen = path.stat()
            if self._copied.get(name) == (seen.st_size, seen.st_mtime_ns):
                return False
            content = path.read_bytes()
        except FileNotFoundError:
            return False  # rolled up or replaced since it was listed
        self._write(name, content)
        self._copied[name] = (seen.st_size, seen.st_mtime_ns)
        return True

    def _copy_commits(self, folder: PurePosixPath) -> int:
        """A checkpoint's commits, after the tensors that they name; one that is replaced meanwhile comes next time."""
        written = 0
        for commit in COMMITS:
            path = self._root / folder / commit
            with suppress(FileNotFoundError):
                seen, content = path.stat(), path.read_bytes()
                named = [str(folder / name) for name in _names_in(content)]
                for name in named:
                    self._copy_file(name)
                known = self._copied.get(str(folder / commit)) == (seen.st_size, seen.st_mtime_ns)
                if named and not known and all(name in self._copied for name in named):
                    self._write(str(folder / commit), content)
                    self._copied[str(folder / commit)] = (seen.st_size, seen.st_mtime_ns)
                    self._named[str(folder / commit)] = named
                    written += 1
        return written

    def _write(self, name: str, content: bytes) -> None:
        target = f"{self._base}/{name}"
        if self._files.type_name == "local":  # an object appears whole, a file does not
            place = PurePosixPath(target)
            self._files.create_dir(str(place.parent), recursive=True)
            draft = str(place.with_name(f"{TEMPORARY}{place.name}"))
            with self._files.open_output_stream(draft) as stream:
                stream.write(content)
            self._files.move(draft, target)
            return
        with self._files.open_output_stream(target) as stream:
            stream.write(content)

    def _remove_others(self, names: set[str]) -> None:
        """Removes from the copy what the folder no longer has, unless a commit that is there still names it.

        Of the ledger nothing goes while a segment is still to be copied: the commits that it covers are all there is.
        """
        needed = {each for commit, named in self._named.items() if commit in names for each in named}
        ours = {name for name in list_storage(self._files, self._base) if name.split("/")[0] in ORDER}
        if any(_is_segment(name) and name not in self._copied for name in names):
            needed |= {name for name in ours if name.startswith("ledger/")}
        for name in ours - names - needed:
            self._files.delete_file(f"{self._base}/{name}")
            self._copied.pop(name, None)


def _names_in(commit: bytes) -> list[str]:
    """The files that a checkpoint's commit names; none where it is damaged: then it is no commit."""
    try:
        return list(json.loads(commit)["files"])
    except (ValueError, KeyError, TypeError):
        return []


@contextmanager
def mirrored(folder: StudyFolder, url: str | None, say: Callable[[str], None]) -> Iterator[None]:
    """Copies a study folder to `url` every half minute while the block runs, and once more at its end.

    A copy that fails on the way, or after an error of the block, is said and tried again.

    Raises:
        StorageError: the first copy failed, or the last one of a block that went well.
    """
    if url is None:
        yield
        return
    mirror, done = Mirror(folder, url), threading.Event()
    mirror.copy()

    def try_to_copy() -> None:
        try:
            mirror.copy()
        except StorageError as error:
            say(f"copy not up to date: {'; '.join(error.problems)}")

    def keep_up() -> None:
        while not done.wait(EVERY_SECONDS):
            try_to_copy()

    thread = threading.Thread(target=keep_up, name="mirror", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        _join(thread, done)
        try_to_copy()
        raise
    _join(thread, done)
    mirror.copy()


def _join(thread: threading.Thread, done: threading.Event) -> None:
    done.set()
    thread.join()


def fetch(url: str, folder: StudyFolder) -> int:
    """Writes what `url` holds of a study into `folder`, which must be new or empty; returns the number of files.

    Raises:
        ConfigError: an address that is not understood.
        StorageError: there is no study there, or it cannot be read, or the folder is in use.
    """
    files, base = open_storage(url)
    try:
        names = list_storage(files, base)
        if "study.json" not in names:
            raise StorageError(f"{redacted(url)}: no study of raytl there (study.json is missing); give its address")
        if folder.root.exists() and any(folder.root.iterdir()):
            raise StorageError(f"{folder.root}: not empty; give a new folder with --out, or resume the one you have")
        for name in sorted(names, key=_rank):
            target = folder.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with files.open_input_stream(f"{base}/{name}") as stream:
                target.write_bytes(stream.read())
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{redacted(url)}: cannot be read ({redacted(str(error))}); mend the access") from error
    return len(names)


def open_storage(url: str) -> tuple[pa.fs.FileSystem, str]:
    """The file system of an address, and the path in it.

    Raises:
        ConfigError: an address that pyarrow does not understand.
    """
    try:
        files, base = pa.fs.FileSystem.from_uri(url)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(
            f"storage={redacted(url)!r}: {redacted(str(error))}; write s3://bucket/folder, gs://bucket/folder or "
            "file:///folder"
        ) from error
    return files, base.rstrip("/")


def list_storage(files: pa.fs.FileSystem, base: str) -> list[str]:
    """The names of all whole files under a path of a storage, relative to it."""
    chosen = pa.fs.FileSelector(base, recursive=True, allow_not_found=True)
    found = (Path(info.path).relative_to(base) for info in files.get_file_info(chosen) if info.is_file)
    return [path.as_posix() for path in found if not _is_private(path)]


def _is_private(path: Path) -> bool:
    return path.parts[0] in LOCAL_ONLY or any(part.startswith(TEMPORARY) for part in path.parts)


def _last_commit(names: list[str]) -> int:
    """The highest number of a commit among a ledger's files."""
    numbers = (re.match(r"ledger/(?:\d+-)?(\d+)-[a-z]+-", name) for name in names)
    return max((int(number[1]) for number in numbers if number), default=0)


def _is_segment(name: str) -> bool:
    return re.match(r"ledger/\d+-\d+-", name) is not None


def _is_commit(name: str) -> bool:
    """Whether it is the last commit of a checkpoint: each checkpoint is named once by it."""
    return PurePosixPath(name).name == COMMITS[-1]


def _rank(name: str) -> tuple[int, str]:
    top = name.split("/")[0]
    return (ORDER.index(top) if top in ORDER else len(ORDER), name)
