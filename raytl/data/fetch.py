"""Public sets of pictures as folders of class folders: downloaded, compared, unpacked, and only then given a name.

Downloads stay in the cache, under `downloads/<set>/`, with the checksum of what was first found to be good.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from raytl.data.archive import is_archive, unpacked
from raytl.data.checksum import check_sum, record_of, record_sum, removed_if_bad
from raytl.data.download import Say, Source, download
from raytl.data.draft import draft_of, held
from raytl.data.public import PublicSet, TorchvisionSet, find_public, folder_name
from raytl.errors import ConfigError, DataError, StorageError

DATA = Path("data")  # where sets are put unless another folder is given


def fetch(name: str, folder: Path | None, archive: Path | None, cache: Path, say: Say) -> Path:
    """Brings the public set `name` to `folder` (default: `data/<name>`) and returns that.

    `archive` is a file that was got by hand, for sources that want an account and machines without a network. Killed
    at any moment, the folder holds the whole set or is not there.

    Raises:
        ConfigError: no such set, a folder that holds something, or a source that wants an account.
        MachineError: the source cannot be reached.
        DataError: the source has no such file or another one, or the archive cannot be used.
        StorageError: no room, or another process fetches the same set.
    """
    chosen = find_public(name)
    target = folder or DATA / folder_name(name)
    _check_call(name, chosen, target, archive)
    store = cache / "downloads" / folder_name(name)
    try:
        store.mkdir(parents=True, exist_ok=True)
        with held(store), draft_of(target) as draft:
            if isinstance(chosen, PublicSet):
                pictures = _pictures(chosen, archive, store, draft, say)
            else:
                pictures = _torchvision_pictures(chosen, store, draft, say)
            pictures.rename(target)
    except OSError as error:
        raise StorageError(
            f"{error.filename or target}: cannot be written ({error.strerror or error}); mend it"
        ) from error
    return target


def _check_call(name: str, chosen: PublicSet | TorchvisionSet, target: Path, archive: Path | None) -> None:
    """What can be known before anything is asked for."""
    problems = []
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        problems.append(f"{target}: already holds something; use it (`raytl search {target}`), or give another --out")
    if archive is not None and isinstance(chosen, TorchvisionSet):
        problems.append(f"--archive {archive}: {name} is torchvision's to fetch; leave --archive out")
    elif archive is not None and not (archive.is_file() and is_archive(archive)):
        problems.append(f"--archive {archive}: no such zip or tar archive; name the file that was got by hand")
    elif archive is None and isinstance(chosen, PublicSet) and chosen.address is None:
        problems.append(f"data set {name!r}: its source wants an account; {_by_hand(chosen)}")
    if problems:
        raise ConfigError(*problems)


def _by_hand(chosen: PublicSet) -> str:
    """What a person can do where the program cannot."""
    return (
        f"get {chosen.file} by hand from {chosen.address or chosen.page} and type "
        f"`raytl data fetch {chosen.name} --archive {chosen.file}`"
    )


def _pictures(chosen: PublicSet, archive: Path | None, store: Path, draft: Path, say: Say) -> Path:
    """The set's folder of pictures, somewhere in `draft`."""
    say(f"{chosen.name}: {chosen.about}; address and checksum are taken from {chosen.taken_from}")
    file, record = archive or store / chosen.file, record_of(store / chosen.file)
    if archive is None:
        assert chosen.address is not None, "checked before"
        download(Source(chosen.address, _by_hand(chosen)), file, say)
    with removed_if_bad(file) if archive is None else nullcontext():  # what a person brought stays
        check_sum(file, record, chosen.sha256)
        say(f"{file.name}: unpacks")
        pictures = _kept(file, unpacked(file, draft), chosen.classes, draft)
    record_sum(file, record)
    return pictures


def _kept(file: Path, pictures: Path, classes: Sequence[str], draft: Path) -> Path:
    """The folders `classes` of what was unpacked, or all of it where none are named."""
    missing = [name for name in classes if not (pictures / name).is_dir()]
    if missing:
        raise DataError(f"{file}: has no folder {', '.join(missing)}; it must hold {', '.join(classes)}: get it again")
    kept = draft / "pictures"
    kept.mkdir()  # with the rights that a new folder has here; unpacking made one for its owner alone
    for path in [pictures / name for name in classes] or list(pictures.iterdir()):
        path.rename(kept / path.name)
    return kept


def _torchvision_pictures(chosen: TorchvisionSet, store: Path, draft: Path, say: Say) -> Path:
    """The same of a set of torchvision's."""
    from raytl.data.torchvision_sets import write_torchvision_set

    return write_torchvision_set(chosen, store, draft, say)
