"""Whether a final model is as often right as it says: its probabilities against its answers on test pictures.

The expected calibration error (Naeini, Cooper and Hauskrecht, AAAI 2015; here with bins of equal counts, as advised by
Nixon et al. 2019, arXiv:1904.01685) is above zero for a perfect model, too: bins are small, and answers right or wrong.
So it stands beside what a perfectly calibrated model with the same probabilities would show on as many pictures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raytl.results.stats import Interval, mean_interval, wilson_interval

BINS = 10  # chosen: of a test set of a few hundred pictures each bin has some tens
LEAST_IN_BIN = 5  # chosen: below it a bin tells nothing; there are fewer bins then
IMAGINED = 200  # chosen: perfect models, whose mean error then moves by less than a tenth of itself


@dataclass(frozen=True)
class Bin:
    """Test pictures of which a model is about equally sure: its mean probability, and how often it is right."""

    said: float
    right: Interval
    count: int


@dataclass(frozen=True)
class Calibration:
    """`excess`: mean probability of the predicted class less the accuracy, over pictures; above zero is too sure.

    `error` is the expected calibration error, mean over runs, and `perfect` what no error at all would show here.
    """

    pictures: int
    runs: int
    bins: tuple[Bin, ...]
    excess: Interval
    error: float
    perfect: float


def calibration(predictions: pa.Table, trial_ids: Sequence[str], seed: int = 0) -> Calibration | None:
    """The calibration of some runs (seeds of one recipe) on their test pictures; None where none is recorded."""
    rows = predictions.filter(pc.field("trial_id").isin(list(trial_ids)))
    if not len(rows):
        return None
    said = np.array([max(each) for each in rows["probabilities"].to_pylist()])
    right = pc.equal(rows["label"], rows["predicted"]).to_numpy().astype(float)
    runs, paths = rows["trial_id"].to_pylist(), rows["path"].to_pylist()
    places = _groups(runs)
    generator = np.random.default_rng(seed)
    errors = [expected_error(said[index], right[index]) for index in places]
    perfect = [_perfect_error(said[index], generator) for index in places]
    return Calibration(
        pictures=len(set(paths)),
        runs=len(places),
        bins=_bins(said, right, len(places)),
        excess=mean_interval([float((said - right)[index].mean()) for index in _groups(paths)]),
        error=float(np.mean(errors)),
        perfect=float(np.mean(perfect)),
    )


def expected_error(said: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The expected calibration error of (N,) probabilities and (..., N) answers, in bins of equal counts: (...)."""
    order = np.argsort(said, kind="stable")
    gaps = (said - right)[..., order]
    starts = [part[0] for part in np.array_split(np.arange(len(said)), _bin_count(len(said)))]
    error: np.ndarray = np.abs(np.add.reduceat(gaps, starts, axis=-1)).sum(axis=-1) / len(said)
    return error


def _perfect_error(said: np.ndarray, generator: np.random.Generator) -> float:
    return float(expected_error(said, generator.random((IMAGINED, len(said))) < said).mean())


def _bins(said: np.ndarray, right: np.ndarray, runs: int) -> tuple[Bin, ...]:
    """Runs are pooled; their answers to one picture are alike, so an interval is over pictures, not over answers."""
    found = []
    for index in np.array_split(np.argsort(said, kind="stable"), _bin_count(len(said))):
        count = max(1, round(len(index) / runs))
        share = float(right[index].mean())
        ends = wilson_interval(round(share * count), count)
        found.append(
            Bin(float(said[index].mean()), Interval(share, min(share, ends.low), max(share, ends.high)), count)
        )
    return tuple(found)


def _bin_count(answers: int) -> int:
    return max(1, min(BINS, answers // LEAST_IN_BIN))


def _groups(names: Sequence[str]) -> list[np.ndarray]:
    """The places of each name."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        places[name].append(place)
    return [np.array(each) for each in places.values()]
