"""Torch's random numbers, seeded by what a recipe says."""

from __future__ import annotations

import numpy as np
import torch


def seed_torch(*parts: int) -> None:
    """Seeds torch's generators from a recipe's seed and, within a run, what is drawn for (epoch, rank)."""
    torch.manual_seed(int(np.random.SeedSequence(parts).generate_state(1)[0]))
