"""torchvision's own classification sets, written out as class folders of pictures.

torchvision knows addresses and MD5 sums, unpacks what it has compared, and reads labels. Two things are done here
instead of there: downloads are `raytl.data.download`'s, so that they are gone on with; and torchvision works in a
folder that is thrown away, since it takes whatever half of a set it finds there for the whole.
"""

from __future__ import annotations

import inspect
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from raytl.data.checksum import check_sum, record_of, record_sum, removed_if_bad
from raytl.data.download import EVERY_SECONDS, Say, Source, download
from raytl.data.public import Part, TorchvisionSet
from raytl.errors import DataError, MachineError, StorageError

_BY_HAND = "get the pictures by hand and give `raytl search` their folder"


class Pictures(Protocol):
    """What a set of torchvision is to us: pairs of a picture (or its file) and the number of its class."""

    def __len__(self) -> int:
        """How many pictures there are."""

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """One picture and its class."""


def write_torchvision_set(chosen: TorchvisionSet, store: Path, draft: Path, say: Say) -> Path:
    """Writes all parts of `chosen` below `draft` and returns the folder of class folders, or of splits of them.

    Downloads are kept in `store`. Files that the set has are taken as they are; what it keeps as numbers becomes PNG.

    Raises:
        MachineError: the source cannot be reached, or a package that the set needs is missing.
        DataError: the source has no such file, or another one.
        StorageError: no room.
    """
    import torchvision.datasets

    make = getattr(torchvision.datasets, chosen.name)
    root, folder = draft / "torchvision", draft / "pictures"
    for part in chosen.parts:
        pictures = _made(chosen.name, make, part, root, store, say)
        title = f"{chosen.name} {part.split}" if part.split else chosen.name
        _write_part(pictures, folder / (part.split or ""), title, say)
    return folder


def _made(name: str, make: Callable[..., Pictures], part: Part, root: Path, store: Path, say: Say) -> Pictures:
    """One part as torchvision gives it, downloaded where need be; it gives the files of its pictures where it can."""
    given = dict(part.given)
    if "loader" in inspect.signature(make).parameters:
        given["loader"] = Path
    brought: list[Path] = []
    try:
        with _own_downloads(store, brought, say):
            pictures = make(str(root), download=True, **given)
    except RuntimeError as error:  # torchvision's word for another checksum
        for file in brought:
            file.unlink(missing_ok=True)
        raise DataError(f"torchvision:{name}: {error}; downloads removed: the same command gets them again") from error
    except ImportError as error:
        raise MachineError(f"torchvision:{name}: {error}; install that package") from error
    except OSError as error:
        free = shutil.disk_usage(store).free
        raise StorageError(f"{root}: {error}; {free:,} bytes free: make room, or give another --out") from error
    for file in brought:
        record_sum(file, record_of(file))
    return pictures


@contextmanager
def _own_downloads(store: Path, brought: list[Path], say: Say) -> Iterator[None]:
    """Within the block torchvision's downloads are ours; those that came are added to `brought`.

    The two functions are torchvision's private ones; a test calls its public ones to see that they still are the way.
    """
    from torchvision.datasets import utils

    def bring(url: str, filename: str | Path, chunk_size: int = 0) -> None:
        file = store / Path(filename).name
        download(Source(url, _BY_HAND), file, say)
        with removed_if_bad(file):
            check_sum(file, record_of(file), None)
        brought.append(file)
        _link_or_copy(file, Path(filename))

    def lead(url: str, max_hops: int = 3) -> str:
        return url  # the download follows it; nothing is asked where the file is there already

    theirs = utils._urlretrieve, utils._get_redirect_url
    utils._urlretrieve, utils._get_redirect_url = bring, lead
    try:
        yield
    finally:
        utils._urlretrieve, utils._get_redirect_url = theirs


def _write_part(pictures: Pictures, folder: Path, title: str, say: Say) -> None:
    names, made = _class_names(pictures), set[str]()
    due = time.monotonic() + EVERY_SECONDS
    for index in range(len(pictures)):
        picture, label = pictures[index]
        name = names[int(label)] if names else str(int(label))
        if name not in made:
            (folder / name).mkdir(parents=True)
            made.add(name)
        _write_picture(picture, folder / name / f"{index:06d}")
        if time.monotonic() >= due:
            due = time.monotonic() + EVERY_SECONDS
            say(f"{title}: {index + 1:,} of {len(pictures):,} pictures written")
    say(f"{title}: {len(pictures):,} pictures in {len(made)} classes")


def _write_picture(picture: Any, stem: Path) -> None:
    """A file as it is, whether the set gives its name or an opened picture that is still untouched; else a PNG."""
    file = picture if isinstance(picture, Path) else getattr(picture, "filename", "")
    if file:
        _link_or_copy(Path(file), stem.with_name(f"{stem.name}{Path(file).suffix.lower()}"))
    else:
        picture.save(stem.with_name(f"{stem.name}.png"))


def _class_names(pictures: Pictures) -> list[str]:
    """Names of folders by the number of the class; empty where the set knows no names.

    Some sets give several names for a class, the first of which is taken; some have a slash in one.
    """
    given: Sequence[Any] = getattr(pictures, "classes", None) or getattr(pictures, "categories", None) or ()
    names: list[str] = []
    for number, each in enumerate(given):
        name = str(each if isinstance(each, str) else each[0]).replace("/", "-").replace("\0", "").lstrip(".") or "none"
        names.append(f"{name} {number}" if name in names else name)
    return names


def _link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file where the disk can give one, which needs no room; else a copy."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
