"""Where pictures and their labels come from: class folders, split folders, or a table of paths and labels.

Nothing is opened here: whether a file is a picture is `raytl.data.scan`'s business.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raytl.class_map import class_map_problems
from raytl.data.listing import LISTING_SUFFIXES, read_listing
from raytl.errors import DataError

SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "valid": "val", "test": "test"}
PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"),
)
_LITTER = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir"))  # hidden names are litter too
_EXAMPLES = 5  # chosen: how many paths an error names


@dataclass(frozen=True)
class Found:
    """One file that is said to be a picture of class `label`; `split` is train, val, test or None (to be drawn).

    Pictures of one `group` are drawn into the same split.
    """

    path: Path
    label: str
    split: str | None = None
    group: str | None = None


def find(source: Path) -> list[Found]:
    """All files of a data set, in a fixed order; nothing is opened.

    `source` is a folder `class/*.jpg` (folders inside a class belong to it), a folder `{train,val,test}/class/*.jpg`
    (`validation` and `valid` mean val), or a CSV or Parquet file with the columns path and label, optionally split
    and group; its relative paths start at the file's own folder. Litter (hidden files, Thumbs.db) is passed over;
    everything else in a class folder is found, so that the scan can say what is wrong with it. Folders are never
    entered through links.

    Raises:
        DataError: nothing there, no class, one class, an empty class, two classes whose names look the same, a class
            in val or test that train lacks; all of them at once. Or what this user may not read.
    """
    found, problems = _found_in(source)
    problems += [*_class_problems(found), *(_mixed_problems(found) or _split_problems(found))]
    if problems:
        raise DataError(*_told(problems, source))
    return found


def find_all(sources: Sequence[Path], class_map: Mapping[str, str]) -> list[Found]:
    """All files of several data sets, classes matched by name, then grouped by `class_map` where there is one.

    What `find` asks of a data set's classes is asked of all together: one of them may lack what another has.

    Raises:
        DataError: as `find` does; where some have splits and some have none; where classes and map do not fit.
    """
    found = find(sources[0]) if len(sources) == 1 else _find_together(sources)
    problems = class_map_problems(class_map, {item.label for item in found})
    if problems:
        raise DataError(*problems)
    return [replace(item, label=class_map.get(item.label, item.label)) for item in found]


def _find_together(sources: Sequence[Path]) -> list[Found]:
    found: list[Found] = []
    problems: list[str] = []
    for source in sources:
        try:
            more, worse = _found_in(source)
            problems += _told([*worse, *_mixed_problems(more)], source)
            found += more
        except DataError as error:
            problems += error.problems
    if not problems:
        problems += _told(_class_problems(found), *sources)
        if _mixed_problems(found):
            problems.append("some of these data sets have splits and some have none; give all of them splits, or none")
        else:
            problems += _told(_split_problems(found), *sources)
    if problems:
        raise DataError(*problems)
    return found


def _found_in(source: Path) -> tuple[list[Found], list[str]]:
    source = Path(source).absolute()
    try:
        return _listed(source)
    except OSError as error:
        place = printable(os.fsdecode(error.filename or source))
        raise DataError(
            f"{place}: cannot be read ({error.strerror or error}); make it readable for this user, or name other "
            "pictures"
        ) from error


def _listed(source: Path) -> tuple[list[Found], list[str]]:
    if source.is_dir():
        return _from_folder(source)
    if source.is_file() and source.suffix.lower() in LISTING_SUFFIXES:
        return _from_listing(source)
    if source.exists():
        return [], ["neither a folder nor a .csv or .parquet file; name one of these"]
    return [], ["nothing is there; name a folder of class folders, a CSV or a Parquet file"]


def _told(problems: Sequence[str], *sources: Path) -> list[str]:
    names = " and ".join(printable(Path(source).absolute()) for source in sources)
    return [f"{names}: {problem}" for problem in problems]


def root_of(sources: Sequence[Path]) -> Path:
    """The folder that the paths of a data set, or of several together, are relative to."""
    whole = [Path(source).absolute() for source in sources]
    return Path(os.path.commonpath([each if each.is_dir() else each.parent for each in whole]))


def printable(text: str | Path) -> str:
    """`text` with backslashes, control characters and undecodable bytes written as escapes; `original` undoes it."""
    return "".join(_escape(character) for character in str(text))


def original(text: str) -> str:
    """The text that `printable` was given."""
    return re.sub(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", _unescape, text)


def name_of(path: Path, root: Path) -> str:
    """How tables write a file: printable, with forward slashes, relative to `root` or, outside it, absolute."""
    return printable(path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix())


def path_of(name: str, root: Path) -> Path:
    """The file that `name_of` wrote."""
    return root / original(name)


def is_picture_name(name: str) -> bool:
    """Whether the suffix is one of a known kind of picture, in any case."""
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is what systems leave about: hidden ones, Thumbs.db and their like."""
    return name.startswith(".") or name.lower() in _LITTER


def _escape(character: str) -> str:
    code = ord(character)
    if character == "\\":
        return "\\\\"
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
    return character


def _unescape(match: re.Match[str]) -> str:
    body = match.group(1)
    if body == "\\":
        return body
    code = int(body[1:], 16)
    return chr(0xDC00 + code) if body[0] == "x" else chr(code)


