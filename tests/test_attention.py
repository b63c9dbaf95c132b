"""Attention blocks against loops written by hand from the papers' formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from raytl.choice import Choice
from raytl.errors import ConfigError
from raytl.models.attention import ChannelGate, SpatialGate, make_attention


def _mlp(gate: ChannelGate, pooled: Tensor) -> Tensor:
    hidden = (gate.squeeze.weight @ pooled + gate.squeeze.bias).clamp(min=0)
    return gate.excite.weight @ hidden + gate.excite.bias


@torch.no_grad()
def test_squeeze_and_excitation_by_hand() -> None:
    block = make_attention(Choice("se", (4,)), 8, "map", "resnet18")
    assert isinstance(block, ChannelGate) and block.squeeze.out_features == 2
    x = torch.randn(3, 8, 5, 4)
    for picture, result in zip(x, block(x), strict=True):
        gate = 1 / (1 + torch.exp(-_mlp(block, picture.flatten(1).mean(1))))
        torch.testing.assert_close(result, picture * gate[:, None, None])


@torch.no_grad()
def test_cbam_by_hand() -> None:
    block = make_attention(Choice("cbam", (2,)), 6, "map", "resnet18")
    assert isinstance(block, nn.Sequential)
    channel, spatial = block[0], block[1]
    assert isinstance(channel, ChannelGate) and isinstance(spatial, SpatialGate)
    picture = torch.randn(6, 4, 5)
    flat = picture.flatten(1)
    gated = picture * torch.sigmoid(_mlp(channel, flat.mean(1)) + _mlp(channel, flat.amax(1)))[:, None, None]
    summary = pad(torch.stack((gated.mean(0), gated.amax(0))), (3, 3, 3, 3))
    expected = torch.empty_like(picture)
    for row in range(4):
        for column in range(5):
            window = summary[:, row : row + 7, column : column + 7]
            expected[:, row, column] = gated[:, row, column] * torch.sigmoid((window * spatial.conv.weight[0]).sum())
    torch.testing.assert_close(block(picture[None])[0], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_tokens_are_gated_like_a_map_one_place_wide() -> None:
    block = make_attention(Choice("se", (2,)), 6, "tokens", "test_vit")
    tokens = torch.randn(2, 9, 6)
    as_map = tokens.transpose(1, 2)[..., None]
    torch.testing.assert_close(block(tokens), block.get_submodule("gate")(as_map)[..., 0].transpose(1, 2))


def test_cbam_on_tokens_is_refused_with_a_way_on() -> None:
    with pytest.raises(ConfigError, match=r"cbam:8.*test_vit gives tokens.*se:8"):
        make_attention(Choice("cbam", (8,)), 6, "tokens", "test_vit")


def test_none_changes_nothing() -> None:
    x = torch.randn(1, 2, 3, 3)
    assert torch.equal(make_attention(Choice("none"), 2, "map", "resnet18")(x), x)
