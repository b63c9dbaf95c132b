"""What became of pictures between two looks at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from raytl.results.schemas import PictureRow

EXAMPLES = 3  # chosen: how many files a line names


def picture_changes(before: Iterable[PictureRow], after: Iterable[PictureRow]) -> list[str]:
    """A line for each kind of change among the pictures in use: added, removed, other content, class or split."""
    old, new = _used(before), _used(after)
    both = [path for path in old if path in new]
    kinds: tuple[tuple[str, Sequence[str]], ...] = (
        ("added", [path for path in new if path not in old]),
        ("removed or no longer usable", [path for path in old if path not in new]),
        ("with other content", _differing(both, old, new, lambda row: row.sha256)),
        ("of another class", _differing(both, old, new, lambda row: row.label)),
        ("in another split", _differing(both, old, new, lambda row: row.split)),
    )
    return [_line(paths, what) for what, paths in kinds if paths]


def _used(rows: Iterable[PictureRow]) -> dict[str, PictureRow]:
    return {row.path: row for row in rows if row.status != "bad" and row.split is not None}


def _differing(
    paths: Iterable[str],
    old: Mapping[str, PictureRow],
    new: Mapping[str, PictureRow],
    of: Callable[[PictureRow], str | None],
) -> list[str]:
    return [path for path in paths if of(old[path]) != of(new[path])]


def _line(paths: Sequence[str], what: str) -> str:
    shown = ", ".join(paths[:EXAMPLES]) + (", ..." if len(paths) > EXAMPLES else "")
    return f"{len(paths)} picture{'s' * (len(paths) > 1)} {what}: {shown}"
