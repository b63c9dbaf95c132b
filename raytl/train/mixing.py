"""Mixup and CutMix: batches whose pictures, and whose labels, are blends of two."""

from __future__ import annotations

from math import sqrt

import numpy as np
import torch
from torch import Tensor


def mix(
    x: Tensor, targets: Tensor, mixup: float, cutmix: float, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Blends each picture of a batch with another of the same batch.

    `mixup` and `cutmix` are the parameters of their Beta distributions, 0 for never; where both are given each
    batch takes one of them with equal chance. With both 0 nothing is drawn and the arguments are returned. Each
    worker draws its own.
    x: (B, C, H, W) float; targets: (B, K) soft labels. The arguments are not written to.

    Source: Zhang et al. 2018 (mixup), Yun et al. 2019 (CutMix).
    """
    if mixup == 0 and cutmix == 0:
        return x, targets
    cut = cutmix > 0 and (mixup == 0 or generator.random() < 0.5)
    alpha = cutmix if cut else mixup
    kept = float(generator.beta(alpha, alpha))
    rows, columns = _box(x.shape[-2], x.shape[-1], kept, generator) if cut else (slice(0), slice(0))
    partners = torch.from_numpy(generator.permutation(len(x))).to(x.device)
    if not cut:
        return x.lerp(x[partners], 1 - kept), targets.lerp(targets[partners], 1 - kept)
    mixed = x.clone()
    mixed[..., rows, columns] = x[partners][..., rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start) / (x.shape[-2] * x.shape[-1])
    return mixed, targets.lerp(targets[partners], pasted)


def _box(height: int, width: int, kept: float, generator: np.random.Generator) -> tuple[slice, slice]:
    """A box over a share `1 - kept` of the picture around a uniform center, less what lies outside."""
    side = sqrt(1 - kept)
    return _span(height, side, generator), _span(width, side, generator)


def _span(length: int, share: float, generator: np.random.Generator) -> slice:
    center, half = int(generator.integers(length)), int(length * share) // 2
    return slice(max(center - half, 0), min(center + half, length))
