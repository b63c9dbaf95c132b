"""Which recipe fields mattered in a search: the share of the differences between trials that each of them explains.

Functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown, ICML 2014), by Optuna. A forest finds something in
noise, too. So beside the fields stand shuffled copies of them, which mean nothing (as in Boruta: Kursa and Rudnicki,
Journal of Statistical Software 36, 2010), and a field counts where it explains more than the best of the copies.
Forests give weak fields too little: measured on 250 trials of 2a + b, b gets 0.08 where its share is 0.2.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from raytl.results.charts import suits_log
from raytl.results.varied import TrialGroup

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

LEAST_TRIALS = 20  # chosen: a forest learns nothing of several fields from fewer
MOST_TRIALS = 256  # chosen: with more the page would wait for it; so many of them are drawn by lot
COPIES = 19  # chosen: a field without meaning is above so many copies one time in twenty
TREES = 32  # chosen: half of Optuna's default, in half the time


@dataclass(frozen=True)
class Share:
    """One field's part of the differences between trials, from 0 to 1; `matters`: more than copies without meaning."""

    field: str
    value: float
    matters: bool


@dataclass(frozen=True)
class Importance:
    """What mattered to a group of trials, the largest share first; `chance` is the share of the best copy."""

    stage: str
    backbone: str | None
    trials: int
    shares: tuple[Share, ...]
    chance: float


def find_importances(groups: Sequence[TrialGroup], seed: int = 0) -> tuple[Importance, ...]:
    """What mattered to each group that has trials enough.

    Trials count by their rank, so that one wild loss decides nothing; those that diverged or failed have none.
    """
    return tuple(_importance(group, seed) for group in groups if len(group.rows) >= LEAST_TRIALS and group.columns)


def _importance(group: TrialGroup, seed: int) -> Importance:
    count = min(len(group.rows), MOST_TRIALS)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(group.rows))[:count])
    columns = {name: [column[index] for index in chosen] for name, column in group.columns.items()}
    copies = _copies(columns, seed)
    parts = _parts({**columns, **copies}, group.ranks[chosen], seed)
    chance = max(parts[name] for name in copies)
    shares = [Share(name, parts[name], parts[name] > chance) for name in columns]
    return Importance(group.stage, group.backbone, count, tuple(sorted(shares, key=lambda each: -each.value)), chance)


def _copies(columns: Mapping[str, Sequence[Any]], seed: int) -> dict[str, list[Any]]:
    generator = np.random.default_rng(seed)
    each = math.ceil(COPIES / len(columns))
    return {
        f"{name} copy {number}": [column[index] for index in generator.permutation(len(column))]
        for name, column in columns.items()
        for number in range(each)
    }


def _parts(columns: Mapping[str, Sequence[Any]], values: np.ndarray, seed: int) -> dict[str, float]:
    import optuna  # takes a second, and most pages need none of it
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    encoded = {name: _encoded(column) for name, column in columns.items()}
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells of every study it makes
    with warnings.catch_warnings():  # Optuna warns of what may change: a test knows its figures
        warnings.simplefilter("ignore")
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
        study.add_trials([_trial(encoded, index, float(value)) for index, value in enumerate(values)])
        evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=seed)
        found = get_param_importances(study, evaluator=evaluator, normalize=False)
    return {name: float(value) for name, value in found.items()}


def _trial(encoded: Mapping[str, tuple[list[Any], BaseDistribution]], index: int, value: float) -> FrozenTrial:
    from optuna.trial import create_trial

    params = {name: column[index] for name, (column, _) in encoded.items()}
    return create_trial(params=params, distributions={name: kind for name, (_, kind) in encoded.items()}, value=value)


def _encoded(column: Sequence[Any]) -> tuple[list[Any], BaseDistribution]:
    """A column as Optuna takes it: numbers in their range, all else as choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in column):
        told = [str(value) for value in column]
        return told, CategoricalDistribution(sorted(set(told)))
    numbers = [float(value) for value in column]
    if suits_log(min(numbers), max(numbers)):
        numbers = [math.log10(value) for value in numbers]
    return numbers, FloatDistribution(min(numbers), max(numbers))
