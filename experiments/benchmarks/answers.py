"""What a whole search came to: the test pictures that its final models got right, and the time it took.

Not a benchmark: `peers.py` and `ladder.py` are made of it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from arms import CACHE, run_command
from torchvision import datasets

from raytl.metric import METRICS
from raytl.results.facts import final_models
from raytl.results.folder import StudyFolder
from raytl.results.stats import paired_difference
from raytl.results.tables import load_tables, prediction_rows


@dataclass(frozen=True)
class Answer:
    """What an arm came to: `correct` (S, N) bool over seeds and test pictures in the order of their names; seconds."""

    correct: np.ndarray
    seconds: float

    @property
    def accuracy(self) -> float:
        """The mean over seeds."""
        return float(self.correct.mean())


def run_search(folder: Path, place: Path, words: list[str]) -> Answer:
    """`raytl search` on train/, val/ and test/ in `folder`, with empty caches; the recipe that it chose itself."""
    os.environ[CACHE] = str(place / "cache")
    begin = time.perf_counter()
    run_command(["--data", str(folder), "--out", str(place / "study"), *words])
    return Answer(read(place / "study", paths_of_test_pictures(folder)), time.perf_counter() - begin)


def difference(a: Answer, b: Answer) -> tuple[float, float, float]:
    """Accuracy of `b` less that of `a` on the same pictures: lower end of the interval, difference, upper end."""
    found = paired_difference(b.correct, a.correct)
    return found.low, found.value, found.high


def paths_of_test_pictures(folder: Path) -> list[str]:
    """The test pictures in the order in which `ImageFolder` has them."""
    samples = datasets.ImageFolder(str(folder / "test")).samples
    return [str(Path(path).relative_to(folder)) for path, _ in samples]


def read(study: Path, paths: list[str]) -> np.ndarray:
    """Right or wrong (S, N) of the final models of the chosen recipe, picture by picture in the order of `paths`."""
    tables = load_tables(StudyFolder(study))
    chosen = final_models(tables, METRICS["val_accuracy"])[0].trial_ids
    by_trial: dict[str, dict[str, bool]] = {name: {} for name in chosen}
    for row in prediction_rows(tables.predictions):
        if row.trial_id in by_trial:
            by_trial[row.trial_id][row.path] = row.predicted == row.label
    return np.array([[right[path] for path in paths] for right in by_trial.values()])
