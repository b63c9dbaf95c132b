"""Which pictures an epoch sees, in which order, and which worker sees which of them.

Batches are cut from one order for all workers and then shared out, so a run on two workers takes the same
steps as a run on one.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np

ORDER_STREAM = 1  # chosen: keeps these draws apart from others made of the same seed and epoch


def epoch_order(labels: np.ndarray, sampler: str, seed: int, epoch: int) -> np.ndarray:
    """Indices (N,) int64 of the N pictures of one epoch, a function of its arguments alone.

    `uniform` is a permutation; `balanced` draws N with replacement so that every class that occurs is as likely
    as any other (torch's `WeightedRandomSampler` with weights 1 / class count).
    labels: (N,) class indices of the training pictures.
    """
    generator = np.random.default_rng([ORDER_STREAM, seed, epoch])
    if sampler == "uniform" or len(labels) == 0:
        return generator.permutation(len(labels))
    weights = 1 / np.bincount(labels)[labels]
    return generator.choice(len(labels), size=len(labels), p=weights / weights.sum())


def step_count(count: int, batch_size: int) -> int:
    """Batches in an epoch of `count` pictures; the last may be smaller."""
    return ceil(count / batch_size)


def batches(order: np.ndarray, batch_size: int, rank: int, world_size: int) -> Iterator[np.ndarray]:
    """One worker's share of each global batch of `batch_size` pictures.

    Shares are contiguous and differ by at most one picture; joined in order of rank they are the global batch. Every
    worker gets the same number of shares. A share of the last batch may be empty: its worker must still take part in
    the step, because the others wait for its gradients.
    """
    for start in range(0, len(order), batch_size):
        yield np.array_split(order[start : start + batch_size], world_size)[rank]


def eval_shares(count: int, batch_size: int, rank: int, world_size: int) -> Iterator[np.ndarray]:
    """One worker's batches of an evaluation: over all workers each index below `count` exactly once.

    Batches are never empty, and workers may get unequal numbers of them, or none: in evaluation nobody waits before
    the sums are added. `batch_size` is global, as in training.
    """
    share = np.array_split(np.arange(count), world_size)[rank]
    size = ceil(batch_size / world_size)
    for start in range(0, len(share), size):
        yield share[start : start + size]
