"""A plain convolutional network without published weights, the measure of what pretraining and depth are worth."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn

WIDTHS = (32, 64, 128)  # filters of the three blocks (experiments/fruit_attention.py)


class PlainCnn(nn.Module):
    """Three blocks of a 3x3 convolution, ReLU and 2x2 max-pooling: x (B, 3, H, W) float -> (B, 128, H/8, W/8)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *WIDTHS)
        for index, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            layers: OrderedDict[str, nn.Module] = OrderedDict(
                conv=nn.Conv2d(inputs, outputs, 3, padding=1), relu=nn.ReLU(), pool=nn.MaxPool2d(2)
            )
            self.add_module(f"block{index}", nn.Sequential(layers))

    def forward(self, x: Tensor) -> Tensor:
        """The last block's map."""
        for block in self.children():
            x = block(x)
        return x
