"""Backbones by name: shapes, poolings, inputs and auxiliary heads."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from raytl.errors import ConfigError
from raytl.models.backbones import create_backbone, shapes_of


def test_flatten_keeps_every_place_and_drops_what_lies_behind_the_map() -> None:
    assert shapes_of("vgg19", "flatten", 180).features == 512 * 5 * 5
    with torch.device("meta"):
        backbone = create_backbone("vgg19", pool="flatten")
    assert [stage.name for stage in backbone.stages][-1] != "wide"
    assert not [name for name, _ in backbone.net.named_parameters() if name.startswith("pre_logits")]


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "size"), [("resnet10t", 64), ("mobilenetv3_small_050", 64), ("swin_tiny_patch4_window7_224", 64)]
)
def test_average_is_the_mean_over_the_map(name: str, size: int) -> None:
    backbone = create_backbone(name, pool="avg", image_size=size).eval()
    x = torch.randn(2, 3, size, size)
    last_map = backbone.features(x)
    assert last_map.shape[1] == shapes_of(name, "avg", size).channels
    torch.testing.assert_close(backbone(x), adaptive_avg_pool2d(last_map, 1).flatten(1))


@torch.no_grad()
def test_average_over_tokens_leaves_the_class_token_out() -> None:
    backbone = create_backbone("test_vit", pool="avg", image_size=64).eval()
    tokens = backbone.features(torch.randn(2, 3, 64, 64))
    assert tokens.shape[1] == 1 + (64 // 16) ** 2
    torch.testing.assert_close(backbone.pooled(tokens), tokens[:, 1:].mean(1))
    assert not torch.allclose(backbone.pooled(tokens), tokens.mean(1))


def test_auxiliary_heads_only_when_asked_for() -> None:
    with torch.device("meta"):
        assert len(create_backbone("googlenet").auxiliary) == 0
        assert list(create_backbone("googlenet", auxiliary=True).auxiliary) == ["inception4a", "inception4d"]
        assert list(create_backbone("inception_v3", auxiliary=True).auxiliary) == ["Mixed_6e"]


def test_a_size_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"image_size=16.*inception_v3"):
        shapes_of("inception_v3", "backbone", 16)
    with pytest.raises(ConfigError, match=r"image_size=50.*tiny_vit"):
        shapes_of("tiny_vit", "backbone", 50)
