"""Where a machine keeps what frozen prefixes make of pictures. Imports no torch: it travels with every job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PrefixCache:
    """A folder for activations of frozen prefixes, and how many bytes may lie in it.

    `sharers` is the number of runs that are expected to read an entry: what none will read again is not kept.
    """

    folder: Path
    limit_bytes: int
    sharers: int = 1
