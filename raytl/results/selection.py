"""Which final models an ensemble is made of, and with what weights: greedy forward selection with replacement.

Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models" (ICML 2004): the best model
begins; then, round by round, the model is added whose joining makes the mean of the probabilities best on validation
pictures, whether it is in already or not; of all the means on the way the best is taken. How often a model was added
is its weight. Test pictures play no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raytl.metric import Figures, Metric

ROUNDS = 20  # chosen: a member then weighs 5% at least; all of them cost the same whatever their weight
DIGITS = 12  # of a figure that count: means of the same models in another order differ behind them
LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)  # tables keep probabilities as float32, which may be 0


@dataclass(frozen=True)
class Selection:
    """How often each model of the library was taken, and what their mean reaches on the validation pictures."""

    counts: tuple[int, ...]
    figures: Figures

    @property
    def weights(self) -> tuple[float, ...]:
        """One for each model of the library; together 1."""
        return tuple(count / sum(self.counts) for count in self.counts)

    @property
    def taken(self) -> tuple[int, ...]:
        """Places in the library of those that were taken, the heaviest first."""
        places = [place for place, count in enumerate(self.counts) if count]
        return tuple(sorted(places, key=lambda place: -self.counts[place]))


def select(
    probabilities: np.ndarray, labels: np.ndarray, metric: Metric, most_members: int, rounds: int = ROUNDS
) -> Selection:
    """The ensemble that is best by `metric`, then by the lower log loss; never worse than the best model alone.

    `probabilities`: (M, N, C), of M models on N validation pictures; `labels`: (N,) places of the true classes.
    At most `most_members` different models are taken. Of equals the earlier model, and the earlier round, count.

    Raises:
        ValueError: there is no model or no picture, or fewer than one member or round is allowed.
    """
    if probabilities.ndim != 3 or 0 in probabilities.shape or min(most_members, rounds) < 1:
        raise ValueError(
            f"probabilities of shape {probabilities.shape}, {most_members} members, {rounds} rounds: must be (models, "
            "pictures, classes), and at least one of each"
        )
    counts, total = np.zeros(len(probabilities), dtype=int), np.zeros(probabilities.shape[1:])
    best: Selection | None = None
    for step in range(1, rounds + 1):
        full = np.count_nonzero(counts) == most_members
        allowed = [place for place in range(len(counts)) if counts[place] or not full]
        found = {place: figures_of((total + probabilities[place]) / step, labels) for place in allowed}
        place = min(allowed, key=lambda each: _key(found[each], metric))
        counts[place] += 1
        total += probabilities[place]
        if best is None or _key(found[place], metric) < _key(best.figures, metric):
            best = Selection(tuple(counts.tolist()), found[place])
    assert best is not None, "there is a round"
    return best


def figures_of(probabilities: np.ndarray, labels: np.ndarray) -> Figures:
    """Accuracy, macro F1 and log loss of probabilities (N, C); `labels`: (N,) places of the true classes.

    As `raytl.train.metrics` measures them: a class neither seen nor predicted has an F1 of 0.
    """
    predicted, classes = probabilities.argmax(axis=1), np.arange(probabilities.shape[1])[:, None]
    said, true = predicted == classes, labels == classes
    right, either = (said & true).sum(axis=1), said.sum(axis=1) + true.sum(axis=1)
    given = np.maximum(probabilities[np.arange(len(labels)), labels], LEAST_PROBABILITY)
    return Figures(
        val_accuracy=float((predicted == labels).mean()),
        val_macro_f1=float((2 * right / np.maximum(either, 1)).mean()),
        val_loss=float(-np.log(given).mean()),
    )


def _key(figures: Figures, metric: Metric) -> tuple[float, float]:
    value, loss = metric.key(figures)
    return round(value, DIGITS), round(loss, DIGITS)
