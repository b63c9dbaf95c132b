"""What each source says of its models."""

from __future__ import annotations

import pytest
import torch
import torchvision

from raytl.errors import ConfigError
from raytl.models.backbones import create_backbone, shapes_of

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "source", "size", "mean_std", "channels", "features"),
    [
        ("resnet50", "timm", 224, IMAGENET, 2048, 2048),
        ("vgg16", "timm", 224, IMAGENET, 512, 4096),
        ("tf_efficientnetv2_s", "timm", 300, HALF, 1280, 1280),
        ("vit_base_patch16_224", "timm", 224, HALF, 768, 768),
        ("swinv2_tiny_window8_256", "timm", 256, IMAGENET, 768, 768),
        ("mobilenetv3_large_100", "timm", 224, IMAGENET, 960, 1280),
        ("googlenet", "torchvision", 224, HALF, 1024, 1024),
        ("squeezenet1_1", "torchvision", 224, IMAGENET, 512, 512),
        ("mobilenet_v3_small", "torchvision", 224, IMAGENET, 576, 1024),
        ("plain_cnn", "raytl", 256, HALF, 128, 128),
    ],
)
def test_published_facts(
    name: str,
    source: str,
    size: int,
    mean_std: tuple[tuple[float, ...], tuple[float, ...]],
    channels: int,
    features: int,
) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name)
    assert backbone.source == source
    assert backbone.input.image_size == size
    assert (backbone.input.mean, backbone.input.std) == mean_std
    shapes = shapes_of(name, "backbone", size)
    assert (shapes.channels, shapes.features) == (channels, features)


def test_an_unknown_tag_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"resnet18.nonsense"):
        create_backbone("resnet18.nonsense")


@torch.no_grad()
def test_googlenet_gets_the_pixels_that_torchvision_would_give_it() -> None:
    """torchvision's published GoogLeNet takes ImageNet-normalized pixels and turns them into -1..1 inside."""
    backbone = create_backbone("googlenet").eval()
    reference = torchvision.models.googlenet(aux_logits=False, transform_input=True, init_weights=False).eval()
    reference.fc = torch.nn.Identity()
    reference.load_state_dict(backbone.net.state_dict())
    pixels = torch.rand(2, 3, 64, 64)

    def normalized(mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    ours = backbone(normalized(backbone.input.mean, backbone.input.std))
    torch.testing.assert_close(ours, reference(normalized(*IMAGENET)), rtol=1e-4, atol=1e-5)
