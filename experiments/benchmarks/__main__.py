"""Runs the benchmarks S1 to S12 one after another and prints all figures with their goals in one table.

Command:   python experiments/benchmarks [S3 S7 ...] [--quick] [--out DIR] [--curves DIR]
           make bench ARGS="S3 S7"
Hardware:  two processor cores, no network; some programs use a GPU where there is one
Minutes:   80 for all of them on two cores, 15 with --quick
Expected:  every row says yes in the column `met`; S12 is left out where the recorded curves are not at hand

Each benchmark runs in a process of its own. Exit code 1 where one of them failed, else 0: a goal that is missed is a
figure, not an error.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from measure import QUICK_NOTE, RESULTS, markdown, read

PROGRAMS = {
    "S1": "study",
    "S2": "head_trials",
    "S3": "heads",
    "S4": "prefix",
    "S5": "input",
    "S6": "step",
    "S7": "orchestration",
    "S8": "warm_start",
    "S9": "recording",
    "S10": "ddp_workers",
    "S11": "tables",
    "S12": "policy",
}
CANNOT = 2  # exit code of a program that lacks something it needs


def main() -> int:
    options = _parse()
    codes = {name: _run(name, options) for name in options.measures or PROGRAMS}
    findings = [
        finding for name, code in codes.items() if code == 0 for finding in read(_file(options.out, PROGRAMS[name]))
    ]
    print(f"\n# All\n\n{QUICK_NOTE if options.quick else ''}\n{markdown(findings)}")
    for name, code in codes.items():
        if code:
            print(f"{name}: {'not run, see above' if code == CANNOT else f'failed with exit code {code}'}")
    return int(any(code not in (0, CANNOT) for code in codes.values()))


def _parse() -> argparse.Namespace:
    made = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("measures", nargs="*", metavar="S1..S12", help="default: all")
    made.add_argument("--quick", action="store_true", help="fewer pairs and less work, to see that the programs run")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of the Parquet files (default: %(default)s)")
    made.add_argument("--curves", type=Path, help="folder of the recorded curves that S12 replays")
    options = made.parse_args()
    unknown = [name for name in options.measures if name not in PROGRAMS]
    if unknown:
        made.error(f"{', '.join(unknown)}: must be among {', '.join(PROGRAMS)}")
    return options


def _run(name: str, options: argparse.Namespace) -> int:
    """Runs one program; what it prints is seen as it comes. Returns its exit code."""
    program = PROGRAMS[name]
    print(f"\n# {name}: {program}.py\n", flush=True)
    command = [sys.executable, str(Path(__file__).with_name(f"{program}.py")), "--out", _file(options.out, program)]
    command += ["--quick"] if options.quick else []
    command += ["--curves", options.curves] if name == "S12" and options.curves else []
    return subprocess.run([str(word) for word in command], check=False).returncode


def _file(folder: Path, program: str) -> Path:
    return folder / f"{program}.parquet"


if __name__ == "__main__":
    sys.exit(main())
