"""Random numbers that belong to a picture, not to the order in which pictures come.

Each number is a hash of (seed, epoch, picture, what it is for), so a picture is augmented alike in every batch, worker
and order, and no generator's state has to be kept or restored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64: Steele, Lea and Flood 2014, constants of S. Vigna's version
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix(values: np.ndarray) -> np.ndarray:
    """splitmix64's output function: (N,) uint64 to (N,) uint64, one to one."""
    with np.errstate(over="ignore"):
        values = values + _GOLDEN
        values = (values ^ (values >> np.uint64(30))) * _MIX_1
        values = (values ^ (values >> np.uint64(27))) * _MIX_2
        return values ^ (values >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Draws:
    """The random numbers of some pictures in one epoch. `keys`: (N,) uint64."""

    seed: int
    epoch: int
    keys: np.ndarray

    def bits(self, name: str) -> np.ndarray:
        """(N,) uint64, different for every `name`."""
        text = f"{self.seed}/{self.epoch}/{name}".encode()
        salt = np.frombuffer(hashlib.sha256(text).digest()[:8], np.uint64)
        return mix(mix(self.keys) ^ salt)

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """(N,) float64, evenly spread over `low` to `high`."""
        share = (self.bits(name) >> np.uint64(11)) * 2.0**-53
        return low + (high - low) * share

    def chance(self, name: str, probability: float) -> np.ndarray:
        """(N,) bool, true with `probability`."""
        return self.uniform(name) < probability
