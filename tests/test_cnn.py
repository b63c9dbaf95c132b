"""The plain CNN against its description."""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d, max_pool2d

from raytl.models.classifier import build_classifier
from raytl.models.cnn import PlainCnn
from raytl.recipe import Recipe


@torch.no_grad()
def test_three_blocks_of_convolution_relu_and_pooling() -> None:
    net = PlainCnn()
    x = torch.randn(2, 3, 24, 24)
    expected = x
    for number in (1, 2, 3):
        conv = net.get_submodule(f"block{number}.conv")
        weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
        expected = max_pool2d(conv2d(expected, weight, bias, padding=1).clamp(min=0), 2)
    assert expected.shape == (2, 128, 3, 3)
    torch.testing.assert_close(net(x), expected)


def test_study_three_can_be_built() -> None:
    recipe = Recipe(
        backbone="plain_cnn", weights="none", image_size=256, pool="flatten", head="mlp:128", dropout=0.5, loss="bce"
    )
    model = build_classifier(recipe, 2)
    convolutions = sum(9 * a * b + b for a, b in ((3, 32), (32, 64), (64, 128)))
    dense = 128 * 32 * 32 * 128 + 128 + 128 + 1
    assert sum(p.numel() for p in model.parameters()) == convolutions + dense
    assert model(torch.zeros(1, 3, 256, 256)).shape == (1, 1)
