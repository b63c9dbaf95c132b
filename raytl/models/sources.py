"""Where a backbone's layers come from: one maker for each source, each giving the model without its classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import timm
import torch
import torchvision
from torch import nn

from raytl.errors import ConfigError
from raytl.models.carried import CARRIED, create_carried
from raytl.models.cnn import PlainCnn
from raytl.models.families import FAMILIES
from raytl.models.grouping import group_plan
from raytl.models.plan import Plan

HALF = (0.5, 0.5, 0.5)
PLAIN_CNN_SIZE = 256  # pixels (experiments/fruit_attention.py)


@dataclass(frozen=True)
class InputSpec:
    """What pictures a backbone expects: `image_size` in pixels, `mean` and `std` of the channels of pixels in 0..1."""

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Net:
    """A model without classifier as its source makes it, and what the published classifier's tensors are called."""

    net: nn.Module
    source: str
    input: InputSpec
    classifier_names: tuple[str, ...] = ()


def make_net(name: str, source: str, auxiliary: bool, image_size: int | None) -> Net:
    """A fresh model with random weights and no classifier."""
    return _MAKERS[source](name, auxiliary, image_size)


def make_plan(name: str, made: Net, image_size: int | None) -> Plan:
    """The stages of a model: its family's, or those that timm's groups give."""
    family = FAMILIES.get((made.source, type(made.net).__name__))
    return family(made.net) if family else _generic_plan(name, image_size or made.input.image_size)


@lru_cache(maxsize=256)
def _generic_plan(name: str, image_size: int) -> Plan:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        net = _make_timm(name, False, image_size).net
    return group_plan(name, net, image_size)


def _make_timm(name: str, auxiliary: bool, image_size: int | None) -> Net:
    if name in CARRIED:
        net: nn.Module = create_carried(name)
        carried = CARRIED[name]
        return Net(net, "timm", InputSpec(carried.image_size, carried.mean, carried.std), _classifiers(net))
    try:
        config = timm.get_pretrained_cfg(name)
        resized = image_size and config.fixed_input_size and config.input_size[-1] != image_size
        if auxiliary and name.startswith("inception_v3"):
            net = timm.create_model(name, aux_logits=True)
            net.reset_classifier(0)  # type: ignore[operator]
        elif resized:
            net = timm.create_model(name, num_classes=0, img_size=image_size)
        else:
            net = timm.create_model(name, num_classes=0)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise ConfigError(f"backbone {name!r} at image_size={image_size}: timm refuses it: {error}") from error
    spec = InputSpec(config.input_size[-1], _three(config.mean), _three(config.std))
    return Net(net, "timm", spec, _classifiers(net))


def _classifiers(net: nn.Module) -> tuple[str, ...]:
    names = net.pretrained_cfg.get("classifier") or ()  # type: ignore[union-attr, operator]
    return (names,) if isinstance(names, str) else tuple(names)


def _make_torchvision(name: str, auxiliary: bool, image_size: int | None) -> Net:
    net: nn.Module
    if name == "googlenet":
        net = torchvision.models.googlenet(weights=None, aux_logits=auxiliary, init_weights=True)
    else:
        net = torchvision.models.get_model(name, weights=None)
    transforms = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    size = transforms.crop_size[0]
    if name == "googlenet":  # its weights were made for pixels in -1..1; torchvision converts inside the model
        return Net(net, "torchvision", InputSpec(size, HALF, HALF), (_behead(net),))
    spec = InputSpec(size, _three(transforms.mean), _three(transforms.std))
    return Net(net, "torchvision", spec, (_behead(net),))


def _behead(net: nn.Module) -> str:
    """Takes out the last layer, and the dropout right before it; returns the layer's name."""
    name = "fc" if hasattr(net, "fc") else "classifier"
    module = net.get_submodule(name)
    if type(net).__name__ == "SqueezeNet":  # its classifier is a convolution before the pooling
        net.set_submodule(name, nn.Identity())
        return "classifier.1"
    if not isinstance(module, nn.Sequential):
        net.set_submodule(name, nn.Identity())
        return name
    module[-1] = nn.Identity()
    if isinstance(module[-2], nn.Dropout):
        module[-2] = nn.Identity()
    return f"{name}.{len(module) - 1}"


def _make_own(name: str, auxiliary: bool, image_size: int | None) -> Net:
    return Net(PlainCnn(), "raytl", InputSpec(PLAIN_CNN_SIZE, HALF, HALF))


def _three(values: tuple[float, ...] | list[float]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


_MAKERS: dict[str, Callable[[str, bool, int | None], Net]] = {
    "timm": _make_timm,
    "carried": _make_timm,
    "torchvision": _make_torchvision,
    "raytl": _make_own,
}
