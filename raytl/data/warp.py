"""Rotation, shift, and scale of a batch in one resampling."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional

from raytl.data.draws import Draws


def warp(x: torch.Tensor, steps: Mapping[str, tuple[float, ...]], draws: Draws) -> torch.Tensor:
    """`x`: (B, 3, H, W) float, turned, shifted and scaled about its center by one bilinear sampling.

    `rotate`: degrees either way; `affine`: degrees, and the largest shift as a share of the side; `zoom`: the largest
    enlargement or reduction, so 0.4 means factors from 0.6 to 1.4. Where both rotate and affine are asked for their
    angles add. What comes in from outside is the picture reflected at its border.
    """
    degrees = np.zeros(len(x))
    shift = np.zeros((len(x), 2))
    scale = np.ones(len(x))
    if "rotate" in steps:
        degrees += draws.uniform("rotate", -steps["rotate"][0], steps["rotate"][0])
    if "affine" in steps:
        most, far = steps["affine"]
        degrees += draws.uniform("affine angle", -most, most)
        shift = np.stack([draws.uniform("affine x", -far, far), draws.uniform("affine y", -far, far)], axis=1)
    if "zoom" in steps:
        scale = draws.uniform("zoom", 1 - steps["zoom"][0], 1 + steps["zoom"][0])
    grid = functional.affine_grid(sampling_matrices(degrees, shift, scale), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def sampling_matrices(degrees: np.ndarray, shift: np.ndarray, scale: np.ndarray) -> torch.Tensor:
    """(B, 2, 3) float32: from a place in the result to one in the source, both in -1..1 (x right, y down).

    The result shows the source enlarged by `scale`, turned counterclockwise by `degrees` (B,), and moved by `shift`
    (B, 2), shares of the side to the right and down.
    """
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    turn = np.stack([np.stack([cosine, -sine], axis=1), np.stack([sine, cosine], axis=1)], axis=1)
    offset = -turn @ (2 * shift)[:, :, None]
    return torch.from_numpy(np.concatenate([turn, offset], axis=2)).to(torch.float32)
