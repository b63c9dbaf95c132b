"""Changes of color and sharpness on float batches, each picture with its own strength."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from raytl.data.draws import Draws

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow and torchvision weigh the channels
_SIGMA = (0.1, 2.0)  # torchvision's range for GaussianBlur, in pixels
_RADIUS = 6  # chosen: 3 sigma of the strongest blur


def jitter(x: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """`x`: (B, 3, H, W) float in 0..255; brightness, contrast and saturation by factors from 1 - s to 1 + s.

    Contrast moves values from the picture's mean grey, saturation from each pixel's grey. The three are one linear map
    of the channels (`jitter_maps`), so that values are cut to 0..255 only once, at the end.
    """
    matrix, gain = jitter_maps(strength, draws)
    count, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(count, height * width, channels)
    offset = pixels.mean(dim=1, keepdim=True) @ gain[:, :, None]
    changed = torch.baddbmm(offset, pixels, matrix.transpose(1, 2)).clamp_(0, 255)
    return changed.view(count, height, width, channels).permute(0, 3, 1, 2)


def jitter_maps(strength: float, draws: Draws) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 3, 3) that a pixel is multiplied by, and (B, 3) that its picture's mean color is, for what is added."""
    brightness, contrast, saturation = (
        torch.from_numpy(draws.uniform(f"jitter {name}", 1 - strength, 1 + strength)).to(torch.float32)[:, None]
        for name in ("brightness", "contrast", "saturation")
    )
    luma = torch.tensor(_LUMA)
    mixed = saturation[:, :, None] * torch.eye(3) + (1 - saturation[:, :, None]) * luma.expand(3, 3)
    return (brightness * contrast)[:, :, None] * mixed, brightness * (1 - contrast) * luma


def blur(x: torch.Tensor, draws: Draws) -> torch.Tensor:
    """`x`: (B, 3, H, W) float, each picture under a Gaussian of its own width (sigma 0.1 to 2 pixels)."""
    sigma = draws.uniform("blur", *_SIGMA)
    radius = min(_RADIUS, min(x.shape[2:]) - 1)  # reflection cannot reach further than the picture
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    kernels = torch.from_numpy(weights / weights.sum(axis=1, keepdims=True)).to(x.dtype).repeat_interleave(3, 0)
    planes = x.reshape(1, -1, *x.shape[2:])  # each picture's channels become groups of one convolution
    padded = functional.pad(planes, (radius,) * 4, mode="reflect")
    rows = functional.conv2d(padded, kernels[:, None, None, :], groups=len(kernels))
    return functional.conv2d(rows, kernels[:, None, :, None], groups=len(kernels)).reshape(x.shape)
