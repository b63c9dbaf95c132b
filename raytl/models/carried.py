"""The three small backbones whose weights the package carries, for transfer learning with no network.

Each is a timm architecture. `experiments/pretrain_carried.py` makes the weights from pictures drawn by formula;
`experiments/benchmarks/carried_weights.py` measures what they are worth against random ones.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from raytl.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

_NOTE = (
    "Trained on pictures made by formula, taught by the features of mobilenetv2_100 (ImageNet weights, Apache-2.0, "
    "derived from a published 8-bit TensorFlow model). No flower and no digit was among the pictures."
)
MAX_FILE_BYTES = 2_000_000  # chosen: three such files stay small beside the package's own code


@dataclass(frozen=True)
class CarriedBackbone:
    """A backbone that the package carries: `timm.create_model(architecture, num_classes=0, **arguments)`.

    `mean` and `std` belong to pixels from 0 to 1; `image_size` (pixels) is the size the weights were trained at.
    """

    name: str
    architecture: str
    arguments: dict[str, object] = field(default_factory=dict)
    image_size: int = 64
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    note: str = _NOTE

    @property
    def file(self) -> str:
        """Name of the weights file in the package's folder `models/carried`."""
        return f"{self.name}.safetensors"


_VIT: dict[str, object] = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 96,
    "depth": 5,
    "num_heads": 3,
    "class_token": False,
    "global_pool": "avg",
    "dynamic_img_size": True,  # other sizes that the patch divides are accepted too
}

CARRIED: dict[str, CarriedBackbone] = {
    backbone.name: backbone
    for backbone in (
        CarriedBackbone("tiny_mobilenet", "mobilenetv2_050"),
        CarriedBackbone("tiny_resnet", "resnet18", {"channels": (24, 48, 80, 128)}),
        CarriedBackbone("tiny_vit", "vit_tiny_patch16_224", _VIT),
    )
}


def carried_weights_path(name: str) -> Path:
    """Where the weights of the carried backbone `name` lie (float16 safetensors)."""
    return Path(__file__).parent / "carried" / _find(name).file


def create_carried(name: str) -> "nn.Module":
    """The carried backbone `name` without classifier, with random weights: x (B, 3, H, W) float -> (B, features)."""
    import timm  # imported here: reading the registry should not cost seconds
    from torch import nn

    backbone = _find(name)
    model = timm.create_model(backbone.architecture, num_classes=0, **backbone.arguments)
    assert isinstance(model, nn.Module)
    return model


def load_carried(name: str) -> "nn.Module":
    """The carried backbone `name` with its carried weights, as float32; every tensor must match by name and shape."""
    from safetensors.torch import load_file

    model = create_carried(name)
    weights = load_file(carried_weights_path(name))
    model.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in weights.items()}
    )
    return model


def _find(name: str) -> CarriedBackbone:
    if name not in CARRIED:
        raise ConfigError(f"no carried backbone is called {name!r}; there are {', '.join(CARRIED)}")
    return CARRIED[name]
