"""Tiny data and recipes for tests of training: a run of some epochs takes a twentieth of a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raytl.data.pixels import StoredPixels
from raytl.data.store import PIXELS, FitData, PictureSet
from raytl.data.views import View
from raytl.metric import METRICS, Metric
from raytl.models.classifier import Classifier
from raytl.recipe import Recipe
from raytl.results.schemas import EpochRow
from raytl.train.checkpoint import Snapshot
from raytl.train.inputs import FixedView, FreshViews
from raytl.train.learner import Learner
from raytl.train.loop import Run
from raytl.train.metrics import Counts
from raytl.train.world import World

SIDE = 20  # pixels of a stored picture
ACCURACY = METRICS["val_accuracy"]
TINY = Recipe(
    backbone="plain_cnn",
    weights="none",
    image_size=16,
    eval_resize=SIDE,
    optimizer="sgd",
    lr=0.05,
    epochs=2,
    batch_size=8,
    precision="fp32",
)


def tiny_recipe(**values: Any) -> Recipe:
    """`TINY` with some fields replaced."""
    return replace(TINY, **values)


def tiny_data(folder: Path, sizes: tuple[int, int, int] = (22, 13, 11), classes: int = 3) -> FitData:
    """Noisy squares of one color per class, sizes of train, val and test given; class 0 is twice as frequent."""
    generator = np.random.default_rng(7)
    labels = np.arange(sum(sizes)) % (classes + 1) % classes
    pixels = generator.integers(0, 256, (len(labels), SIDE, SIDE, 3))
    colors = generator.integers(0, 256, (classes, 3))
    pixels = (0.4 * pixels + 0.6 * colors[labels][:, None, None]).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PIXELS).write_bytes(pixels.tobytes())
    starts = np.cumsum([0, *sizes])
    train, val, test = (picture_set(folder, labels, range(*starts[i : i + 2])) for i in range(3))
    return FitData(tuple("abcdefgh"[:classes]), train, val, test, fingerprint="tiny")


def picture_set(folder: Path, labels: np.ndarray, indices: Sequence[int]) -> PictureSet:
    """The pictures at `indices` of a store of `SIDE` x `SIDE` pictures."""
    places = np.array(indices)
    whole = np.array([(place * SIDE * SIDE * 3, SIDE, SIDE) for place in places], dtype=np.int64)
    return PictureSet(
        pixels=StoredPixels(folder / PIXELS, whole),
        labels=torch.from_numpy(labels[places]),
        keys=places.astype(np.uint64) * np.uint64(7919),
        paths=tuple(f"{place:03d}.png" for place in places),
    )


def start(
    recipe: Recipe,
    data: FitData,
    resume: Snapshot | None = None,
    world: World | None = None,
    metric: Metric = METRICS["val_accuracy"],
    trial_id: str = "t",
) -> Run:
    """A run, of one worker unless `world` says otherwise."""
    return Run(recipe, data, world or World(), resume, metric=metric, trial_id=trial_id)


def learner(run: Run) -> Learner:
    """What takes the steps of a run that trains more than a head."""
    assert isinstance(run.learner, Learner)
    return run.learner


def view_of(run: Run) -> View:
    """How a run shows pictures that are made ready anew."""
    assert isinstance(run.fronts.train, FreshViews | FixedView)
    return run.fronts.train.view


def figures(rows: Iterable[EpochRow]) -> list[dict[str, Any]]:
    """All of the rows but times and speed."""
    times = ("started_at", "ended_at", "images_per_second")
    return [{name: value for name, value in asdict(row).items() if name not in times} for row in rows]


def fitted(recipe: Recipe, data: FitData) -> list[dict[str, Any]]:
    """The figures of a whole run."""
    return figures(start(recipe, data).epochs())


def weights_of(model: Classifier) -> dict[str, torch.Tensor]:
    """A copy of all tensors of a model."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def counted(right: int, loss: float = 1.0) -> Counts:
    """Ten pictures of class 0, `right` of them taken for it, and five of class 2; all others taken for class 1."""
    confusion = torch.tensor([[right, 10 - right, 0], [0, 0, 0], [0, 5, 0]])
    return Counts(confusion, torch.tensor(15.0 * loss), torch.tensor(15.0))


def first(pictures: PictureSet, count: int) -> PictureSet:
    """The first pictures of a set."""
    return replace(
        pictures,
        labels=pictures.labels[:count],
        keys=pictures.keys[:count],
        paths=pictures.paths[:count],
    )
