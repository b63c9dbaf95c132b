"""What all benchmarks share: two arms run in turn, figures held against goals, one table, one Parquet file.

A benchmark makes `Finding`s and hands them to `conclude`. A figure is mostly the ratio of two arms that ran in turn in
one process tree (A B A B ...), so that a machine that is busy for a while slows both.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "bench"  # ignored by git; what is kept is copied into results/reference by hand
SHORT_SECONDS = 60.0
PAIRS, LONG_PAIRS = 5, 2  # as the goals were set: at least five pairs of arms under a minute, else two
QUICK_PAIRS = 1  # chosen: enough to see that a program runs
QUICK_NOTE = "--quick: fewer pairs and less work; these figures show only that the program runs"

Arm = Callable[[], float]
"""Runs once and returns what is measured: seconds, unless the benchmark says otherwise."""


@dataclass(frozen=True)
class Goal:
    """What a figure must reach, or must not exceed."""

    bound: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether `value` keeps the bound; a NaN never does."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass(frozen=True)
class Taken:
    """What two arms took in each of their turns."""

    a: tuple[float, ...]
    b: tuple[float, ...]

    @property
    def a_over_b(self) -> tuple[float, ...]:
        """A / B of each pair."""
        return tuple(a / b for a, b in zip(self.a, self.b, strict=True))

    @property
    def b_over_a(self) -> tuple[float, ...]:
        """B / A of each pair."""
        return tuple(b / a for a, b in zip(self.a, self.b, strict=True))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of a benchmark's table.

    `figure` says what `values` are (`A/B`, `seconds`, ...), one for each pair or repetition; their median is held
    against `goal`, or is only shown where that is None. `a` and `b` are what the arms took, in `unit`. `check` is the
    accuracy check in words; a figure whose check failed does not count.
    """

    measure: str
    case: str
    figure: str
    values: tuple[float, ...]
    goal: Goal | None = None
    unit: str = "s"
    a: tuple[float, ...] = ()
    b: tuple[float, ...] = ()
    check: str = ""
    check_passed: bool = True

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """`yes` or `no` for the goal, `check failed`, or `-` where there is no goal."""
        if not self.check_passed:
            return "check failed"
        if self.goal is None:
            return "-"
        return "yes" if self.goal.met(self.median) else "no"


def parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have; `name` is that of the Parquet file."""
    made = argparse.ArgumentParser(
        allow_abbrev=False, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="fewer pairs and less work, to see that the program runs")
    made.add_argument("--out", type=Path, default=RESULTS / f"{name}.parquet", help="default: %(default)s")
    return made


def timed(work: Callable[[], object]) -> Arm:
    """An arm that does `work` and takes its wall time in seconds."""

    def arm() -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return arm


def take_turns(a: Arm, b: Arm, quick: bool = False) -> Taken:
    """Runs A B A B ...: five pairs where an arm takes under a minute by the clock, else two; one if `quick`."""
    taken: list[tuple[float, float]] = []
    longest = 0.0
    while len(taken) < pair_count(longest, quick):
        pair = []
        for arm in (a, b):
            begin = time.perf_counter()
            pair.append(arm())
            longest = max(longest, time.perf_counter() - begin)
        taken.append((pair[0], pair[1]))
    return Taken(*(tuple(side) for side in zip(*taken, strict=True)))


def pair_count(longest_seconds: float, quick: bool) -> int:
    """How many pairs are to be run, where the longest turn so far took `longest_seconds`."""
    if quick:
        return QUICK_PAIRS
    return PAIRS if longest_seconds < SHORT_SECONDS else LONG_PAIRS


def conclude(findings: Sequence[Finding], options: argparse.Namespace) -> None:
    """Prints the findings' table and writes their Parquet file."""
    if options.quick:
        print(QUICK_NOTE)
    print(markdown(findings))
    write(findings, options.out, options.quick)
    print(f"\n{options.out} ({machine()}, {commit()})", flush=True)


def refuse(sentence: str) -> SystemExit:
    """The end of a benchmark that cannot run here, in one line; exit code 2. To be raised."""
    print(sentence, file=sys.stderr)
    return SystemExit(2)


def markdown(findings: Iterable[Finding]) -> str:
    """A Markdown table, one row for each finding."""
    lines = ["| # | case | A | B | figure | median [range] | n | goal | met | check |", "|---" * 10 + "|"]
    return "\n".join([*lines, *("| " + " | ".join(_cells(finding)) + " |" for finding in findings)])


def _cells(finding: Finding) -> list[str]:
    low, high = min(finding.values), max(finding.values)
    return [
        finding.measure,
        finding.case,
        *(f"{number(statistics.median(side))} {finding.unit}" if side else "-" for side in (finding.a, finding.b)),
        finding.figure,
        f"{number(finding.median)} [{number(low)}, {number(high)}]",
        str(len(finding.values)),
        str(finding.goal) if finding.goal else "-",
        finding.verdict,
        finding.check or "-",
    ]


def number(value: float) -> str:
    """Three significant digits, or whole where there are more."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def write(findings: Sequence[Finding], out: Path, quick: bool) -> None:
    """Writes the findings, each with where, when and from what it was measured."""
    said = {
        "quick": quick,
        "machine": machine(),
        "load_average": os.getloadavg()[0],
        "versions": ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "ray", "pyarrow")),
        "command": said_command(sys.argv),
        "commit": commit(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    rows = [{**_columns(finding), **said} for finding in findings]
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=_schema(said)), out)


def _columns(finding: Finding) -> dict[str, object]:
    goal = str(finding.goal) if finding.goal else None
    return {**asdict(finding), "goal": goal, "median": finding.median, "verdict": finding.verdict}


def _schema(said: dict[str, object]) -> pa.Schema:
    texts = ("measure", "case", "figure", "unit", "check", "verdict", "goal")
    kinds = {bool: pa.bool_(), float: pa.float64(), str: pa.string()}
    return pa.schema(
        [
            *((name, pa.string()) for name in texts),
            *((name, pa.list_(pa.float64())) for name in ("values", "a", "b")),
            ("median", pa.float64()),
            ("check_passed", pa.bool_()),
            *((name, kinds[type(value)]) for name, value in said.items()),
        ]
    )


def read(out: Path) -> list[Finding]:
    """The findings that `write` wrote."""
    return [_finding(row) for row in pq.read_table(out).to_pylist()]


def _finding(row: dict[str, Any]) -> Finding:
    row = {name: value for name, value in row.items() if name in Finding.__dataclass_fields__}
    lists: dict[str, Any] = {name: tuple(row[name]) for name in ("values", "a", "b")}
    return Finding(**{**row, **lists, "goal": parse_goal(row["goal"])})


def parse_goal(text: str | None) -> Goal | None:
    """What `str(goal)` said."""
    if text is None:
        return None
    sign, bound = text.split()
    return Goal(float(bound), at_least=sign == ">=")


def machine() -> str:
    """Processor, usable cores and memory in words."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {cores} cores, {memory:.0f} GiB"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def said_command(words: Sequence[str]) -> str:
    """The command line as others would type it: the program from the repository's root, of other folders their names.

    Where a folder lies on the machine that measured is of no use to anybody else.
    """
    program, *options = (Path(word) for word in words)
    whole = program.resolve()
    named = str(whole.relative_to(ROOT)) if whole.is_relative_to(ROOT) else program.name
    return shlex.join(["python", named, *(word.name if word.is_absolute() else str(word) for word in options)])


def commit() -> str:
    """The commit of the code, with `-dirty` where it has changes."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return said.stdout.strip() if said.returncode == 0 else "not in a repository"
