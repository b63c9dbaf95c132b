"""Predictions of a saved model on files and folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raytl.data.decode import DecodeError, decode, resize_shorter
from raytl.data.sources import PICTURE_SUFFIXES
from raytl.errors import DataError
from raytl.train.metrics import predictions_from_logits
from raytl.use.export import LoadedModel

BATCH = 32  # chosen: bounds memory, whatever the number of pictures


@dataclass(frozen=True)
class Prediction:
    """One picture: the likeliest class and all probabilities by class name, or why it could not be read."""

    path: Path
    predicted: str | None
    probabilities: dict[str, float]
    problem: str | None = None


def pictures_in(paths: Sequence[Path]) -> list[Path]:
    """The files named, and all pictures below the folders named, in a fixed order.

    Raises:
        DataError: naming every path that does not exist.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise DataError(*(f"{path}: no such file or folder" for path in missing))
    found: list[Path] = []
    for path in paths:
        below = (
            sorted(each for each in path.rglob("*") if each.suffix.lower() in PICTURE_SUFFIXES)
            if path.is_dir()
            else [path]
        )
        found += below
    return found


def predict(loaded: LoadedModel, paths: Sequence[Path]) -> Iterator[Prediction]:
    """A prediction for each picture file in order; a file that cannot be read gets its reason instead."""
    for start in range(0, len(paths), BATCH):
        part = paths[start : start + BATCH]
        batch: dict[Path, Tensor] = {}
        problems: dict[Path, str] = {}
        for path in part:
            try:
                batch[path] = _picture(loaded, path)
            except (OSError, DecodeError) as error:
                problems[path] = str(error)
        rows = dict(zip(batch, _probabilities(loaded, list(batch.values())), strict=True))
        for path in part:
            yield _prediction(loaded, path, rows.get(path), problems.get(path))


def _prediction(loaded: LoadedModel, path: Path, row: np.ndarray | None, problem: str | None) -> Prediction:
    if row is None:
        return Prediction(path, None, {}, problem)
    named = {name: float(value) for name, value in zip(loaded.classes, row, strict=True)}
    return Prediction(path, loaded.classes[int(row.argmax())], named)


@torch.inference_mode()
def _probabilities(loaded: LoadedModel, pictures: Sequence[Tensor]) -> np.ndarray:
    if not pictures:
        return np.zeros((0, len(loaded.classes)), dtype=np.float32)
    logits = loaded.model(torch.stack(list(pictures)))
    return predictions_from_logits(logits, loaded.recipe.loss).numpy()


def _picture(loaded: LoadedModel, path: Path) -> Tensor:
    """(3, size, size) float, resized, cut around the center and normalized as the model was evaluated."""
    pixels = resize_shorter(decode(path.read_bytes()), loaded.recipe.eval_resize)
    size = loaded.input.image_size
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    cut = np.ascontiguousarray(pixels[top : top + size, left : left + size])
    mean, std = torch.tensor(loaded.input.mean), torch.tensor(loaded.input.std)
    return ((torch.from_numpy(cut).float() / 255 - mean) / std).permute(2, 0, 1)
