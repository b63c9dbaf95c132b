"""What the choices in a factorial design do: effects of single choices and of pairs, against the spread between seeds.

Every combination of the factors' levels (a cell) is run under the same number of seeds. The effect of a level is the
mean of its cells less the mean of all; the effect of a pair is what its cells have beyond the two levels' own effects
(the usual decomposition of a complete table: Fisher, The Design of Experiments, 1935). Cells may scatter differently,
so each contrast has its own standard error and degrees of freedom (Satterthwaite, Biometrics Bulletin 2, 1946), and
since a table makes many statements at once, its intervals hold together at 95% (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from raytl.results.stats import CONFIDENCE, Interval, effective_degrees, t_quantile

DIGITS = 12  # chosen: what lies beyond is rounding, and would be an effect where all runs are alike
Cell = tuple[str, ...]  # one level of each factor, in the factors' order


@dataclass(frozen=True)
class Effect:
    """What a level, or a pair of levels of two factors, adds to the mean of all cells."""

    factors: tuple[str, ...]
    levels: tuple[str, ...]
    interval: Interval


@dataclass(frozen=True)
class Effects:
    """A table of effects; `spread` is the standard deviation between seeds within a cell, over all cells."""

    mean: float
    spread: float
    effects: tuple[Effect, ...]

    def of(self, *factors: str) -> tuple[Effect, ...]:
        """The effects of one factor, or of a pair."""
        return tuple(effect for effect in self.effects if effect.factors == factors)


def factorial_effects(factors: Mapping[str, Sequence[str]], values: Mapping[Cell, Sequence[float]]) -> Effects:
    """The effects of all levels, and of all pairs of levels of two factors.

    `factors`: the levels of each; `values`: one figure per seed for every combination of levels.

    Raises:
        ValueError: with what is missing: a factor of one level, a cell without runs, with one alone, or with fewer or
            more seeds than others.
    """
    cells = tuple(product(*factors.values()))
    _check(factors, cells, values)
    runs = np.array([values[cell] for cell in cells], dtype=float)  # (cells, seeds)
    means, variances = runs.mean(axis=1), runs.var(axis=1, ddof=1)
    contrasts = _contrasts(factors, cells)
    confidence = 1 - (1 - CONFIDENCE) / len(contrasts)
    effects = tuple(
        Effect(names, levels, _interval(weights, means, variances, runs.shape[1], confidence))
        for (names, levels), weights in contrasts.items()
    )
    return Effects(float(means.mean()), math.sqrt(variances.mean()), effects)


def effect_lines(table: Effects) -> list[str]:
    """A sentence for each factor and each pair: what is larger than the spread between seeds, in points."""
    terms = dict.fromkeys(effect.factors for effect in table.effects)
    return [_sentence(term, table.of(*term)) for term in terms]


def _sentence(term: tuple[str, ...], effects: Sequence[Effect]) -> str:
    name = " x ".join(term)
    clear = sorted((each for each in effects if each.interval.excludes_zero), key=_size, reverse=True)
    if clear:
        shown = "; ".join(f"{_levels(each)} {_points(each)}" for each in clear)
        return f"{name}: larger than the spread between seeds: {shown}"
    largest = max(effects, key=_size)
    shown = f"{_levels(largest)} {_points(largest)}"
    return f"{name}: not larger than the spread between seeds (the largest: {shown})"


def _size(effect: Effect) -> float:
    return abs(effect.interval.value)


def _levels(effect: Effect) -> str:
    return " with ".join(effect.levels)


def _points(effect: Effect) -> str:
    value, low, high = (100 * each for each in (effect.interval.value, effect.interval.low, effect.interval.high))
    return f"{value:+z.1f} [{low:+z.1f}, {high:+z.1f}]"


def _contrasts(
    factors: Mapping[str, Sequence[str]], cells: Sequence[Cell]
) -> dict[tuple[tuple[str, ...], tuple[str, ...]], np.ndarray]:
    """By factors and levels, the weights of the cells' means (cells,), which add up to 0."""
    names = tuple(factors)
    shares = {
        (index, level): np.array([(cell[index] == level) - 1 / len(factors[name]) for cell in cells])
        for index, name in enumerate(names)
        for level in factors[name]
    }
    scale = {index: len(factors[name]) for index, name in enumerate(names)}
    contrasts: dict[tuple[tuple[str, ...], tuple[str, ...]], np.ndarray] = {
        ((names[index],), (level,)): share * scale[index] / len(cells) for (index, level), share in shares.items()
    }
    for a, b in combinations(range(len(names)), 2):
        for level_a, level_b in product(factors[names[a]], factors[names[b]]):
            weights = shares[a, level_a] * shares[b, level_b] * scale[a] * scale[b] / len(cells)
            contrasts[(names[a], names[b]), (level_a, level_b)] = weights
    return contrasts


def _interval(weights: np.ndarray, means: np.ndarray, variances: np.ndarray, seeds: int, confidence: float) -> Interval:
    value = round(float(weights @ means), DIGITS) + 0.0
    parts = (weights**2 * variances / seeds).tolist()
    degrees = effective_degrees([(variance, seeds - 1) for variance in parts])
    half = round(t_quantile(degrees, confidence) * math.sqrt(sum(parts)), DIGITS)
    return Interval(value, value - half, value + half)


def _check(factors: Mapping[str, Sequence[str]], cells: Sequence[Cell], values: Mapping[Cell, Sequence[float]]) -> None:
    if not factors:
        raise ValueError("no factors: there is nothing to compare")
    problems = [f"{name}: has one level; a factor needs two" for name, levels in factors.items() if len(levels) < 2]
    problems += [f"{' + '.join(cell)}: never ran" for cell in cells if not values.get(cell)]
    counts = {len(values[cell]) for cell in cells if values.get(cell)}
    if not problems and (len(counts) > 1 or counts == {1}):
        said = " and ".join(str(count) for count in sorted(counts))
        problems.append(f"{said} seeds per cell: every cell needs the same number, at least two")
    if problems:
        raise ValueError("; ".join(problems))
