"""An album: the checked, labelled and split pictures of one data set, small enough to send to every worker."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raytl.data.scan import examine
from raytl.data.sources import find_all, path_of, root_of
from raytl.data.split import assign_splits, crossing_copies, crossing_twins, derived_seed, has_all_splits
from raytl.data.suspects import label_conflicts, mark_suspects, near_copies
from raytl.errors import ConfigError, DataError
from raytl.results.schemas import SPLITS, PictureRow

MOST_BAD = 0.01  # share of a class's files that may be unusable without a word being asked
NO_MAP: Mapping[str, str] = {}
_EXAMPLES = 5  # chosen: how many files a message names


@dataclass(frozen=True)
class Album:
    """All files of a data set under one split.

    `pictures` has a row per file: those in use have a split and the status ok or suspect, the others say why not.
    `fingerprint` covers path, content, class and split of the pictures in use. `given` holds each row's split as the
    source had it, `near_copies` pairs of paths that look the same.
    """

    root: Path
    classes: tuple[str, ...]
    pictures: tuple[PictureRow, ...]
    fingerprint: str
    split_index: int = 0
    seed: int = 0
    given: tuple[str | None, ...] = ()
    near_copies: tuple[tuple[str, str], ...] = ()

    @property
    def used(self) -> tuple[PictureRow, ...]:
        """The pictures of all splits."""
        return tuple(row for row in self.pictures if row.status != "bad" and row.split is not None)

    def part(self, split: str) -> tuple[PictureRow, ...]:
        """The pictures of one split, in the order of the album."""
        return tuple(row for row in self.used if row.split == split)

    def counts(self) -> dict[str, dict[str, int]]:
        """Pictures in use by class and split."""
        found = Counter((row.label, row.split) for row in self.used)
        return {label: {split: found[label, split] for split in SPLITS} for label in self.classes}

    def path(self, row: PictureRow) -> Path:
        """The file of a row."""
        return path_of(row.path, self.root)

    def resplit(self, split_index: int) -> Album:
        """The same pictures under another split, without reading a file; a given test set stays as it is.

        Raises:
            ConfigError: where train, val and test were all given, so that there is only one split.
        """
        kept = [row.status != "bad" and row.split is not None for row in self.pictures]
        return _split(self, kept, split_index)


def open_album(
    source: Path | Sequence[Path],
    seed: int = 0,
    drop_suspect: bool = False,
    workers: int | None = None,
    allow_bad: bool = False,
    class_map: Mapping[str, str] = NO_MAP,
) -> Album:
    """Finds, decodes, checks and splits the pictures of `source` (see `sources.find`), each file read once.

    Several sources are taken together, classes matched by name; `class_map` groups classes under other names.

    Of copies across given splits, also scaled or compressed anew, those in the later one (train, val, test) are used.
    `workers`: threads, by default one per usable core. `drop_suspect` leaves suspects out; `allow_bad` goes on where
    more than 1% of a class cannot be used.

    Raises:
        DataError: as `find` and `assign_splits` do, and for classes with too many bad files.
    """
    sources = [source] if isinstance(source, Path) else list(source)
    root = root_of(sources)
    scanned = examine(find_all(sources, class_map), root, workers)
    rows = mark_suspects(scanned)
    _check_bad(rows, allow_bad)
    kept = [row.status == "ok" or (row.status == "suspect" and not drop_suspect) for row in rows]
    near = near_copies(scanned)
    rows, kept = _without_copies(rows, kept, near)
    album = Album(
        root=root,
        classes=tuple(sorted({row.label for row in rows})),
        pictures=rows,
        fingerprint="",
        seed=seed,
        given=tuple(row.split for row in rows),
        near_copies=near,
    )
    return _split(album, kept, 0)


def describe(album: Album) -> list[str]:
    """What a person should know of a data set, line by line: counts, bad files, suspects, copies, label conflicts."""
    lines = [_total(album), *(_class_line(label, counts) for label, counts in album.counts().items())]
    for status, title in (("bad", "cannot be used"), ("suspect", "suspect")):
        rows = [row for row in album.pictures if row.status == status]
        lines += [f"{len(rows)} {title}:"] * bool(rows)
        lines += [f"  {row.path}: {row.reason}{_dropped(row)}" for row in rows]
    return [*lines, *_copies(album), *_near(album)]


def _without_copies(
    rows: Sequence[PictureRow], kept: Sequence[bool], near: Sequence[tuple[str, str]]
) -> tuple[tuple[PictureRow, ...], list[bool]]:
    """The rows and which of them are kept, where pictures of one given split are copies of those of another."""
    candidates = [row if keep else None for row, keep in zip(rows, kept, strict=True)]
    same, alike = crossing_copies(candidates), crossing_twins(candidates, near)
    told = {place: f"looks the same as one in {other.split} ({other.path})" for place, other in alike.items()}
    told |= {place: f"the same bytes are in {other.split} ({other.path})" for place, other in same.items()}
    marked = tuple(
        replace(row, status="suspect", reason=told[place]) if place in told else row for place, row in enumerate(rows)
    )
    return marked, [keep and place not in told for place, keep in enumerate(kept)]


def _split(album: Album, kept: Sequence[bool], split_index: int) -> Album:
    """`album` with the kept pictures split anew from what the source gave."""
    rows = [replace(row, split=given) for row, given in zip(album.pictures, album.given, strict=True)]
    places = [place for place, keep in enumerate(kept) if keep]
    used = [rows[place] for place in places]
    _check_classes(album.classes, used)
    if split_index and has_all_splits(used):
        raise ConfigError(
            f"split {split_index}: the data gives train, val and test, so there is only split 0; "
            "put all pictures into one folder per class to draw several"
        )
    assigned = dict(zip(places, assign_splits(used, derived_seed(album.seed, split_index)), strict=True))
    pictures = tuple(assigned.get(place) or _unused(row) for place, row in enumerate(rows))
    return replace(album, pictures=pictures, split_index=split_index, fingerprint=_fingerprint(assigned.values()))


def _unused(row: PictureRow) -> PictureRow:
    """A bad file keeps the split it lies in, for the table; a dropped suspect loses it, which is how one tells."""
    return row if row.status == "bad" else replace(row, split=None)


def _fingerprint(rows: Iterable[PictureRow]) -> str:
    lines = sorted("\0".join((row.path, str(row.sha256), row.label, str(row.split))) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _check_bad(rows: Sequence[PictureRow], allow_bad: bool) -> None:
    problems = []
    counts = Counter(row.label for row in rows)
    for label, count in sorted(counts.items()):
        bad = [row for row in rows if row.label == label and row.status == "bad"]
        if len(bad) > MOST_BAD * count and not allow_bad:
            examples = "; ".join(f"{row.path}: {row.reason}" for row in bad[:_EXAMPLES])
            more = f"; and {len(bad) - _EXAMPLES} more" if len(bad) > _EXAMPLES else ""
            problems.append(
                f"class {label!r}: {len(bad)} of {count} files cannot be used, more than {MOST_BAD:.0%}; "
                f"mend or remove them, or go on without them with --allow-bad: {examples}{more}"
            )
    if problems:
        raise DataError(*problems)


def _check_classes(classes: Sequence[str], used: Sequence[PictureRow]) -> None:
    gone = sorted(set(classes) - {row.label for row in used})
    if gone:
        raise DataError(*(f"class {label!r} has no usable picture; add some or remove the class" for label in gone))


def _total(album: Album) -> str:
    files, used = len(album.pictures), len(album.used)
    unused = f" of {files} files" if files != used else ""
    return (
        f"{used} pictures{unused} in {len(album.classes)} classes, split {album.split_index}, data {album.fingerprint}"
    )


def _class_line(label: str, counts: dict[str, int]) -> str:
    parts = ", ".join(f"{split} {count}" for split, count in counts.items())
    return f"  {label}: {sum(counts.values())} ({parts})"


def _dropped(row: PictureRow) -> str:
    return " (left out)" if row.status == "suspect" and row.split is None else ""


def _copies(album: Album) -> list[str]:
    groups: dict[str, list[PictureRow]] = defaultdict(list)
    for row in album.used:
        groups[str(row.sha256)].append(row)
    copies = [rows for rows in groups.values() if len(rows) > 1]
    conflicts = label_conflicts(album.used)
    lines = []
    for rows in sorted(copies, key=lambda rows: rows[0].path):
        kind = "label conflict" if rows[0].sha256 in conflicts else "exact copies"
        lines.append(f"  {kind}: {', '.join(_place(row) for row in rows)}")
    return [f"{len(copies)} pictures are there more than once:", *lines] if copies else []


def _near(album: Album) -> list[str]:
    rows = {row.path: row for row in album.used}
    pairs = [(rows[one], rows[other]) for one, other in album.near_copies if one in rows and other in rows]
    lines = [f"  near copies{_relation(*pair)}: {', '.join(map(_place, pair))}" for pair in pairs]
    return [f"{len(pairs)} pairs of pictures look the same:", *lines] if pairs else []


def _relation(one: PictureRow, other: PictureRow) -> str:
    across = " across splits" if one.split != other.split else ""
    return across + (" under two labels" if one.label != other.label else "")


def _place(row: PictureRow) -> str:
    return f"{row.path} [{row.label}, {row.split}]"
