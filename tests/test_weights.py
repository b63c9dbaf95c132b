"""Weights are proven to be in use: right ones are taken, others are refused, and no file is read twice."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from raytl.errors import ConfigError, MachineError
from raytl.models.backbones import create_backbone
from raytl.models.carried import CARRIED, carried_weights_path
from raytl.models.weights import load_into, weights_fingerprint

REAL = os.environ.get("RAYTL_TEST_WEIGHTS")


def _write(folder: Path, name: str, tensors: dict[str, Tensor]) -> Path:
    path = folder / f"{name}.safetensors"
    safetensors.torch.save_file(tensors, path)
    return path


def _other(name: str, image_size: int = 64) -> dict[str, Tensor]:
    """Random tensors for a backbone, different from every fresh one."""
    torch.manual_seed(99)
    state = create_backbone(name, image_size=image_size).net.state_dict()
    return {k: torch.randn_like(v) if v.is_floating_point() else v.clone() + 7 for k, v in state.items()}


@pytest.mark.parametrize("name", ["resnet10t", "test_vit", "squeezenet1_1", "googlenet", "tiny_resnet"])
def test_every_tensor_of_the_file_is_in_the_model(tmp_path: Path, name: str) -> None:
    tensors = _other(name)
    path = _write(tmp_path, name, tensors)
    backbone = create_backbone(name, image_size=64)
    report = load_into(backbone, str(tmp_path))
    state = backbone.net.state_dict()
    assert state.keys() == tensors.keys()
    assert all(torch.equal(state[key], tensors[key]) for key in tensors)
    assert (report.matched, report.source) == (1.0, "folder")
    assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == weights_fingerprint(name, str(tmp_path))


def test_a_classifier_in_the_file_is_passed_over(tmp_path: Path) -> None:
    extra = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    _write(tmp_path, "resnet10t", _other("resnet10t") | extra)
    report = load_into(create_backbone("resnet10t"), str(tmp_path))
    assert (report.matched, report.note) == (1.0, "")


def test_half_precision_files_are_taken(tmp_path: Path) -> None:
    _write(tmp_path, "plain_cnn", {name: value.half() for name, value in _other("plain_cnn").items()})
    backbone = create_backbone("plain_cnn")
    assert load_into(backbone, str(tmp_path)).matched == 1.0
    assert all(parameter.dtype == torch.float32 for parameter in backbone.parameters())


def test_missing_tensors_are_counted_and_named(tmp_path: Path) -> None:
    tensors = _other("plain_cnn")
    total = sum(value.numel() for value in tensors.values())
    left_out = tensors.pop("block3.conv.weight").numel()
    _write(tmp_path, "plain_cnn", tensors | {"stranger": torch.zeros(1)})
    with pytest.raises(MachineError, match=r"missing: block3.conv.weight; unexpected: stranger") as caught:
        load_into(create_backbone("plain_cnn"), str(tmp_path))
    assert f"{(total - left_out) / total:.1%}" in str(caught.value)


def test_a_small_gap_is_taken_and_noted(tmp_path: Path) -> None:
    tensors = _other("plain_cnn")
    del tensors["block3.conv.bias"]
    _write(tmp_path, "plain_cnn", tensors)
    report = load_into(create_backbone("plain_cnn"), str(tmp_path))
    assert 0.99 < report.matched < 1.0
    assert report.note == "missing: block3.conv.bias"


def test_mis_shaped_tensors_are_named(tmp_path: Path) -> None:
    _write(tmp_path, "plain_cnn", _other("plain_cnn") | {"block2.conv.weight": torch.zeros(64, 32, 5, 5)})
    with pytest.raises(MachineError, match=r"block2.conv.weight \(64, 32, 5, 5\) instead of \(64, 32, 3, 3\)"):
        load_into(create_backbone("plain_cnn"), str(tmp_path))


def test_a_missing_batch_norm_statistic_is_refused_though_it_is_small(tmp_path: Path) -> None:
    tensors = _other("resnet10t")
    del tensors["layer1.0.bn1.running_var"]
    _write(tmp_path, "resnet10t", tensors)
    with pytest.raises(MachineError, match=r"missing: layer1.0.bn1.running_var"):
        load_into(create_backbone("resnet10t"), str(tmp_path))


def test_the_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, "resnet10t", _other("squeezenet1_1"))
    with pytest.raises(MachineError, match=r"0.0% of its weights"):
        load_into(create_backbone("resnet10t"), str(tmp_path))


def test_position_embeddings_follow_the_picture_size(tmp_path: Path) -> None:
    """A constant embedding stays constant, whatever the grid; taken as it is, it would not fit."""
    tensors = _other("test_vit", image_size=160)
    tensors["pos_embed"] = torch.full_like(tensors["pos_embed"], 0.25)
    _write(tmp_path, "test_vit", tensors)
    backbone = create_backbone("test_vit", image_size=64)
    assert load_into(backbone, str(tmp_path)).matched == 1.0
    embedding = backbone.net.get_parameter("pos_embed")
    assert embedding.shape != tensors["pos_embed"].shape
    torch.testing.assert_close(embedding, torch.full_like(embedding, 0.25))


def test_auxiliary_heads_are_loaded_and_counted_apart(tmp_path: Path) -> None:
    tensors = _other("googlenet")
    given = create_backbone("googlenet", auxiliary=True).auxiliary["inception4a"].state_dict()
    tensors |= {f"aux1.{key}": torch.ones_like(value) for key, value in given.items()}
    _write(tmp_path, "googlenet", tensors)
    backbone = create_backbone("googlenet", auxiliary=True)
    report = load_into(backbone, str(tmp_path))
    assert report.matched == 1.0
    assert report.note == "1 of 2 auxiliary heads found in the file"
    assert torch.all(backbone.auxiliary["inception4a"].get_parameter("conv.conv.weight") == 1)


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    original = safetensors.torch.load_file

    def counted(path: Path) -> dict[str, Tensor]:
        read.append(path)
        return original(path)

    monkeypatch.setattr(safetensors.torch, "load_file", counted)
    _write(tmp_path, "plain_cnn", _other("plain_cnn"))
    for _ in range(3):
        load_into(create_backbone("plain_cnn"), str(tmp_path))
    assert len(read) == 1
    changed = {name: value + 1 for name, value in _other("plain_cnn").items()}
    path = _write(tmp_path, "plain_cnn", changed)
    os.utime(path, ns=(1, 1))
    backbone = create_backbone("plain_cnn")
    load_into(backbone, str(tmp_path))
    assert len(read) == 2
    assert torch.equal(backbone.net.get_parameter("block1.conv.bias"), changed["block1.conv.bias"])


def test_training_does_not_change_what_the_next_model_gets(tmp_path: Path) -> None:
    _write(tmp_path, "plain_cnn", _other("plain_cnn"))
    first = create_backbone("plain_cnn")
    load_into(first, str(tmp_path))
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    second = create_backbone("plain_cnn")
    load_into(second, str(tmp_path))
    assert all(parameter.abs().sum() > 0 for parameter in second.parameters())


def test_torch_files_are_read_without_unpickling_code(tmp_path: Path) -> None:
    tensors = _other("plain_cnn")
    torch.save(tensors, tmp_path / "plain_cnn.pth")
    assert load_into(create_backbone("plain_cnn"), str(tmp_path)).matched == 1.0
    torch.save({"state_dict": Path("anything")}, tmp_path / "plain_cnn.pth")
    with pytest.raises(MachineError, match=r"cannot be read as weights"):
        load_into(create_backbone("plain_cnn"), str(tmp_path))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "plain_cnn.safetensors").write_bytes(b"\x10\x00\x00\x00")
    with pytest.raises(MachineError, match=r"plain_cnn.safetensors: cannot be read"):
        load_into(create_backbone("plain_cnn"), str(tmp_path))


def test_none_is_random_and_has_no_fingerprint() -> None:
    report = load_into(create_backbone("plain_cnn"), "none")
    assert (report.source, report.matched) == ("none", 0.0)
    assert weights_fingerprint("plain_cnn", "none") == ""


def test_folders_and_names_that_are_not_there(tmp_path: Path) -> None:
    _write(tmp_path, "resnet10t", {"x": torch.zeros(1)})
    with pytest.raises(ConfigError, match=r"existing folder"):
        load_into(create_backbone("plain_cnn"), str(tmp_path / "nowhere"))
    with pytest.raises(MachineError, match=r"no plain_cnn.safetensors in .*it has: resnet10t.*--weights none"):
        load_into(create_backbone("plain_cnn"), str(tmp_path))
    with pytest.raises(ConfigError, match=r"no weights were ever published"):
        load_into(create_backbone("plain_cnn"), "pretrained")


@pytest.mark.parametrize("name", list(CARRIED))
def test_carried_weights_are_whole(name: str) -> None:
    report = load_into(create_backbone(name), "pretrained")
    assert (report.matched, report.source) == (1.0, "carried")
    assert report.sha256 == hashlib.sha256(carried_weights_path(name).read_bytes()).hexdigest()


@pytest.mark.skipif(not REAL, reason="RAYTL_TEST_WEIGHTS names no folder of published weights")
@pytest.mark.parametrize("name", ["mobilenetv2_100", "mobilenetv1_100", "squeezenet1_1"])
def test_published_files(name: str) -> None:
    assert load_into(create_backbone(name), str(REAL)).matched == 1.0
