"""Accuracy for the same time: an Optuna notebook, Ray's documented search and a linear probe against `raytl search`.

Command:   python experiments/benchmarks/peers.py --data DIR --weights DIR [--backbone mobilenetv2_100]
           [--seconds 360] [--seeds 3] [--quick] [--out FILE]
Hardware:  two processor cores, no network; pictures and the backbone's weights at hand
Minutes:   60
Expected:  `raytl search --time` is better than the notebook, Ray's documented search and the linear probe, in less
           time than the first two, and half the time is enough to equal the probe

All arms see the same split and the same weights at 224 pixels, and read the test pictures once per final model, of
which there is one for each seed. The notebook (`notebook.py`) and the documented search (`documented.py`) train all
stages; the seconds of the first end with its first final model, those of the second with its search. The probe is
scikit-learn's logistic regression over the backbone's features of the plain pictures, with all settings as they come.
raytl's model is that of the recipe which its study chose by validation. Differences are paired over the test pictures,
with the bootstrap over pictures and seeds that raytl's reports use.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from answers import Answer, difference, run_search
from arms import run_json
from measure import Finding, Goal, conclude, parser
from plain import features_of, make_model
from shown import split_folders
from sklearn.linear_model import LogisticRegression

from raytl.data.album import open_album

SECONDS, SEEDS = 360, 3
QUICK_SECONDS = 60


def main() -> None:
    options = _parse()
    seconds = QUICK_SECONDS if options.quick else options.seconds
    with tempfile.TemporaryDirectory() as name:
        folder = split_folders(open_album(options.data), Path(name) / "split")
        answers = {
            "notebook": peer("notebook.py", folder, options),
            "documented": peer("documented.py", folder, options),
            "probe": probe(folder, options),
            f"raytl {seconds} s": ours(folder, Path(name) / "whole", seconds, options),
            f"raytl {seconds // 2} s": ours(folder, Path(name) / "half", seconds // 2, options),
        }
    conclude(findings_of(answers, seconds), options)


def _parse() -> argparse.Namespace:
    made = parser(__doc__, "peers")
    made.add_argument("--data", type=Path, required=True, help="a folder of pictures")
    made.add_argument("--weights", type=Path, required=True, help="a folder that holds <backbone>.safetensors")
    made.add_argument("--backbone", default="mobilenetv2_100", help="default: %(default)s")
    made.add_argument("--seconds", type=int, default=SECONDS, help="limit for raytl (default: %(default)s)")
    made.add_argument("--seeds", type=int, default=SEEDS, help="final models of each arm (default: %(default)s)")
    return made.parse_args()


def peer(program: str, folder: Path, options: argparse.Namespace) -> Answer:
    """One of the other searches, in a process of its own."""
    words = ["--backbones", options.backbone, "--weights", str(options.weights), "--seeds", str(options.seeds)]
    words += ["--trials", "2" if options.quick else "8", "--epochs", "1" if options.quick else "6"]
    said = run_json(program, folder, [*words, *(("--asha",) if program == "documented.py" else ())])
    return Answer(np.array(said["correct"], dtype=bool), said["seconds"])


def probe(folder: Path, options: argparse.Namespace) -> Answer:
    """Logistic regression over frozen features."""
    begin = time.perf_counter()
    model = make_model(options.backbone, options.weights, class_count=0)
    x, y = features_of(model, folder / "train")
    x_test, y_test = features_of(model, folder / "test")
    fitted = LogisticRegression(max_iter=1000).fit(x, y)
    return Answer((fitted.predict(x_test) == y_test)[None], time.perf_counter() - begin)


def ours(folder: Path, place: Path, seconds: int, options: argparse.Namespace) -> Answer:
    """`raytl search` within so many seconds."""
    words = ["--weights", str(options.weights), "--backbones", options.backbone]
    words += ["--time", f"{seconds}s", "--confirm-seeds", str(options.seeds)]
    return run_search(folder, place, words)


def findings_of(answers: Mapping[str, Answer], seconds: int) -> list[Finding]:
    """raytl's accuracy less each other's; half the time is held against the probe alone."""
    shown = ", ".join(f"{name} {answer.accuracy:.3f} in {answer.seconds:.0f} s" for name, answer in answers.items())
    whole, half = f"raytl {seconds} s", f"raytl {seconds // 2} s"
    pairs = [(whole, "notebook"), (whole, "documented"), (whole, "probe"), (half, "probe")]
    return [_finding(answers, b, a, shown if index == 0 else "") for index, (b, a) in enumerate(pairs)]


def _finding(answers: Mapping[str, Answer], b: str, a: str, shown: str) -> Finding:
    within = answers[b].seconds <= float(b.split()[1])
    return Finding(
        measure="peers",
        case=f"{b} less {a}",
        figure="test accuracy B - A [95%]",
        values=difference(answers[a], answers[b]),
        goal=Goal(0.0),
        a=(answers[a].seconds,),
        b=(answers[b].seconds,),
        check="; ".join(filter(None, [shown, "" if within else "over its time"])),
        check_passed=within,
    )


if __name__ == "__main__":
    main()
