"""Fine-tuning and features the way a notebook has them: timm, torchvision's `ImageFolder`, a plain loop.

Not a benchmark: `notebook.py`, `documented.py` and `peers.py` are made of it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

PIXELS, RESIZE = 224, 256
LAST = (transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
AS_EVALUATED = transforms.Compose([transforms.Resize(RESIZE), transforms.CenterCrop(PIXELS), *LAST])


def make_model(backbone: str, weights: Path, class_count: int) -> nn.Module:
    """timm's model with the published weights and a new linear layer; without one where there are 0 classes."""
    model = timm.create_model(backbone, num_classes=class_count)
    published = load_file(weights / f"{backbone}.safetensors")
    state = {name: value for name, value in published.items() if not name.startswith("classifier")}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.startswith("classifier") for name in missing), (missing, unexpected)
    return model


def make_loaders(folder: Path, batch_size: int, workers: int = 2) -> dict[str, DataLoader[Any]]:
    """Augmented training pictures, plain validation and test pictures."""
    steps = {
        "train": transforms.Compose([transforms.RandomResizedCrop(PIXELS), transforms.RandomHorizontalFlip(), *LAST])
    }
    return {
        split: DataLoader(
            datasets.ImageFolder(str(folder / split), steps.get(split, AS_EVALUATED)),
            batch_size=batch_size,
            shuffle=split == "train",
            num_workers=workers,
        )
        for split in ("train", "val", "test")
    }


def train_epoch(model: nn.Module, loader: DataLoader[Any], optimizer: torch.optim.Optimizer) -> None:
    """One pass over the training pictures."""
    criterion = nn.CrossEntropyLoss()
    model.train()
    for inputs, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(inputs), labels)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def right_of(model: nn.Module, loader: DataLoader[Any]) -> np.ndarray:
    """Right or wrong (N,) for each picture, in the loader's order."""
    model.eval()
    return np.concatenate([(model(inputs).argmax(1) == labels).numpy() for inputs, labels in loader])


def features_of(model: nn.Module, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What a model without classifier makes of the plain pictures of a folder of classes: (N, F), and labels (N,)."""
    loader = DataLoader(datasets.ImageFolder(str(folder), AS_EVALUATED), batch_size=32)
    model.eval()
    with torch.no_grad():
        found = [(model(inputs).numpy(), labels.numpy()) for inputs, labels in loader]
    return np.concatenate([x for x, _ in found]), np.concatenate([y for _, y in found])


def final_models(
    folder: Path, weights: Path, config: dict[str, Any], epochs: int, seeds: int
) -> tuple[list[list[bool]], float]:
    """Right or wrong on the test pictures, of a model for each seed at its best validation epoch; seconds of one."""
    rights, first = [], 0.0
    for seed in range(seeds):
        begin = time.perf_counter()
        torch.manual_seed(seed)
        loaders = make_loaders(folder, config["batch_size"])
        model = make_model(config["backbone"], weights, len(loaders["train"].dataset.class_to_idx))  # type: ignore[attr-defined]
        optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
        best, right = -1.0, np.zeros(0, dtype=bool)
        for _ in range(epochs):
            train_epoch(model, loaders["train"], optimizer)
            accuracy = float(right_of(model, loaders["val"]).mean())
            if accuracy > best:
                best, right = accuracy, right_of(model, loaders["test"])
        rights.append(right.tolist())
        first = first or time.perf_counter() - begin
    return rights, first
