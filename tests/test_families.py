"""Which parameters belong to which stage, for the families known by name (test_stages holds their contract)."""

from __future__ import annotations

import pytest
import torch

from raytl.models.backbones import create_backbone


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vgg16", 6),
        ("vgg19", 6),
        ("resnet50", 5),
        ("resnext50_32x4d", 5),
        ("mobilenetv2_100", 8),
        ("mobilenetv3_large_100", 8),
        ("efficientnet_b0", 8),
        ("tf_efficientnetv2_s", 7),
        ("convnext_tiny", 5),
        ("vit_base_patch16_224", 5),
        ("deit_base_patch16_224", 5),
        ("efficientnet_v2_s", 5),
    ],
)
def test_the_studies_backbones_own_everything_once(name: str, count: int) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name)
    assert len(backbone.stages) == count
    for parameter, _ in backbone.net.named_parameters():
        assert sum(stage.owns(parameter) for stage in backbone.stages) == 1, parameter


def test_what_belongs_where() -> None:
    with torch.device("meta"):
        vit, vgg = create_backbone("vit_tiny_patch16_224"), create_backbone("vgg11")
        mobile = create_backbone("mobilenetv3_small_050")
    assert all(vit.stages[0].owns(name) for name in ("cls_token", "pos_embed", "patch_embed.proj.weight"))
    assert vit.stages[-1].owns("norm.weight")
    assert vgg.stages[-1].name == "wide" and vgg.stages[-1].owns("pre_logits.fc1.weight")
    assert mobile.stages[-1].owns("conv_head.weight")


def test_a_sequence_is_cut_where_the_resolution_falls() -> None:
    with torch.device("meta"):
        vgg, mobile = create_backbone("vgg16"), create_backbone("mobilenet_v2")
    assert [len(stage.steps) for stage in vgg.stages[:-1]] == [5, 5, 7, 7, 7]  # two or three convolutions, ReLU, pool
    assert [stage.name for stage in mobile.stages] == [
        "features.0-1",
        "features.2-3",
        "features.4-6",
        "features.7-13",
        "features.14-18",
    ]
