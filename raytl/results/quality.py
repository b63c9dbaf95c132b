"""How large, bright and sharp the pictures behind a study are, and which of them stand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raytl.results.health import USABLE

# Cited: from here on a modified z-score is an outlier's (Iglewicz and Hoaglin 1993).
FAR = 3.5
Z_FACTOR = 0.6745  # cited (there): what makes the median deviation of a normal distribution a standard deviation
TINY = 1e-6  # chosen: keeps the logarithm of a wholly smooth picture finite


@dataclass(frozen=True)
class Outlier:
    """A picture far from the others, and its value."""

    path: str
    label: str
    value: float


@dataclass(frozen=True)
class Quality:
    """One measure over all usable pictures: its spread, and the pictures far below and above, the farthest first."""

    measure: str
    least: float
    median: float
    most: float
    low: tuple[Outlier, ...]
    high: tuple[Outlier, ...]


# Those of which doubling means the same everywhere are compared by their logarithm.
MEASURES = {"shorter side": True, "brightness": False, "contrast": False, "sharpness": True}


def picture_quality(data: pa.Table) -> tuple[Quality, ...]:
    """Every measure that is recorded, of the usable pictures in the table of pictures."""
    used = data.filter(pc.is_in(data["status"], pa.array(USABLE)))
    columns = {name: used[name] for name in ("brightness", "contrast", "sharpness")}
    columns["shorter side"] = pc.min_element_wise(used["width"], used["height"])
    names = list(zip(used["path"].to_pylist(), used["class"].to_pylist(), strict=True))
    found = (_quality(name, names, columns[name].to_pylist(), logs) for name, logs in MEASURES.items())
    return tuple(quality for quality in found if quality is not None)


def _quality(
    measure: str, names: Sequence[tuple[str, str]], values: Sequence[float | None], logs: bool
) -> Quality | None:
    known = [(*name, float(value)) for name, value in zip(names, values, strict=True) if value is not None]
    if not known:
        return None
    x = np.array([value for *_, value in known])
    scores = _scores(np.log(np.maximum(x, TINY)) if logs else x)
    order = np.argsort(scores, kind="stable")
    return Quality(
        measure,
        least=float(x.min()),
        median=float(np.median(x)),
        most=float(x.max()),
        low=tuple(Outlier(*known[place]) for place in order if scores[place] < -FAR),
        high=tuple(Outlier(*known[place]) for place in order[::-1] if scores[place] > FAR),
    )


def _scores(x: np.ndarray) -> np.ndarray:
    """Modified z-scores (N,); 0 where most pictures are alike, since everything else would be far from them."""
    off = x - np.median(x)
    spread = np.median(np.abs(off))
    return Z_FACTOR * off / spread if spread > 0 else np.zeros_like(x)
