"""The carried backbones: small files, loaded whole, and better than random weights on pictures they have not seen."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from raytl.data.samples import write_sample
from raytl.errors import ConfigError
from raytl.models.carried import CARRIED, MAX_FILE_BYTES, carried_weights_path, create_carried, load_carried

every_backbone = pytest.mark.parametrize("name", list(CARRIED))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_three_backbones_of_three_families() -> None:
    assert sorted(CARRIED) == ["tiny_mobilenet", "tiny_resnet", "tiny_vit"]
    architectures = [backbone.architecture for backbone in CARRIED.values()]
    assert len(set(architectures)) == 3
    assert all(name == backbone.name for name, backbone in CARRIED.items())
    files = {path.name for path in carried_weights_path("tiny_vit").parent.glob("*.safetensors")}
    assert files == {backbone.file for backbone in CARRIED.values()}


@every_backbone
def test_the_file_is_small_and_half_precision(name: str) -> None:
    path = carried_weights_path(name)
    assert path.stat().st_size <= MAX_FILE_BYTES
    weights = load_file(path)
    assert {value.dtype for value in weights.values()} <= {torch.float16, torch.int64}
    assert all(torch.isfinite(value).all() for value in weights.values())


@every_backbone
def test_the_file_fits_the_timm_model_strictly(name: str) -> None:
    backbone = CARRIED[name]
    model = timm.create_model(backbone.architecture, num_classes=0, **backbone.arguments)
    weights = load_file(carried_weights_path(name))
    model.load_state_dict(weights, strict=True)
    for key, value in load_carried(name).state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key


@every_backbone
@pytest.mark.parametrize("size", [64, 96])
def test_both_sizes_are_accepted(name: str, size: int) -> None:
    model = load_carried(name).eval()
    with torch.inference_mode():
        features = model(torch.zeros(2, 3, size, size))
    assert features.shape == (2, model.num_features)
    assert torch.isfinite(features).all()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="tiny_mobilenet, tiny_resnet, tiny_vit"):
        create_carried("tiny_lcnet")


@cache
def sample(name: str, per_class: int) -> tuple[torch.Tensor, np.ndarray]:
    with TemporaryDirectory() as folder:
        files = sorted(write_sample(name, Path(folder) / name, per_class).rglob("*.png"))
        pixels = np.stack([np.asarray(Image.open(file)) for file in files])
        classes = sorted({file.parent.name for file in files})
        labels = np.array([classes.index(file.parent.name) for file in files])
    order = np.random.default_rng(0).permutation(len(labels))
    return torch.from_numpy(pixels[order]).permute(0, 3, 1, 2).float() / 127.5 - 1, labels[order]


def probe_accuracy(model: nn.Module, name: str, per_class: int) -> float:
    """Accuracy of ridge regression on the classes, trained on the features of 200 pictures, on all others."""
    x, labels = sample(name, per_class)
    with torch.inference_mode():
        features = torch.cat([model.eval()(part) for part in x.split(100)]).numpy()
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=300.0))
    probe.fit(features[:200], labels[:200])
    return float(probe.score(features[200:], labels[200:]))


@every_backbone
@pytest.mark.parametrize(("data", "per_class"), [("digits", 60), ("drawn-flowers", 100)])
def test_a_probe_of_200_pictures_gains_ten_points_over_random_weights(name: str, data: str, per_class: int) -> None:
    torch.manual_seed(0)
    random = probe_accuracy(create_carried(name), data, per_class)
    carried = probe_accuracy(load_carried(name), data, per_class)
    assert carried >= random + 0.10
