"""Which pictures teach, which choose and which test: given splits are kept, others drawn by the pictures' content."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from raytl.data.grouped import draw_groups
from raytl.data.suspects import label_conflicts
from raytl.errors import DataError
from raytl.results.schemas import SPLITS, PictureRow

TEST_SHARE = VAL_SHARE = 0.15  # chosen: 70/15/15, and 15% of a given train set

Group = list[int]  # places of rows with the same bytes


def assign_splits(rows: Sequence[PictureRow], seed: int) -> tuple[PictureRow, ...]:
    """The rows, each usable one with its split; bad ones keep what they had.

    train, val and test given: as they are. train and val given: val becomes test and 15% of train becomes val; train
    and test given: likewise. Nothing given: 70/15/15. Drawn per class, by hash of content and seed, so that equal
    files stay together and a new picture moves few others; where pictures have groups, so that these stay together
    (`raytl.data.grouped`). A file that lies under several labels goes to train, where it cannot falsify a figure.

    Raises:
        DataError: for each class that has no picture in one of the splits, or too few different ones to draw from.
    """
    usable = [place for place, row in enumerate(rows) if row.status != "bad"]
    given = {rows[place].split for place in usable} - {None}
    renamed = {"val": "test"} if given == {"train", "val"} else {}
    splits: dict[int, str | None] = {place: renamed.get(row.split or "", row.split) for place, row in enumerate(rows)}
    if given == set(SPLITS):
        _require_all(rows, usable)
    elif given in ({"train", "val"}, {"train", "test"}):
        splits |= _draw(rows, [place for place in usable if splits[place] == "train"], {"val": VAL_SHARE}, seed)
        _require_all([replace(row, split=splits[place]) for place, row in enumerate(rows)], usable)
    else:
        splits |= _draw(rows, usable, {"test": TEST_SHARE, "val": VAL_SHARE}, seed)
    return tuple(replace(row, split=splits[place]) for place, row in enumerate(rows))


def has_all_splits(rows: Iterable[PictureRow]) -> bool:
    """Whether train, val and test are all given, so that nothing is left to draw."""
    return {row.split for row in rows if row.status != "bad"} >= set(SPLITS)


def derived_seed(seed: int, split_index: int) -> int:
    """The seed of split number `split_index`; split 0 is drawn by `seed` itself."""
    if split_index == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}/{split_index}".encode()).digest()[:4], "big")


def crossing_copies(rows: Sequence[PictureRow | None]) -> dict[int, PictureRow]:
    """By place, each picture of a given split whose bytes are in a later one (train, val, test), too, and one there.

    A picture that was learned says nothing about what was not, so the earlier split is to go without it. None stands
    for a picture that is left out anyway.
    """
    latest: dict[str, PictureRow] = {}
    for row in rows:
        if row is not None and row.split in SPLITS:
            known = latest.setdefault(str(row.sha256), row)
            if SPLITS.index(str(known.split)) < SPLITS.index(row.split):
                latest[str(row.sha256)] = row
    return {
        place: latest[str(row.sha256)]
        for place, row in enumerate(rows)
        if row is not None and row.split in SPLITS and latest[str(row.sha256)].split != row.split
    }


def crossing_twins(rows: Sequence[PictureRow | None], pairs: Iterable[tuple[str, str]]) -> dict[int, PictureRow]:
    """The same for pictures that only look the same: `pairs` of paths."""
    places = {row.path: place for place, row in enumerate(rows) if row is not None and row.split in SPLITS}
    twins: dict[int, PictureRow] = {}
    for pair in pairs:
        if all(path in places for path in pair):
            known = [(SPLITS.index(str(row.split)), places[path], row) for path in pair if (row := rows[places[path]])]
            (order, place, _), (later, _, other) = sorted(known, key=lambda each: each[:2])
            if order < later:
                twins.setdefault(place, other)
    return twins


def _draw(
    rows: Sequence[PictureRow], places: Sequence[int], shares: Mapping[str, float], seed: int
) -> dict[int, str | None]:
    conflicts = label_conflicts([rows[place] for place in places])
    if any(rows[place].group for place in places):
        return _draw_grouped(rows, places, conflicts, shares, seed)
    classes: dict[str, dict[str, Group]] = defaultdict(lambda: defaultdict(list))
    for place in places:
        classes[rows[place].label][rows[place].sha256 or rows[place].path].append(place)
    problems: list[str] = []
    drawn: dict[int, str | None] = dict.fromkeys(places, "train")
    for label, contents in sorted(classes.items()):
        free = sorted((digest for digest in contents if digest not in conflicts), key=lambda text: _rank(text, seed))
        if len(free) < len(shares) or len(contents) <= len(shares):
            problems.append(_too_few(label, contents, free, shares))
        else:
            drawn |= _cut(
                [contents[digest] for digest in free], sum(map(len, contents.values())), len(contents), shares
            )
    if problems:
        raise DataError(*problems)
    return drawn


def _draw_grouped(
    rows: Sequence[PictureRow], places: Sequence[int], conflicts: Container[str], shares: Mapping[str, float], seed: int
) -> dict[int, str | None]:
    drawn = dict.fromkeys(places, "train") | draw_groups(rows, places, conflicts, shares, seed)
    _require_all([replace(rows[place], split=drawn[place]) for place in places], range(len(places)), ("train", *shares))
    return drawn


def _rank(content: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{content}".encode()).digest()


def _cut(groups: list[Group], count: int, contents: int, shares: Mapping[str, float]) -> dict[int, str | None]:
    """Takes each share of `count` pictures off the groups in order; a group is never divided.

    One group at least is left for every split that follows and, where all `contents` are free to take, for train.
    """
    taken: dict[int, str | None] = {}
    left = groups
    spare = int(contents == len(groups))
    for number, (split, share) in enumerate(shares.items()):
        later = len(shares) - number - 1 + spare
        chosen, left = _fill(left, max(1, round(share * count)), len(left) - later)
        taken |= {place: split for group in chosen for place in group}
    return taken


def _fill(groups: Sequence[Group], target: int, most: int) -> tuple[list[Group], list[Group]]:
    """The groups in order that fit into `target` pictures, at most `most` (the smallest if none fits), and the rest."""
    chosen: list[Group] = []
    rest: list[Group] = []
    room = target
    for group in groups:
        fits = len(group) <= room and len(chosen) < most
        (chosen if fits else rest).append(group)
        room -= len(group) * fits
    if not chosen:
        smallest = min(range(len(rest)), key=lambda place: len(rest[place]))
        chosen.append(rest.pop(smallest))
    return chosen, rest


def _too_few(label: str, contents: Mapping[str, Group], free: Sequence[str], shares: Mapping[str, float]) -> str:
    names = ["train", *sorted(shares, key=SPLITS.index)]
    total = sum(map(len, contents.values()))
    different = f"{len(contents)} different" if len(contents) != total else str(total)
    shared = f", {len(contents) - len(free)} of them also in another class" if len(free) < len(contents) else ""
    return (
        f"class {label!r} has {different} picture{'' if len(contents) == 1 else 's'}{shared}; "
        f"{len(names)} at least are needed, one each for {', '.join(names)}"
    )


def _require_all(rows: Sequence[PictureRow], usable: Sequence[int], splits: Sequence[str] = SPLITS) -> None:
    """Raises where a class lacks a picture in one of the splits."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    for place in usable:
        counts[rows[place].label][str(rows[place].split)] += 1
    problems = [
        f"class {label!r} has no usable picture in {split} (it has {sum(found.values())} in all); add one at least"
        for label, found in sorted(counts.items())
        for split in SPLITS
        if split in splits and found[split] == 0
    ]
    if problems:
        raise DataError(*problems)
