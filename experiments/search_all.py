"""The main job: searches every backbone of a study in parallel, confirms the best, and reports.

Command:   python experiments/search_all.py
           python experiments/search_all.py --data DIR [--weights DIR] [--backbones a,b] [--out DIR]
           python experiments/search_all.py STUDY_FILE [--NAME]
Hardware:  two processor cores, no GPU, no network; uses a GPU or a Ray cluster where there is one
Expected:  with no argument, three carried backbones on five kinds of drawn flowers; the README shows what it prints

With a file, its `STUDY = Study(...)` is run, or another that it holds: `--quick` runs its QUICK, `--as-published` its
AS_PUBLISHED. A file with a STAND_IN runs that where no `--data` is given. Other options are those of `raytl search`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from raytl.cli import main
from raytl.experiment_file import study_names
from raytl.options import EMBEDDED

STUDY = EMBEDDED


def run(file: str, words: list[str]) -> int:
    """What `python experiments/<study>.py` does with its words; returns the exit code."""
    return main(arguments([file, *words]))


def arguments(words: list[str]) -> list[str]:
    """The words of `raytl search` for the words after `search_all.py`: a study file may stand first."""
    if words and words[0].endswith(".py"):
        return ["search", *_study(words[0], words[1:])]
    return ["search", *_data_first(words)]


def _study(file: str, words: list[str]) -> list[str]:
    """`--study` for the study that the words choose, and the words that are left."""
    named = {f"--{name.lower().replace('_', '-')}": name for name in study_names(Path(file))}
    chosen = [named[word] for word in words if word in named]
    if not chosen and "STAND_IN" in named.values() and "--data" not in words:
        chosen = ["STAND_IN"]
    said = f"{file}:{chosen[0]}" if chosen else file
    return ["--study", said, *_data_first([word for word in words if word not in named])]


def _data_first(words: list[str]) -> list[str]:
    """`--data DIR`, once or several times, as the place that `raytl search` gives it."""
    if "--data" not in words[:-1]:
        return words
    at = words.index("--data")
    return [words[at + 1], *_data_first([*words[:at], *words[at + 2 :]])]


if __name__ == "__main__":
    sys.exit(main(arguments(sys.argv[1:])))
