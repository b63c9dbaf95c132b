"""torchvision's published augmentation policies, drawn per picture by its own key."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torchvision.transforms import v2

from raytl.data.draws import Draws

POLICIES = {
    "autoaugment": v2.AutoAugment,  # Cubuk et al. 2019, the ImageNet policy
    "randaugment": v2.RandAugment,  # Cubuk et al. 2020, 2 operations of magnitude 9
    "trivialaugment": v2.TrivialAugmentWide,  # Mueller and Hutter 2021
}


def apply_policy(name: str, batch: torch.Tensor, draws: Draws) -> torch.Tensor:
    """`batch`: (B, 3, H, W) uint8; each picture under the policy `name`, in place. torch's own generator is unmoved."""
    policy = _policy(name)
    seeds = (draws.bits(name) >> np.uint64(1)).tolist()  # manual_seed takes 63 bits and a sign
    with torch.random.fork_rng(devices=[]):
        for place, seed in enumerate(seeds):
            torch.default_generator.manual_seed(seed)
            batch[place] = policy(batch[place])
    return batch


@cache
def _policy(name: str) -> torch.nn.Module:
    return POLICIES[name](interpolation=v2.InterpolationMode.BILINEAR)
