"""A saved model given away as a folder that timm opens by itself, tried before it gets its name.

It holds tensors, `config.json` and the card, and no picture: what a study keeps beside a model shows test pictures.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch

from raytl.errors import ConfigError, StorageError
from raytl.results.folder import draft_of, sync_folder
from raytl.train.metrics import predictions_from_logits
from raytl.use.export import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, LoadedModel, timm_form, timm_obstacle
from raytl.use.onnx_file import MOST_DIFFERENCE, batches, drawn_pictures


@dataclass(frozen=True)
class TimmFolder:
    """What was written, and the largest difference of a probability over `compared` pictures."""

    path: Path
    difference: float
    compared: int


def write_timm(source: Path, loaded: LoadedModel, folder: Path) -> TimmFolder:
    """Copies the model saved in `source` to the new `folder`, once timm alone gives its probabilities on drawn flowers.

    Raises:
        ConfigError: timm has no form for the model, or `folder` is there already.
        StorageError: the folder cannot be written, or timm's probabilities differ by more than `MOST_DIFFERENCE`.
    """
    _check(loaded, folder)
    pictures = drawn_pictures(loaded.eval_resize)
    draft = draft_of(folder)
    try:
        draft.mkdir(parents=True)
        for name in (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE):
            if (source / name).exists():
                shutil.copyfile(source / name, draft / name)
        difference = _difference(loaded, draft, pictures)
        if not difference <= MOST_DIFFERENCE:
            raise StorageError(
                f"{folder}: timm {timm.__version__} gives other probabilities, by up to {difference:.2g}, more than "
                f"{MOST_DIFFERENCE:g}, so the folder was removed; type --format onnx, or install another timm"
            )
        draft.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot be written ({error.strerror or error}); free the place, or give another with --out"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return TimmFolder(folder, difference, len(pictures))


def _check(loaded: LoadedModel, folder: Path) -> None:
    recipe, count = loaded.recipe, len(loaded.classes)
    if timm_form(loaded.model, recipe, count) is None:
        why = timm_obstacle(loaded.model, recipe, count) or "timm builds it with other tensors"
        raise ConfigError(f"{recipe.backbone}: timm has no form for this model: {why}; type --format onnx")
    if folder.exists():
        raise ConfigError(f"{folder}: is there already, and is not replaced; give a new folder with --out")


def _difference(loaded: LoadedModel, folder: Path, pictures: Sequence[np.ndarray]) -> float:
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    largest = 0.0
    for batch in batches(loaded, pictures):
        with torch.inference_mode():
            one, other = (
                predictions_from_logits(model(batch).float(), loaded.recipe.loss) for model in (loaded.model, theirs)
            )
        largest = max(largest, float((one - other).abs().nan_to_num(nan=torch.inf).max()))
    return largest
