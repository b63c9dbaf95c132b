"""Where the pictures of a study lie: in a folder, in a table's files, in an archive, or in an embedded sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raytl.choice import nearest
from raytl.data.archive import is_archive, unpacked
from raytl.data.draft import WRITING, draft_of, sweep
from raytl.data.public import public_names
from raytl.data.samples import sample_names, write_sample
from raytl.errors import EMPTY_DATA, DataError, StorageError, system_problem


def locate(data: str, cache: Path) -> Path:
    """The pictures that `data` names: a folder, a table, an archive (unpacked once), or a sample (written once).

    `drawn-flowers:20` is a sample with so many pictures a class.

    Raises:
        DataError: where it is neither; a near sample name is offered.
    """
    if not data.strip():
        raise DataError(EMPTY_DATA)  # as a path it would be the working folder
    path = Path(data)
    if path.is_file() and is_archive(path):
        return unpacked(path, cache / "archives")
    if path.exists():
        return path.resolve()
    name, colon, count = data.partition(":")
    if name in sample_names() and (not colon or count.isdecimal()):
        folder = cache / "samples" / data.replace(":", "-")
        sweep(folder.parent)
        return folder if folder.is_dir() else _write_whole(name, int(count) if colon else None, folder)
    if data in public_names():
        raise DataError(f"data {data!r}: not fetched yet; type `raytl data fetch {data}` and give the folder it names")
    samples = ", ".join(sample_names())
    raise DataError(
        f"data {data!r}: no such folder, table or sample{nearest(name, sample_names())}; "
        f"give a folder of class folders, a zip or tar archive of it, a CSV or Parquet file of path and label, or one "
        f"of {samples} (with a number of pictures a class: {sample_names()[0]}:20)"
    )


def kept_in_cache(data: Sequence[str]) -> tuple[str, ...]:
    """Those of `data` that `locate` makes in a machine's cache: archives, here with their whole path, and samples."""
    given = [(each, Path(each)) for each in data]
    return tuple(
        str(path.resolve()) if path.exists() else each
        for each, path in given
        if not path.exists() or (path.is_file() and is_archive(path))
    )


def _write_whole(sample: str, per_class: int | None, folder: Path) -> Path:
    """Writes a sample so that, killed at any moment, `folder` holds all of it or does not exist."""
    try:
        with draft_of(folder, WRITING) as draft:
            write_sample(sample, draft / "pictures", per_class)
            _name(draft / "pictures", folder)
    except (OSError, StorageError) as error:
        said = "; ".join((error if isinstance(error, StorageError) else system_problem(error, folder)).problems)
        raise StorageError(f"{said}; samples are written into the cache, which RAYTL_CACHE names") from error
    return folder


def _name(pictures: Path, folder: Path) -> None:
    try:
        pictures.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster; its pictures are the same
            raise
