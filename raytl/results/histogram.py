"""How the numbers of a part of a model are distributed, as TensorBoard shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BUCKETS = 64  # chosen: more than TensorBoard draws, and a few kilobytes for a model


@dataclass(frozen=True)
class Histogram:
    """`counts` of values up to each of `limits`, and the moments that TensorBoard asks for."""

    name: str
    limits: tuple[float, ...]
    counts: tuple[float, ...]
    least: float
    most: float
    number: float
    total: float
    squares: float


def histogram(name: str, values: np.ndarray) -> Histogram | None:
    """That of `values` (N,) float, in equal steps from the least to the most; None without values that are finite."""
    x = values.astype(np.float64)
    if not x.size or not np.isfinite(x).all():
        return None
    counts, edges = np.histogram(x, BUCKETS)
    return Histogram(
        name,
        limits=tuple(edges[1:].tolist()),
        counts=tuple(counts.astype(float).tolist()),
        least=float(x.min()),
        most=float(x.max()),
        number=float(x.size),
        total=float(x.sum()),
        squares=float((x * x).sum()),
    )
