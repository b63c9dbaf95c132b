"""The list of names, its speed, and its agreement with what is installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from raytl.catalog import backbone_names, check_backbone, source_of
from raytl.errors import ConfigError


def test_the_studies_names_are_known() -> None:
    for name in (
        "vgg16",
        "resnet50",
        "googlenet",
        "swinv2_tiny_window8_256",
        "squeezenet1_1",
        "plain_cnn",
        "mobilenet_v2",
    ):
        check_backbone(name)
    assert source_of("googlenet") == "torchvision"
    assert source_of("resnet50") == source_of("resnet50.tv_in1k") == "timm"
    assert list(backbone_names()) == sorted(backbone_names())


@pytest.mark.parametrize(
    ("name", "near"), [("resnet5O", "resnet50"), ("gogglenet", "googlenet"), ("googlenet.v1", "googlenet")]
)
def test_the_nearest_name_is_offered(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"{name!r} does not exist.*{near!r}"):
        check_backbone(name)


def test_checking_a_name_imports_no_torch() -> None:
    code = "import sys, raytl.catalog as c; c.check_backbone('resnet50'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "False"
