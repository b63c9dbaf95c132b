"""How sure a figure is: intervals over test pictures, seeds and splits. NumPy only; every interval is at 95%.

Accuracies come from a grid of right and wrong answers, S seeds by N test pictures, and both are samples: another
seed gives another model, another test set other pictures. Both are therefore resampled, independently of each
other (the pigeonhole bootstrap: Owen, Annals of Applied Statistics 1, 2007). Plain resampling is too sure of itself
at the two ends that matter here, and each has its published remedy:

- few seeds: S values resampled have too little variance by (S-1)/S, which the seeds' weights make up for, and the
  ends are those of a normal law, where Student's is due. They are widened by the ratio of the two at the effective
  degrees of freedom (Welch, Biometrika 34, 1947): many where pictures decide, S-1 where seeds do;
- few mistakes: 100 right out of 100 would give [1, 1]. A few imagined pictures join the sample, as in the adjusted
  intervals of Agresti and Coull (American Statistician 52, 1998) and, for pairs, of Agresti and Min (Statistics
  in Medicine 24, 2005). The figure itself is untouched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

CONFIDENCE = 0.95  # convention
NORMAL_QUANTILE = 1.959964  # of the standard normal law at 0.975
POWER_QUANTILE = 0.841621  # at 0.8: the usual chance of finding a difference that is there
RESAMPLES = 10_000  # chosen: the ends of an interval then move by about 2% of its width from seed to seed
MOST_DEGREES = 1000  # chosen: above it Student's law is the normal one to three digits
CHUNK_CELLS = 4_000_000  # chosen: at most about 100 MB at once
IMAGINED_ALONE = 2.0  # right, and as many wrong (Agresti and Coull)
IMAGINED_PAIRED = 0.5  # in each of the four cells of two models' answers (Agresti and Min)


@dataclass(frozen=True)
class Interval:
    """A figure and the two ends of its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is larger than the noise."""
        return self.low > 0 or self.high < 0

    @property
    def of_share(self) -> Interval:
        """The interval of a share: without what lies below 0 or above 1."""
        low, high = np.clip([self.low, self.high], 0.0, 1.0).tolist()
        return Interval(self.value, low, high)


def accuracy_interval(correct: np.ndarray, seed: int = 0) -> Interval:
    """Mean accuracy of one recipe over seeds and test pictures; with one seed over pictures alone.

    `correct`: (S, N) bool. `seed` is the resampling's own.

    Raises:
        ValueError: the grid is not two-dimensional, or empty.
    """
    _check(correct)
    imagined = [(np.full(len(correct), answer), IMAGINED_ALONE) for answer in (True, False)]
    return _bootstrap(correct.astype(bool), (len(correct),), imagined, seed)


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Interval:
    """Mean accuracy of `a` less that of `b` on the same test pictures.

    `a`: (Sa, N), `b`: (Sb, N) bool, column by column the same picture. Each resample takes the same pictures for
    both, and seeds separately: two recipes share nothing by sharing a seed, so pairing them would promise too much.
    Exchanging `a` and `b` changes the signs and nothing else.

    Raises:
        ValueError: a grid is not two-dimensional, or empty, or the pictures differ in number.
    """
    _check(a)
    _check(b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{a.shape[1]} and {b.shape[1]} pictures: a paired difference needs the same pictures")
    if (a.shape, a.tobytes()) > (b.shape, b.tobytes()):  # one order for both directions: the same random draws
        other = paired_difference(b, a, seed)
        return Interval(-other.value, -other.high, -other.low)
    groups = (len(a), len(b))
    cells = ((True, True), (True, False), (False, True), (False, False))
    imagined = [(np.repeat(cell, groups), IMAGINED_PAIRED) for cell in cells]
    return _bootstrap(np.concatenate([a, b]).astype(bool), groups, imagined, seed)


def independent_difference(a: Interval, b: Interval) -> Interval:
    """The difference of two figures that share no picture, from the interval of each.

    Newcombe's tenth method (Statistics in Medicine 17, 1998), which Zou and Donner (Statistics in Medicine 27, 2008)
    give for any two independent figures: each end lies as far out as the two ends that lead there do together. Where
    an end of `a` or `b` is not known (NaN), neither is that of the difference.
    """
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    return Interval(value, low, value + math.hypot(a.high - a.value, b.value - b.low))


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of a few independent figures by Student's t; one figure alone has no ends (both NaN).

    Raises:
        ValueError: there is no value.
    """
    return _t_interval(values, 0.0)


def over_splits(values: Sequence[float], test_count: int, train_count: int) -> Interval:
    """The mean of one figure (or difference) per random split of the same pictures.

    Splits share pictures, so their figures resemble each other and a plain t-interval is too narrow; its variance
    is enlarged by test over training pictures (Nadeau and Bengio, Machine Learning 52, 2003).

    Raises:
        ValueError: there is no value, or no training picture.
    """
    if train_count < 1:
        raise ValueError(f"train_count={train_count}: must be at least 1")
    return _t_interval(values, test_count / train_count)


def wilson_interval(correct: int, count: int) -> Interval:
    """A share of `count` pictures by Wilson's score (Journal of the American Statistical Association 22, 1927).

    Raises:
        ValueError: `count` is below 1 or `correct` is not between 0 and `count`.
    """
    if not 0 <= correct <= count or count < 1:
        raise ValueError(f"{correct} of {count}: a share needs 0 <= correct <= count and at least one picture")
    share, square = correct / count, NORMAL_QUANTILE**2
    center = (share + square / (2 * count)) / (1 + square / count)
    half = math.sqrt(share * (1 - share) / count + square / (4 * count**2)) * NORMAL_QUANTILE / (1 + square / count)
    return Interval(share, max(0.0, center - half), min(1.0, center + half))


