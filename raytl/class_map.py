"""Classes grouped under other names: 36 kinds of food as fruit and vegetable, say."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from raytl.choice import nearest
from raytl.errors import ConfigError

COLUMNS = ("class", "group")


def read_class_map(path: Path) -> dict[str, str]:
    """The groups by class in a CSV file with the columns class and group.

    Raises:
        ConfigError: where the file cannot be read, lacks a column, or names a class twice or without a group.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            rows = [(row["class"], row["group"]) for row in reader] if not missing else []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"class map {str(path)!r}: cannot be read ({error}); give a CSV file") from error
    problems = [f"lacks the column {name}; it needs {' and '.join(COLUMNS)}" for name in missing]
    problems += [f"class {label!r} has no group" for label, group in rows if not group]
    problems += [
        f"class {label!r} stands there {n} times" for label, n in Counter(row[0] for row in rows).items() if n > 1
    ]
    if problems or not rows:
        raise ConfigError(*(f"class map {str(path)!r}: {problem}" for problem in problems or ["has no row"]))
    return dict(rows)


def class_map_problems(class_map: Mapping[str, str], classes: Collection[str]) -> list[str]:
    """What does not fit between a map (none: empty) and the classes of the pictures, a line each."""
    if not class_map:
        return []
    problems = [
        f"class map: {label!r} is no class of these pictures{nearest(label, tuple(classes))}"
        for label in class_map
        if label not in classes
    ]
    problems += [f"class map: class {label!r} has no group; add it" for label in sorted(set(classes) - set(class_map))]
    if not problems and len(set(class_map.values())) < 2:
        problems.append("class map: there is one group only; a classifier needs two at least")
    return problems
