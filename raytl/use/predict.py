"""Predictions of a saved model on files and folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raytl.data.decode import DecodeError, decode, resize_shorter
from raytl.data.sources import is_picture_name
from raytl.data.views import View, center_batch
from raytl.errors import DataError
from raytl.train.device import resolve_precision
from raytl.train.metrics import predicted_classes, predictions_from_logits
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
    """The files named, and all pictures below the folders named (hidden ones left out), in a fixed order.

    Raises:
        DataError: naming every path that does not exist and every folder without a picture.
    """
    found: list[Path] = []
    problems: list[str] = []
    for path in paths:
        below = _below(path) if path.is_dir() else [path]
        if not path.exists():
            problems.append(f"{path}: no such file or folder; name pictures, or folders of pictures")
        elif not below:
            problems.append(f"{path}: no picture in this folder or below it; name one that holds some")
        found += below
    if problems:
        raise DataError(*problems)
    return found


def predict(loaded: LoadedModel, paths: Sequence[Path]) -> Iterator[Prediction]:
    """A prediction for each picture file in order; a file that cannot be read gets its reason instead."""
    for start in range(0, len(paths), BATCH):
        part = [(path, *_pixels(path, loaded.eval_resize)) for path in paths[start : start + BATCH]]
        logits = logits_of(loaded, [pixels for _, pixels, _ in part if pixels is not None])
        rows = iter(predictions_from_logits(logits, loaded.recipe.loss).numpy())
        classes = iter(predicted_classes(logits).tolist())
        for path, pixels, problem in part:
            if pixels is None:
                yield Prediction(path, None, {}, problem)
            else:
                named = dict(zip(loaded.classes, next(rows).tolist(), strict=True))
                yield Prediction(path, loaded.classes[next(classes)], named)


def logits_of(loaded: LoadedModel, pictures: Sequence[np.ndarray]) -> Tensor:
    """Logits (N, K) float32 of pictures (H, W, 3) uint8 with shorter sides of `eval_resize`.

    Cut, normalized and computed as in the evaluations while the model was trained: the same number format, too.
    """
    if not pictures:
        return torch.zeros((0, len(loaded.classes)))
    batch = center_batch(pictures, View(loaded.input.image_size, loaded.input.mean, loaded.input.std))
    with torch.inference_mode(), resolve_precision(loaded.recipe.precision, batch.device).autocast():
        logits: Tensor = loaded.model(batch)
    return logits.float()


def _pixels(path: Path, side: int) -> tuple[np.ndarray | None, str | None]:
    """A picture file as (H, W, 3) uint8 with its shorter side `side`, or what is wrong with it."""
    try:
        return resize_shorter(decode(path.read_bytes()), side), None
    except OSError as error:
        return None, f"cannot be read ({error.strerror or error})"
    except DecodeError as error:
        return None, str(error)


def _below(folder: Path) -> list[Path]:
    """The pictures in a folder and below it."""
    paths = (path for path in folder.rglob("*") if is_picture_name(path.name) and path.is_file())
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))
