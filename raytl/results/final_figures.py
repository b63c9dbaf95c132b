"""What a final model's one reading of the test set gave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FinalFigures:
    """Figures of one final model on all N test pictures.

    `probabilities`: (N, C) float32 in the order of `paths`; `labels`, `predicted`: N class indices. `auc` is None but
    for two classes that both occur.
    """

    accuracy: float
    macro_f1: float
    loss: float
    auc: float | None
    correct: int
    images_per_second: float
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    predicted: tuple[int, ...]
    probabilities: np.ndarray
