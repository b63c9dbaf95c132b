"""Number formats and memory layout by device."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from raytl.models.classifier import build_classifier
from raytl.train.device import GAIN, Precision, faster_precision, measured_batch, memory_format, resolve_precision
from tests.tiny import tiny_recipe

CPU = torch.device("cpu")


class Timed(nn.Module):
    """A step that takes a processor for given seconds, by number format, and waits for `idle` seconds in bf16."""

    def __init__(self, fp32: float, bf16: float, idle: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.fp32, self.bf16, self.idle = fp32, bf16, idle

    def forward(self, x: Tensor) -> Tensor:
        in_bf16 = torch.is_autocast_enabled("cpu")
        end = time.process_time() + (self.bf16 if in_bf16 else self.fp32)
        while time.process_time() < end:
            pass
        time.sleep(self.idle if in_bf16 else 0)
        return x * self.weight


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_products_are_computed_in_the_named_format(name: str, dtype: torch.dtype) -> None:
    layer = nn.Linear(3, 2)
    with resolve_precision(name, CPU).autocast():
        assert layer(torch.ones(1, 3)).dtype == dtype
    assert layer(torch.ones(1, 3)).dtype == torch.float32


def test_auto_is_fp32_on_processors() -> None:
    assert resolve_precision("auto", CPU) == Precision("fp32", "cpu")


@pytest.mark.parametrize(("capability", "name"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_auto_is_bf16_where_the_gpu_computes_it(
    capability: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", torch.device("cuda")) == Precision(name, "cuda")


def test_convolutions_are_channels_last() -> None:
    assert memory_format(nn.Sequential(nn.Conv2d(3, 4, 1))) == torch.channels_last
    assert memory_format(nn.Sequential(nn.Linear(3, 4))) == torch.contiguous_format
    assert memory_format(build_classifier(tiny_recipe(), 3)) == torch.channels_last


@pytest.mark.parametrize("idle", [0, 0.03])
@pytest.mark.parametrize(
    ("fp32", "bf16", "name"), [(0.02, 0.005, "bf16"), (0.005, 0.02, "fp32"), (0.02, 0.02 / (GAIN - 0.1), "fp32")]
)
def test_the_faster_format_wins_by_more_than_a_little(fp32: float, bf16: float, idle: float, name: str) -> None:
    assert faster_precision(lambda: Timed(fp32, bf16, idle), 8) == name


@pytest.mark.parametrize(("size", "pictures"), [(16, 32), (64, 32), (112, 32), (128, 24), (224, 8), (384, 8)])
def test_small_pictures_are_timed_in_larger_batches(size: int, pictures: int) -> None:
    assert measured_batch(size) == pictures


def test_a_real_model_is_timed() -> None:
    assert faster_precision(lambda: build_classifier(tiny_recipe(), 3), 16) in ("fp32", "bf16")
