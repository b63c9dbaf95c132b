"""The state of the pictures behind a study, as plain facts from the table of pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from raytl.results.schemas import SPLITS

USABLE = ("ok", "suspect")


@dataclass(frozen=True)
class Finding:
    """A picture with something to say about it."""

    path: str
    label: str
    split: str | None
    reason: str


@dataclass(frozen=True)
class Copies:
    """Files with the same content; worse where they lie in several splits or under several classes."""

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Health:
    """`counts` holds usable pictures by class and split; `splits` the splits in their order."""

    counts: Mapping[str, Mapping[str, int]]
    splits: tuple[str, ...]
    bad: tuple[Finding, ...]
    suspects: tuple[Finding, ...]
    copies: tuple[Copies, ...]

    def total(self, split: str) -> int:
        """Usable pictures of one split."""
        return sum(counts.get(split, 0) for counts in self.counts.values())

    @property
    def across_splits(self) -> tuple[Copies, ...]:
        """Copies that make a test or validation figure too good."""
        return tuple(copies for copies in self.copies if len(copies.splits) > 1)

    @property
    def across_classes(self) -> tuple[Copies, ...]:
        """Copies of which at most one is labelled rightly."""
        return tuple(copies for copies in self.copies if len(copies.classes) > 1)


def check_health(data: pa.Table) -> Health:
    """Counts, findings and copies in the table of pictures."""
    columns = [data[name].to_pylist() for name in ("path", "class", "split", "status", "reason", "sha256")]
    rows = list(zip(*columns, strict=True))
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    contents: defaultdict[str, list[Finding]] = defaultdict(list)
    findings: defaultdict[str, list[Finding]] = defaultdict(list)
    for path, label, split, status, reason, sha256 in rows:
        finding = Finding(path, label, split, reason or "")
        findings[status].append(finding)
        if status in USABLE and split:
            counts[label][split] += 1
        if status in USABLE and sha256:
            contents[sha256].append(finding)
    return Health(
        counts={label: dict(counts[label]) for label in sorted(counts)},
        splits=_ordered({split for by_split in counts.values() for split in by_split}),
        bad=tuple(findings["bad"]),
        suspects=tuple(findings["suspect"]),
        copies=tuple(_copies(files) for files in contents.values() if len(files) > 1),
    )


def _copies(files: Sequence[Finding]) -> Copies:
    return Copies(
        paths=tuple(file.path for file in files),
        classes=tuple(sorted({file.label for file in files})),
        splits=_ordered({file.split for file in files if file.split}),
    )


def _ordered(splits: set[str]) -> tuple[str, ...]:
    return tuple(sorted(splits, key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)))
