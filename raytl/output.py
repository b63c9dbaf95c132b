"""What a person asked to see of a study: lines or a live table, the result alone, or JSON; and libraries' own words."""

from __future__ import annotations

from dataclasses import dataclass

LINES, QUIET, JSON = "lines", "quiet", "json"


@dataclass(frozen=True)
class Output:
    """`mode` is lines (a live table where there is a terminal), quiet or json; `verbose` shows what libraries say."""

    mode: str = LINES
    verbose: bool = False


SHOWN = Output()  # what a command shows where nothing is said
