"""Finds the file that holds a backbone's weights: in a folder, in the package, in a cache, or on the network."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torchvision
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from raytl.catalog import source_of
from raytl.errors import ConfigError, MachineError
from raytl.models.carried import carried_weights_path

PUBLISHED = "pretrained"
IN_FOLDER = (".safetensors", ".pth")  # what a person's folder may hold; the first goes before the second
PROBE_SECONDS = 5.0  # chosen: a host that answers at all answers sooner, and nobody likes to wait for "no"


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: `source` is `carried`, `timm`, `torchvision` or `folder`; `location` is for people."""

    path: Path
    source: str
    location: str


def find_weights(backbone: str, weights: str) -> WeightsFile:
    """The file for a recipe's `weights` (`pretrained`, or a folder), downloaded if it must be.

    Raises:
        ConfigError: where nothing was ever published for this backbone, or the folder does not exist.
        MachineError: where the file is neither here nor to be had.
    """
    if weights != PUBLISHED:
        return _in_folder(backbone, Path(weights))
    source = source_of(backbone)
    if source == "carried":
        path = carried_weights_path(backbone)
        if not path.is_file():
            raise MachineError(f"{backbone}: the package's own weights are missing at {path}; install raytl again")
        return WeightsFile(path, "carried", f"package:{path.name}")
    if source == "timm":
        return _from_timm(backbone)
    if source == "torchvision":
        return _from_torchvision(backbone)
    raise ConfigError(f"{backbone}: no weights were ever published for it; say weights='none' (--weights none)")


def _in_folder(backbone: str, folder: Path) -> WeightsFile:
    if not folder.is_dir():
        raise ConfigError(f"weights={str(folder)!r}: must be 'pretrained', 'none' or an existing folder")
    for suffix in IN_FOLDER:
        path = folder / f"{backbone}{suffix}"
        if path.is_file():
            return WeightsFile(path, "folder", str(path))
    there = ", ".join(sorted({each.stem for each in folder.iterdir() if each.suffix in IN_FOLDER})) or "none"
    raise MachineError(
        f"{backbone}: no {backbone}.safetensors in {folder}, nor a .pth (it has: {there}); put one there, name another "
        "folder, or say weights='none' (--weights none)"
    )


def _from_timm(backbone: str) -> WeightsFile:
    config = timm.get_pretrained_cfg(backbone)
    if config.hf_hub_id and not config.custom_load:
        return _from_hub(backbone, config.hf_hub_id, config.hf_hub_filename)
    if config.url and not config.custom_load:
        return WeightsFile(_from_url(backbone, config.url), "timm", config.url)
    raise ConfigError(f"{backbone}: timm publishes no weights for it that can be read; say weights='none', or a folder")


def _from_hub(backbone: str, repository: str, filename: str | None) -> WeightsFile:
    names = (filename,) if filename else ("model.safetensors", "pytorch_model.bin")
    for name in names:
        try:
            path = hf_hub_download(repository, name, local_files_only=True)
            return WeightsFile(Path(path), "timm", f"hf-hub:{repository}/{name}")
        except (LocalEntryNotFoundError, OSError):
            continue
    url = f"{constants.ENDPOINT}/{repository}/resolve/main/{names[0]}"
    _probe(backbone, url, Path(constants.HF_HUB_CACHE))
    for name in names:
        try:
            path = hf_hub_download(repository, name, etag_timeout=PROBE_SECONDS)
            return WeightsFile(Path(path), "timm", f"hf-hub:{repository}/{name}")
        except (HfHubHTTPError, OSError):
            continue
    raise _unreachable(backbone, url, Path(constants.HF_HUB_CACHE), f"{' and '.join(names)} could not be downloaded")


def _from_torchvision(backbone: str) -> WeightsFile:
    url = torchvision.models.get_model_weights(backbone).DEFAULT.url
    return WeightsFile(_from_url(backbone, url), "torchvision", url)


def _from_url(backbone: str, url: str) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    _probe(backbone, url, path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = torch.hub.HASH_REGEX.search(path.name)
    try:
        torch.hub.download_url_to_file(url, str(path), found.group(1) if found else None, progress=False)
    except (OSError, RuntimeError) as error:
        raise _unreachable(backbone, url, path.parent, str(error)) from error
    return path


def _probe(backbone: str, url: str, cache: Path) -> None:
    """Asks the host once, so that a machine without a network says so in seconds, not after minutes of retries."""
    if constants.HF_HUB_OFFLINE:
        raise _unreachable(backbone, url, cache, "HF_HUB_OFFLINE is set")
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return  # an answer, if a bad one: the download proper will say what is wrong
    except OSError as error:
        raise _unreachable(backbone, url, cache, str(getattr(error, "reason", error))) from error


def _unreachable(backbone: str, url: str, cache: Path, reason: str) -> MachineError:
    return MachineError(
        f"{backbone}: its published weights are not on this machine (looked in {cache}) and {url} cannot be had "
        f"({reason}). Three ways on: give this machine a network or a filled cache; put {backbone}.safetensors into a "
        "folder and say --weights FOLDER; or say --weights none to start from random weights"
    )