def standard_error(share: float, count: int) -> float:
    """Of a share of `count` pictures, one at least; all right, or all wrong, is as unsure as a single mistake."""
    return math.sqrt(max(share * (1 - share), 1 / count) / count)


def effective_degrees(parts: Sequence[tuple[float, int]]) -> int:
    """Degrees of freedom of a sum of independent parts, each a variance with its own degrees (Welch; Satterthwaite)."""
    total = sum(variance for variance, _ in parts)
    share = sum(variance**2 / degrees for variance, degrees in parts)
    return MOST_DEGREES if share == 0 else min(MOST_DEGREES, max(1, int(total**2 / share + 1e-9)))


def smallest_difference(accuracy: float, count: int) -> float:
    """The least true difference that two models show in 4 of 5 test sets of `count` pictures, mistakes unrelated."""
    smoothed = (accuracy * count + IMAGINED_ALONE) / (count + 2 * IMAGINED_ALONE)
    return (NORMAL_QUANTILE + POWER_QUANTILE) * math.sqrt(2 * smoothed * (1 - smoothed) / count)


@cache
def t_quantile(degrees: int, confidence: float = CONFIDENCE) -> float:
    """The t for which Student's law with `degrees` of freedom lies within -t and t with probability `confidence`."""
    low, high = 0.0, math.pi / 2  # of the angle: t = sqrt(degrees) * tan(angle)
    for _ in range(60):  # halvings: past the precision of a float
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, degrees) < confidence else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _t_within(angle: float, degrees: int) -> float:
    """P(|T| <= sqrt(degrees) * tan(angle)): the finite series 26.7.3 and 26.7.4 of Abramowitz and Stegun."""
    odd = degrees % 2
    steps = np.arange(1 + odd, degrees - 2, 2) if degrees > 2 else np.array([])
    terms = np.cumprod(np.concatenate([[1.0], steps / (steps + 1) * math.cos(angle) ** 2]))
    if not odd:
        return math.sin(angle) * float(terms.sum())
    series = math.sin(angle) * math.cos(angle) * float(terms.sum()) if degrees > 1 else 0.0
    return 2 / math.pi * (angle + series)


def _t_interval(values: Sequence[float], overlap: float) -> Interval:
    if not values:
        raise ValueError("no values: an interval needs at least one")
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return Interval(mean, math.nan, math.nan)
    spread = float(np.std(values, ddof=1)) * math.sqrt(1 / count + overlap)
    half = t_quantile(count - 1) * spread
    return Interval(mean, mean - half, mean + half)


def _check(correct: np.ndarray) -> None:
    if correct.ndim != 2 or 0 in correct.shape:
        raise ValueError(f"a grid of shape {correct.shape}: must be (seeds, pictures), at least one of each")


def _bootstrap(
    correct: np.ndarray, groups: tuple[int, ...], imagined: list[tuple[np.ndarray, float]], seed: int
) -> Interval:
    """The mean of the first group of seeds, less that of the second where there is one; `correct`: (all seeds, N).

    Pictures with the same answers are exchangeable, so one count per distinct column is drawn in place of N
    pictures: the same law, with at most 2**S columns.
    """
    of_groups = np.split(correct.mean(axis=1), np.cumsum(groups)[:-1])
    value = float(of_groups[0].mean() - (of_groups[1].mean() if len(groups) == 2 else 0.0))
    patterns, counts = np.unique(correct, axis=1, return_counts=True)
    degrees = _degrees(correct, groups)
    patterns = np.concatenate([patterns, *(column[:, None] for column, _ in imagined)], axis=1).astype(float)
    weights = np.concatenate([counts, [weight for _, weight in imagined]])
    draws = _resample(patterns, weights / weights.sum(), correct.shape[1], groups, seed)
    ends = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    low, high = value + (ends - value) * t_quantile(degrees) / NORMAL_QUANTILE
    least = 0.0 if len(groups) == 1 else -1.0
    return Interval(value, max(least, min(value, float(low))), min(1.0, max(value, float(high))))


def _degrees(correct: np.ndarray, groups: tuple[int, ...]) -> int:
    """Effective degrees of freedom of a mean, or difference, that varies with pictures and each group's seeds."""
    grids, count = np.split(correct, np.cumsum(groups)[:-1]), correct.shape[1]
    per_picture = grids[0].mean(axis=0) - (grids[1].mean(axis=0) if len(grids) == 2 else 0.0)
    parts = [(float(per_picture.var()) / count, count)]
    seeds = [grid.mean(axis=1) for grid in grids if len(grid) > 1]
    parts += [(float(means.var(ddof=1)) / len(means), len(means) - 1) for means in seeds]
    return effective_degrees(parts)


def _resample(patterns: np.ndarray, shares: np.ndarray, count: int, groups: tuple[int, ...], seed: int) -> np.ndarray:
    """(RESAMPLES,) values under resampled pictures and seeds; `patterns`: (all seeds, P), `shares`: (P,)."""
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_CELLS // len(shares))
    draws = []
    for start in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - start)
        pictures = generator.multinomial(count, shares, size) / count
        signed = [sign * _seed_weights(generator, size, n) for sign, n in zip((1, -1), groups, strict=False)]
        draws.append(((np.concatenate(signed, axis=1) @ patterns) * pictures).sum(axis=1))
    return np.concatenate(draws)


def _seed_weights(generator: np.random.Generator, size: int, count: int) -> np.ndarray:
    """(size, count) weights of resampled seeds, each row adding up to 1."""
    if count == 1:
        return np.ones((size, 1))
    even = np.full(count, 1 / count)
    return even + math.sqrt(count / (count - 1)) * (generator.multinomial(count, even, size) / count - even)
