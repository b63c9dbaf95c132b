"""Predictions of a saved model on files and folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from raytl.data.decode import DecodeError, decode, resize_shorter
from raytl.data.scan import usable_cores
from raytl.data.sources import is_picture_name, printable
from raytl.data.store import PictureSet
from raytl.data.views import View, center_batch
from raytl.errors import DataError
from raytl.train.device import resolve_precision
from raytl.train.metrics import predicted_classes, predictions_from_logits
from raytl.use.ensemble import LoadedEnsemble, Sizes
from raytl.use.export import LoadedModel

BATCH = 32  # chosen: bounds memory, whatever the number of pictures

Read = tuple[Sizes | None, str | None]  # pixels, or what is wrong


@dataclass(frozen=True)
class Prediction:
    """One picture: the likeliest class and all probabilities by class name, or why it could not be read."""

    path: Path
    predicted: str | None
    probabilities: dict[str, float]
    problem: str | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """A prediction and what the model was given for it, or nothing of a file that cannot be read."""

    prediction: Prediction
    sizes: Sizes | None

    @property
    def pixels(self) -> np.ndarray | None:
        """The picture as a single model takes it: (H, W, 3) uint8."""
        return None if self.sizes is None else self.sizes[0]


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
            problems.append(f"{printable(path)}: no such file or folder; name pictures, or folders of pictures")
        elif not below:
            problems.append(f"{printable(path)}: no picture in this folder or below it; name one that holds some")
        found += below
    if problems:
        raise DataError(*problems)
    return found


def predict(loaded: LoadedModel | LoadedEnsemble, paths: Sequence[Path], batch: int = BATCH) -> Iterator[Prediction]:
    """A prediction for each picture file in order; a file that cannot be read gets its reason instead."""
    for seen in see(loaded, paths, batch):
        yield from (each.prediction for each in seen)


def see(loaded: LoadedModel | LoadedEnsemble, paths: Sequence[Path], batch: int = BATCH) -> Iterator[list[Seen]]:
    """What `predict` gives, `batch` files at a time and with their pixels.

    While the model computes, threads decode the files that come next: at most two batches are held at once.
    """
    for part, pictures in _read_ahead(paths, loaded.sides, batch):
        named = iter(classify(loaded, [sizes for sizes, _ in pictures if sizes is not None]))
        seen = []
        for path, (sizes, problem) in zip(part, pictures, strict=True):
            found = Prediction(path, None, {}, problem) if sizes is None else Prediction(path, *next(named))
            seen.append(Seen(found, sizes))
        yield seen


def classify(loaded: LoadedModel | LoadedEnsemble, pictures: Sequence[Sizes]) -> list[tuple[str, dict[str, float]]]:
    """The likeliest class and all probabilities by class name of pictures, each at the sides that `loaded` names."""
    if isinstance(loaded, LoadedEnsemble):
        found = mean_probabilities(loaded, pictures)
        likeliest_ones = found.argmax(-1)
    else:
        logits = logits_of(loaded, [sizes[0] for sizes in pictures])
        found, likeliest_ones = predictions_from_logits(logits, loaded.recipe.loss), predicted_classes(logits)
    return [
        (loaded.classes[best], dict(zip(loaded.classes, row, strict=True)))
        for best, row in zip(likeliest_ones.tolist(), found.tolist(), strict=True)
    ]


def mean_probabilities(ensemble: LoadedEnsemble, pictures: Sequence[Sizes]) -> Tensor:
    """Probabilities (N, C) float64: the members' own, each of its own size and normalization, by their weights."""
    total = torch.zeros((len(pictures), len(ensemble.classes)), dtype=torch.float64)
    for member, weight in zip(ensemble.members, ensemble.weights, strict=True):
        place = ensemble.sides.index(member.eval_resize)
        total += weight * probabilities_of(member, [sizes[place] for sizes in pictures])
    return total


def probabilities_of(loaded: LoadedModel, pictures: Sequence[np.ndarray]) -> Tensor:
    """Probabilities (N, C) float64 of pictures as `logits_of` takes them."""
    return predictions_from_logits(logits_of(loaded, pictures), loaded.recipe.loss).double()


def probabilities_over(loaded: LoadedModel, pictures: PictureSet) -> Tensor:
    """Probabilities (N, C) float64 of a whole set, whose shorter sides are as the model takes them, in its order."""
    parts = (range(start, min(start + BATCH, len(pictures))) for start in range(0, len(pictures), BATCH))
    found = [probabilities_of(loaded, [np.array(pictures.picture(place)) for place in part]) for part in parts]
    return torch.cat(found)


def read_pictures(paths: Sequence[Path], side: int) -> list[np.ndarray]:
    """Those of the files that can be read, as (H, W, 3) uint8 with shorter sides of `side`."""
    read = (sizes for _, pictures in _read_ahead(paths, (side,), BATCH) for sizes, _ in pictures)
    return [sizes[0] for sizes in read if sizes is not None]


def likeliest(prediction: Prediction, count: int) -> list[tuple[str, float]]:
    """The `count` likeliest classes with their probabilities: the predicted one, then by probability, then as they
    come; none for a file that could not be read.
    """

    def rank(named: tuple[str, float]) -> tuple[bool, float]:
        return named[0] != prediction.predicted, -named[1]

    return sorted(prediction.probabilities.items(), key=rank)[:count]


def logits_of(loaded: LoadedModel, pictures: Sequence[np.ndarray]) -> Tensor:
    """Logits (N, K) float32, on the CPU, of pictures (H, W, 3) uint8 with shorter sides of `eval_resize`.

    Cut, normalized and computed as in the evaluations while the model was trained: the same number format, too.
    """
    if not pictures:
        return torch.zeros((0, len(loaded.classes)))
    batch = center_batch(pictures, View(loaded.input.image_size, loaded.input.mean, loaded.input.std))
    batch = batch.to(next(loaded.model.parameters()).device)
    with torch.inference_mode(), resolve_precision(loaded.recipe.precision, batch.device).autocast():
        logits: Tensor = loaded.model(batch)
    return logits.float().cpu()


def _read_ahead(
    paths: Sequence[Path], sides: tuple[int, ...], batch: int
) -> Iterator[tuple[Sequence[Path], list[Read]]]:
    """Files batch by batch with what was read of them; the next batch is decoded while this one is used."""
    parts = [paths[start : start + batch] for start in range(0, len(paths), batch)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        try:
            coming = [pool.submit(_pixels, path, sides) for path in parts[0]] if parts else []
            for part, following in zip_longest(parts, parts[1:], fillvalue=()):
                here, coming = coming, [pool.submit(_pixels, path, sides) for path in following]
                yield part, [future.result() for future in here]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # who stops early waits for no more than what is begun


def _pixels(path: Path, sides: tuple[int, ...]) -> Read:
    """A picture file at each of the shorter sides, or what is wrong with it."""
    try:
        image = decode(path.read_bytes())
        return tuple(resize_shorter(image, side) for side in sides), None
    except OSError as error:
        return None, f"cannot be read ({error.strerror or error})"
    except DecodeError as error:
        return None, str(error)


def _below(folder: Path) -> list[Path]:
    """The pictures in a folder and below it."""
    paths = (path for path in folder.rglob("*") if is_picture_name(path.name) and path.is_file())
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts))
