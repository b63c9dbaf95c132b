"""The ladder against the flat policy on the same pictures: accuracy, and the time of the whole study.

Command:   python experiments/benchmarks/ladder.py --data DIR --weights DIR [--backbone mobilenetv2_100] [--seeds 5]
           [--quick] [--out FILE]
Hardware:  two processor cores, no network; pictures and the backbone's weights at hand
Minutes:   30
Expected:  on 750 pictures of flowers the ladder's accuracy is no worse, at a third of the time

Both studies are whole processes with empty caches, of as many trials and final models, on the same split. The
difference is paired over the test pictures, with the bootstrap over pictures and seeds that raytl's reports use.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from answers import difference, run_search
from measure import Finding, Goal, conclude, parser
from shown import split_folders

from raytl.data.album import open_album
from raytl.study import FLAT, LADDER

SEEDS = 5
THIRD = 3.0  # the goal: how many times as long the flat policy takes


def main() -> None:
    options = _parse()
    words = ["--weights", str(options.weights), "--backbones", options.backbone]
    words += ["--confirm-seeds", str(options.seeds), *(("--trials", "2", "--epochs", "1") if options.quick else ())]
    with tempfile.TemporaryDirectory() as name:
        folder = split_folders(open_album(options.data), Path(name) / "split")
        flat, ladder = (run_search(folder, Path(name) / each, [*words, "--policy", each]) for each in (FLAT, LADDER))
    low, value, high = difference(flat, ladder)
    check = f"accuracy {flat.accuracy:.3f} and {ladder.accuracy:.3f}, difference {value:+.3f} [{low:+.3f}, {high:+.3f}]"
    finding = Finding(
        measure="ladder",
        case=f"{options.backbone}, whole study, {options.seeds} seeds",
        figure="A/B",
        values=(flat.seconds / ladder.seconds,),
        goal=Goal(THIRD),
        a=(flat.seconds,),
        b=(ladder.seconds,),
        check=check,
        check_passed=high >= 0,
    )
    conclude([finding], options)


def _parse() -> argparse.Namespace:
    made = parser(__doc__, "ladder")
    made.add_argument("--data", type=Path, required=True, help="a folder of pictures")
    made.add_argument("--weights", type=Path, required=True, help="a folder that holds <backbone>.safetensors")
    made.add_argument("--backbone", default="mobilenetv2_100", help="default: %(default)s")
    made.add_argument("--seeds", type=int, default=SEEDS, help="final models of each (default: %(default)s)")
    return made.parse_args()


if __name__ == "__main__":
    main()
