"""Weights: read from their file once per process, copied into a backbone, and proven to be in use."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from raytl.digest import sha256_of
from raytl.errors import MachineError
from raytl.models.backbones import Backbone
from raytl.models.published import PUBLISHED, find_weights

__all__ = ["NONE", "PUBLISHED", "WeightsReport", "load_into", "weights_fingerprint"]

NONE = "none"
LEAST_MATCHED = 0.95  # chosen: with less, a part of the backbone that matters would start from random values
_SHOWN = 4  # names listed in an error
_CONVERTERS = (
    "checkpoint_filter_fn",
    "_filter_fn",
    "_filter_pretrained",
)  # timm's names for "older file to this model"


@dataclass(frozen=True)
class WeightsReport:
    """Where a backbone's weights came from and how many are in use.

    `matched` is the share of the backbone's parameters and batch-norm statistics, by count of numbers, that were
    found in the file by name and shape and are, after the copy, equal to it. The published classifier's tensors are
    not used, since the head is new.
    """

    backbone: str
    source: str
    location: str
    sha256: str
    matched: float
    note: str


@dataclass(frozen=True)
class _FileTensors:
    tensors: dict[str, Tensor]
    sha256: str


def load_into(backbone: Backbone, weights: str) -> WeightsReport:
    """Copies `weights` (`pretrained`, `none`, or a folder with `<backbone>.safetensors`) into `backbone`.

    Raises:
        MachineError: where the file cannot be had or read, or holds less than 95% of the backbone.
        ConfigError: where no weights were published, or the folder does not exist.
    """
    if weights == NONE:
        return WeightsReport(backbone.name, NONE, "", "", 0.0, "all weights start from random values")
    file = find_weights(backbone.name, weights)
    held = _read_file(file.path)
    tensors = _converted(backbone.net, held.tensors)
    target: dict[str, Tensor] = dict(backbone.net.state_dict(keep_vars=True))
    matched = _copy(target, tensors)
    _check(backbone, target, tensors, matched, file.location)
    notes = (_load_auxiliary(backbone, tensors), "" if matched == 1.0 else _differences(backbone, target, tensors))
    return WeightsReport(
        backbone=backbone.name,
        source=file.source,
        location=file.location,
        sha256=held.sha256,
        matched=matched,
        note="; ".join(note for note in notes if note),
    )


def weights_fingerprint(backbone: str, weights: str) -> str:
    """The sha256 of the file that `weights` means for `backbone`; empty for `none`."""
    return "" if weights == NONE else _read_file(find_weights(backbone, weights).path).sha256


def _read_file(path: Path) -> _FileTensors:
    state = path.stat()
    return _read(path.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=16)
def _read(path: Path, modified_ns: int, size_bytes: int) -> _FileTensors:
    """Reads a file once; a file that changed is another key. Never unpickles anything but tensors."""
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            loaded = loaded.get("state_dict", loaded.get("model", loaded))
            tensors = {name: value for name, value in loaded.items() if isinstance(value, Tensor)}
    except (SafetensorError, UnpicklingError, OSError, RuntimeError, ValueError, AttributeError, EOFError) as error:
        raise MachineError(f"{path}: cannot be read as weights ({error}); fetch or write the file again") from error
    return _FileTensors(tensors, sha256_of(path))


def _converted(net: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` under the names and shapes of `net`, where timm knows how to bring an older file to them."""
    wanted = net.state_dict()
    if all(name in tensors and tensors[name].shape == value.shape for name, value in wanted.items()):
        return tensors
    module = sys.modules[type(net).__module__]
    convert: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None = next(
        (getattr(module, name) for name in _CONVERTERS if hasattr(module, name)), None
    )
    if convert is None or not type(net).__module__.startswith("timm."):
        return tensors
    try:
        converted = convert(dict(tensors), net)
    except (KeyError, RuntimeError, ValueError, AttributeError, TypeError):
        return tensors  # not the older form that timm expects; the check that follows says what is missing
    return {name: value for name, value in converted.items() if isinstance(value, Tensor)}


@torch.no_grad()
def _copy(target: dict[str, Tensor], tensors: dict[str, Tensor]) -> float:
    """Copies what fits and returns the share of floating-point numbers that then equal the file's."""
    total = equal = 0
    for name, value in target.items():
        source = tensors.get(name)
        fits = source is not None and source.shape == value.shape
        if fits and source is not None:
            value.copy_(source)
        if value.is_floating_point():
            total += value.numel()
            if fits and source is not None and torch.equal(value, source.to(value)):
                equal += value.numel()
    return equal / total if total else 0.0


def _check(
    backbone: Backbone, target: dict[str, Tensor], tensors: dict[str, Tensor], matched: float, location: str
) -> None:
    missing = [name for name, value in target.items() if name not in tensors and value.is_floating_point()]
    statistics = [name for name in missing if name.rpartition(".")[2] in ("running_mean", "running_var")]
    if matched >= LEAST_MATCHED and not statistics:
        return
    lists = _differences(backbone, target, tensors)
    raise MachineError(
        f"{backbone.name}: {matched:.1%} of its weights are in {location}, at least {LEAST_MATCHED:.0%} must be, with "
        f"all batch-norm statistics ({lists}); give the file made for this backbone, or say --weights none"
    )


def _differences(backbone: Backbone, target: dict[str, Tensor], tensors: dict[str, Tensor]) -> str:
    """What the model has and the file lacks, has in another shape, or has too much of."""
    missing = [name for name, value in target.items() if name not in tensors and value.is_floating_point()]
    shapes = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(value.shape)}"
        for name, value in target.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    known = {*target, *_apart(backbone, tensors)}
    found = (("missing", missing), ("mis-shaped", shapes), ("unexpected", [n for n in tensors if n not in known]))
    return "; ".join(f"{label}: {_some(names)}" for label, names in found if names) or "values differ after the copy"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _apart(backbone: Backbone, tensors: dict[str, Tensor]) -> list[str]:
    """Names in the file that belong to its classifier and auxiliary heads, or to what another pooling leaves out."""
    plan = backbone.plan
    left_out = (*plan.tail_modules, *(plan.wide.modules if plan.wide else ()))
    prefixes = (*backbone.classifier_names, *(tap.module for tap in plan.taps), *left_out)
    return [name for name in tensors if name.startswith(tuple(f"{prefix}." for prefix in prefixes))]


def _load_auxiliary(backbone: Backbone, tensors: dict[str, Tensor]) -> str:
    """Auxiliary heads are loaded where the file has them; they are counted apart."""
    whole = 0
    for tap in backbone.plan.taps:
        if tap.step in backbone.auxiliary:
            prefix = f"{tap.module}."
            held = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            whole += _copy(dict(backbone.auxiliary[tap.step].state_dict(keep_vars=True)), held) == 1.0
    count = len(backbone.auxiliary)
    return f"{whole} of {count} auxiliary heads found in the file" if count else ""
