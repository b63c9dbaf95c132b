"""Finding weights: caches need no network, and no network is said quickly and with the ways on."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import torch
import torchvision
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file

from raytl.errors import MachineError
from raytl.models.backbones import create_backbone
from raytl.models.published import find_weights
from raytl.models.weights import load_into


@pytest.mark.parametrize("name", ["resnet10t", "squeezenet1_1"])
def test_without_a_network_the_error_says_the_three_ways_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unplugged(*_arguments: object, **_options: object) -> None:
        raise urllib.error.URLError("no route to host")

    def empty(*_arguments: object, **_options: object) -> str:
        raise LocalEntryNotFoundError("not in the cache")

    monkeypatch.setattr(urllib.request, "urlopen", unplugged)
    monkeypatch.setattr("raytl.models.published.hf_hub_download", empty)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    started = time.monotonic()
    with pytest.raises(MachineError) as caught:
        load_into(create_backbone(name), "pretrained")
    assert time.monotonic() - started < 2
    assert caught.value.exit_code == 3
    for words in (name, "no route to host", f"{name}.safetensors", "--weights FOLDER", "--weights none", "network"):
        assert words in str(caught.value)


def test_a_cached_download_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = create_backbone("squeezenet1_1").net.state_dict()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_a, **_k: pytest.fail("the network was asked"))
    url = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT.url
    (tmp_path / "checkpoints").mkdir()
    torch.save(tensors, tmp_path / "checkpoints" / url.rpartition("/")[2])
    report = load_into(create_backbone("squeezenet1_1"), "pretrained")
    assert (report.source, report.matched, report.location) == ("torchvision", 1.0, url)


def test_a_filled_hub_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, bool]] = []
    save_file(create_backbone("resnet10t").net.state_dict(), tmp_path / "model.safetensors")

    def cached(repository: str, name: str, local_files_only: bool = False) -> str:
        asked.append((repository, name, local_files_only))
        return str(tmp_path / name)

    monkeypatch.setattr("raytl.models.published.hf_hub_download", cached)
    report = load_into(create_backbone("resnet10t"), "pretrained")
    assert (report.source, report.matched) == ("timm", 1.0)
    assert asked == [("timm/resnet10t.c3_in1k", "model.safetensors", True)]
    assert report.location == "hf-hub:timm/resnet10t.c3_in1k/model.safetensors"


def test_a_tag_asks_for_its_own_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(repository: str, name: str, local_files_only: bool = False) -> str:
        return f"{repository}/{name}"

    monkeypatch.setattr("raytl.models.published.hf_hub_download", named)
    assert find_weights("resnet50.tv_in1k", "pretrained").path == Path("timm/resnet50.tv_in1k/model.safetensors")
