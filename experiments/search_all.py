"""The main job: searches every backbone of a study in parallel, confirms the best, and reports.

Command:   python experiments/search_all.py
           python experiments/search_all.py --data DIR [--weights DIR] [--backbones a,b] [--out DIR]
           python experiments/search_all.py STUDY_FILE
Hardware:  two processor cores, no GPU, no network; uses a GPU or a Ray cluster where there is one
Expected:  with no argument, three carried backbones on five kinds of drawn flowers; the README shows what it prints

With a file, its `STUDY = Study(...)` is run; the options are those of `raytl search`.
"""

from __future__ import annotations

import sys

from raytl.cli import main
from raytl.options import EMBEDDED

STUDY = EMBEDDED


def arguments(words: list[str]) -> list[str]:
    """The words of `raytl search` for the words after `search_all.py`: a study file may stand first."""
    if words and words[0].endswith(".py"):
        return ["search", "--study", words[0], *_data_first(words[1:])]
    return ["search", *_data_first(words)]


def _data_first(words: list[str]) -> list[str]:
    """`--data DIR` as the place that `raytl search` gives it."""
    if "--data" not in words[:-1]:
        return words
    at = words.index("--data")
    return [words[at + 1], *words[:at], *words[at + 2 :]]


if __name__ == "__main__":
    sys.exit(main(arguments(sys.argv[1:])))
