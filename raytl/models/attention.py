"""Attention blocks on a backbone's last map: squeeze-and-excitation and CBAM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raytl.choice import Choice
from raytl.errors import ConfigError
from raytl.models.plan import Layout

SPATIAL_KERNEL = 7  # the size that Woo et al. 2018 found best (table 2)


class ChannelGate(nn.Module):
    """Squeeze-and-excitation (Hu, Shen, Sun 2018): every channel is scaled by a gate computed from its mean.

    With `with_max`, the mean's and the maximum's answers are added before the sigmoid, as CBAM does.
    x: (B, C, h, w) -> the same shape.
    """

    def __init__(self, channels: int, ratio: int, with_max: bool = False) -> None:
        super().__init__()
        hidden = max(1, channels // ratio)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.with_max = with_max

    def forward(self, x: Tensor) -> Tensor:
        """x scaled channel by channel."""
        answer = self._answer(x.mean((2, 3)))
        if self.with_max:
            answer = answer + self._answer(x.amax((2, 3)))
        return x * torch.sigmoid(answer)[:, :, None, None]

    def _answer(self, pooled: Tensor) -> Tensor:
        result = self.excite(torch.relu(self.squeeze(pooled)))
        assert isinstance(result, Tensor)
        return result


class SpatialGate(nn.Module):
    """CBAM's second half: every place is scaled by a gate computed from the mean and maximum over channels.

    x: (B, C, h, w) -> the same shape.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, SPATIAL_KERNEL, padding=SPATIAL_KERNEL // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x scaled place by place."""
        summary = torch.cat((x.mean(1, keepdim=True), x.amax(1, keepdim=True)), 1)
        return x * torch.sigmoid(self.conv(summary))


class TokenGate(nn.Module):
    """A channel gate over tokens, which are looked at as a map one place wide: x (B, T, C) -> the same shape."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.gate = ChannelGate(channels, ratio)

    def forward(self, x: Tensor) -> Tensor:
        """x scaled channel by channel."""
        result = self.gate(x.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        assert isinstance(result, Tensor)
        return result


def make_attention(choice: Choice, channels: int, layout: Layout, backbone: str) -> nn.Module:
    """The attention block of a recipe for a map of `channels`; `none` is the identity.

    Raises:
        ConfigError: for CBAM on tokens, whose second half needs places in rows and columns.
    """
    if choice.name == "none":
        return nn.Identity()
    ratio = int(choice.arguments[0])
    if layout == "tokens":
        if choice.name == "cbam":
            raise ConfigError(
                f"attention='cbam:{ratio}': {backbone} gives tokens, and CBAM's spatial half needs rows and columns; "
                f"use 'se:{ratio}' or 'none', or another backbone"
            )
        return TokenGate(channels, ratio)
    if choice.name == "se":
        return ChannelGate(channels, ratio)
    return nn.Sequential(ChannelGate(channels, ratio, with_max=True), SpatialGate())
