"""What is fastest on this device: number format and memory layout, decided by measuring."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

GAIN = 1.25  # chosen: bf16 must be a quarter faster, above the noise of a few steps, before its rounding is accepted
REPEATS = 5  # chosen: the fastest of five steps each, after one that is not counted
# As many pictures as this at a size, which takes seconds, within bounds. Measured on tiny_resnet at 64 pixels, 18 times
# each: a step of 8 pictures is 1.30 to 1.51 times as fast in bf16, too near to GAIN, and one of 32 is 1.47 to 1.67.
MEASURED_PIXELS = 8 * 224**2
FEWEST_PICTURES, MOST_PICTURES = 8, 32


@dataclass(frozen=True)
class Precision:
    """A number format by name, and the context that a forward pass runs in."""

    name: str
    device_type: str

    def autocast(self) -> torch.autocast:
        """The context for forward passes; without effect for fp32."""
        return torch.autocast(self.device_type, dtype=torch.bfloat16, enabled=self.name == "bf16")


def resolve_precision(name: str, device: torch.device) -> Precision:
    """`auto` is bf16 where the GPU computes it natively and fp32 elsewhere (a study measures and then names one)."""
    if name == "auto":
        native = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        name = "bf16" if native else "fp32"
    return Precision(name, device.type)


def memory_format(module: nn.Module) -> torch.memory_format:
    """Channels-last for everything with convolutions.

    Measured on two AVX-512 cores at 224 pixels, a training step of 16 pictures: mobilenetv2_100 1.3 times and
    resnet18 1.4 to 4 times faster than channels-first; no difference for a transformer.
    """
    has_convolution = any(isinstance(part, nn.Conv2d) for part in module.modules())
    return torch.channels_last if has_convolution else torch.contiguous_format


def measured_batch(image_size: int) -> int:
    """How many pictures of `image_size` pixels a step has by which number formats are compared."""
    return min(MOST_PICTURES, max(FEWEST_PICTURES, MEASURED_PIXELS // image_size**2))


def faster_precision(make_model: Callable[[], nn.Module], image_size: int) -> str:
    """`bf16` where a training step with it is at least a quarter faster than in fp32 on these processors, else `fp32`.

    What is compared is processor time: what else runs on the machine takes none of it.
    """
    model = make_model()
    layout = memory_format(model)
    model = model.to(memory_format=layout)
    pictures = torch.randn(measured_batch(image_size), 3, image_size, image_size).contiguous(memory_format=layout)
    formats = [Precision(name, "cpu") for name in ("fp32", "bf16")]
    rounds = [[_step_seconds(model, pictures, each) for each in formats] for _ in range(REPEATS + 1)]
    fp32, bf16 = (min(times) for times in zip(*rounds[1:], strict=True))
    return "bf16" if bf16 * GAIN < fp32 else "fp32"


def _step_seconds(model: nn.Module, pictures: torch.Tensor, precision: Precision) -> float:
    """The processor time of a step in all threads of this process."""
    begin = time.process_time()
    with precision.autocast():
        loss = model(pictures).float().square().mean()
    loss.backward()
    model.zero_grad(set_to_none=True)
    return time.process_time() - begin
