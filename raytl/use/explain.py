"""Heat maps of pictures in files: what speaks for the predicted class, by Grad-CAM, laid over what the model sees."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from raytl.data.views import View, center_squares
from raytl.errors import ConfigError, StorageError
from raytl.results.figures import overlay
from raytl.results.folder import write_atomically
from raytl.use.cam import heat_maps
from raytl.use.ensemble import LoadedEnsemble
from raytl.use.export import LoadedModel
from raytl.use.predict import Seen

LEAST_SIDE = 224  # chosen: pixels at which a map can be looked at; what a model sees in fewer is enlarged
STEM_LETTERS = 60  # chosen: of a file's name, so that names stay short on every file system
MARK_LETTERS = 12  # chosen: 48 bits of a hash; among a million pictures two alike have a chance of 1 in 500


class HeatMaps:
    """Takes what was seen and writes its maps to a folder; of a model that has none, says so and goes on."""

    def __init__(self, loaded: LoadedModel | LoadedEnsemble, folder: Path) -> None:
        self._loaded, self._folder = loaded, folder
        self._written: set[Path] = set()
        self._problem: str | None = None

    def add(self, seen: Sequence[Seen]) -> None:
        """Writes a map for each picture that could be read.

        Raises:
            StorageError: where a file cannot be written.
        """
        if self._problem is None:
            try:
                self._written.update(save_heat_maps(self._loaded, seen, self._folder))
            except ConfigError as error:
                self._problem = str(error)

    @property
    def said(self) -> str:
        """How many maps there are and where, or why there are none."""
        if self._problem:
            return f"raytl: no heat maps: {self._problem}"
        count = len(self._written)
        return f"{count:,} heat map{'' if count == 1 else 's'} in {self._folder}"


def save_heat_maps(loaded: LoadedModel | LoadedEnsemble, seen: Sequence[Seen], folder: Path) -> list[Path]:
    """Writes a PNG for each picture that could be read, named by `heat_name`, and returns the files.

    Raises:
        ConfigError: a model of which no map can be made (`cam.heat_maps`).
        StorageError: where a file cannot be written.
    """
    readable = [(each.prediction, each.pixels) for each in seen if each.pixels is not None]
    pngs = heat_pngs(loaded, [pixels for _, pixels in readable], [str(each.predicted) for each, _ in readable])
    paths = []
    for (prediction, _), png in zip(readable, pngs, strict=True):
        paths.append(folder / heat_name(prediction.path))
        _write(paths[-1], png)
    return paths


def heat_pngs(
    loaded: LoadedModel | LoadedEnsemble, pictures: Sequence[np.ndarray], classes: Sequence[str]
) -> list[bytes]:
    """A PNG of each picture: the square that the model sees, grey, under what speaks there for its class.

    `pictures`: (H, W, 3) uint8 with shorter sides of `eval_resize`; `classes`: a name for each.

    Raises:
        ConfigError: a model of which no map can be made (`cam.heat_maps`).
    """
    if isinstance(loaded, LoadedEnsemble):
        raise ConfigError("an ensemble has no heat map of its own; ask one of its members, such as MODEL/member-1")
    if not pictures:
        return []
    maps = heat_maps(loaded, pictures, [loaded.classes.index(name) for name in classes])
    squares = center_squares(pictures, View(loaded.input.image_size, loaded.input.mean, loaded.input.std))
    rows = zip(squares.permute(0, 2, 3, 1).numpy(), maps, strict=True)
    return [_png(overlay(_enlarged(square), _enlarged(heat))) for square, heat in rows]


def heat_name(path: Path) -> str:
    """The file name of a picture's map: the picture's own name, and a hash of where it lies.

    Pictures of the same name in different folders, or with different endings, get different maps; the same picture
    gets the same name again.
    """
    mark = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:MARK_LETTERS]
    stem = re.sub(r"[^\w.-]", "_", path.stem)[:STEM_LETTERS]
    return f"{stem}-{mark}.png"


def _enlarged(values: np.ndarray) -> np.ndarray:
    """(S, S) or (S, S, 3) with sides of at least `LEAST_SIDE`, bilinear."""
    side = max(LEAST_SIDE, len(values))
    return np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.BILINEAR))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _write(path: Path, png: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{path.parent}: cannot be made ({error.strerror}); give another folder with --explain-out"
        ) from error
    write_atomically(path, png, "heat map")