def _from_folder(source: Path) -> tuple[list[Found], list[str]]:
    folders, problems = _folders(source)
    splits = [folder for folder in folders if folder.name.lower() in SPLIT_NAMES]
    if not _are_splits(folders, splits, problems):
        return _from_classes(source, None, problems)
    found: list[Found] = []
    for folder in splits:
        more, worse = _from_classes(folder, SPLIT_NAMES[folder.name.lower()], [])
        found += more
        problems += [f"{folder.name}: {problem}" for problem in worse]
    return found, problems


def _are_splits(folders: Sequence[Path], splits: Sequence[Path], problems: list[str]) -> bool:
    """Whether the folders are splits; one class may be called `train` where other classes stand beside it."""
    names = [SPLIT_NAMES[folder.name.lower()] for folder in splits]
    if not names or (len(names) == 1 and len(folders) > 1):
        return False
    problems += [f"{count} folders mean {name}; keep one" for name, count in Counter(names).items() if count > 1]
    if "train" not in names:
        problems.append(f"there is {' and '.join(names)} but no train folder; add train/<class>/")
    others = [printable(folder.name) for folder in folders if folder not in splits]
    if others:
        problems.append(f"{', '.join(others)} beside {', '.join(folder.name for folder in splits)}; move it elsewhere")
    return True


def _from_classes(source: Path, split: str | None, problems: list[str]) -> tuple[list[Found], list[str]]:
    found: list[Found] = []
    folders, linked = _folders(source)
    problems = [*dict.fromkeys([*problems, *linked])]
    if not folders:
        problems.append("no class folder in it; put the pictures into one folder per class")
    for folder in folders:
        files = [Found(path, printable(folder.name), split) for path in _files(folder)]
        found += files
        if not files:
            problems.append(f"class {printable(folder.name)!r} is empty; add pictures or remove the folder")
    return found, problems


def _folders(source: Path) -> tuple[list[Path], list[str]]:
    """Visible folders by name, and a problem for each link to a folder, as those are never followed."""
    entries = [entry for entry in _entries(source) if entry.is_dir()]
    links = [entry.name for entry in entries if entry.is_symlink()]
    folders = [Path(entry.path) for entry in entries if not entry.is_symlink()]
    return folders, [f"folder {printable(name)!r} is a link; links to folders are not followed" for name in links]


def _files(folder: Path) -> Iterator[Path]:
    """Everything in `folder` and below that is no litter; what cannot be entered is itself yielded."""
    try:
        entries = _entries(folder)
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and not is_picture_name(entry.name):
            yield from _files(Path(entry.path))
        else:
            yield Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        kept = [entry for entry in entries if not is_litter(entry.name)]
    return sorted(kept, key=lambda entry: entry.name)


def _from_listing(source: Path) -> tuple[list[Found], list[str]]:
    found, problems = [], []
    for number, (path, label, split, group) in enumerate(read_listing(source), start=1):
        if not path or not label:
            problems.append(f"row {number}: {'path' if not path else 'label'} is empty; every row needs both")
        elif split is not None and split.lower() not in SPLIT_NAMES:
            problems.append(f"row {number}: split={printable(split)!r}; must be train, val or test")
        else:
            name = None if split is None else SPLIT_NAMES[split.lower()]
            found.append(Found(root_of([source]) / path, printable(label), name, group and printable(group)))
    counts = Counter(Path(os.path.normpath(item.path)) for item in found)
    twice = [printable(path) for path, count in counts.items() if count > 1]
    if twice:
        problems.append(f"{len(twice)} files are listed more than once, such as {', '.join(twice[:_EXAMPLES])}")
    more = len(problems) - _EXAMPLES
    return found, problems[:_EXAMPLES] + ([f"and {more} more problems of this kind"] if more > 0 else [])


def _class_problems(found: Sequence[Found]) -> list[str]:
    labels = {item.label for item in found}
    alone = [f"only one class, {label!r}; a classifier needs two at least" for label in labels if len(labels) == 1]
    return [*alone, *(f"classes {' and '.join(names)} are written alike; rename one" for names in _twins(labels))]


def _mixed_problems(found: Sequence[Found]) -> list[str]:
    is_mixed = {item.split for item in found} > {None}
    return ["some pictures have a split and some have none; give every picture one, or none"] * is_mixed


def _split_problems(found: Sequence[Found]) -> list[str]:
    splits = {str(item.split) for item in found if item.split is not None}
    if splits and "train" not in splits:
        return [f"there are only pictures of {', '.join(sorted(splits))}; train has none"]
    return _strangers(found) if splits else []


def _twins(labels: set[str]) -> list[list[str]]:
    """Labels that differ only in how Unicode composes them; case twins (letters) are classes of their own."""
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        groups.setdefault(unicodedata.normalize("NFC", label), []).append(f"{label!r} ({label!a})")
    return [names for names in groups.values() if len(names) > 1]


def _strangers(found: Sequence[Found]) -> list[str]:
    known = {item.label for item in found if item.split == "train"}
    strange = sorted({(str(item.split), item.label) for item in found} - {(s, k) for s in SPLIT_NAMES for k in known})
    return [f"class {label!r} is in {split} but not in train; add it to train or remove it" for split, label in strange]
