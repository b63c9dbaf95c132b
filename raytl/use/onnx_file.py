"""A saved model as one ONNX file, compared with PyTorch before it gets its name.

The graph has one input, `pictures` (B, 3, S, S) float32 with B free: pixels divided by 255, less `mean`, divided by
`std`, as timm's own models take them. Its outputs are `probabilities` (B, C) and `logits` (B, K; one for two classes
under `bce`). What a reader needs lies in the file's metadata (`metadata_of`). It computes in float32 whatever number
format the model was trained in.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raytl import __version__
from raytl.data.decode import resize_shorter
from raytl.data.drawn import FLOWER_KINDS, draw_flower
from raytl.data.views import View, center_batch
from raytl.errors import ConfigError, StorageError
from raytl.extras import install_hint
from raytl.models.classifier import Classifier
from raytl.results.folder import TEMPORARY, sync_folder
from raytl.train.metrics import predictions_from_logits
from raytl.use.export import LoadedModel

INPUT, OUTPUTS = "pictures", ("probabilities", "logits")
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
MOST_DIFFERENCE = 1e-4  # chosen: of a probability; float32 in another order of sums differs by 1e-6
DRAWN = 10  # chosen: pictures to compare with where none are given: two of each kind of drawn flowers
BATCH = 16  # chosen: bounds memory


@dataclass(frozen=True)
class OnnxFile:
    """What was written: size in bytes, and the largest difference of a probability over `compared` pictures."""

    path: Path
    bytes: int
    difference: float
    compared: int


def check_packages() -> None:
    """Refuses to begin where packages are missing.

    Raises:
        ConfigError: naming them, and the command that installs them.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"ONNX needs {', '.join(missing)}, which is not installed; {install_hint('onnx')}")


def write_onnx(loaded: LoadedModel, path: Path, pictures: Sequence[np.ndarray] = ()) -> OnnxFile:
    """Writes `path` once ONNX Runtime gives PyTorch's probabilities on `pictures`; a file that is there is replaced.

    `pictures`: (H, W, 3) uint8 with shorter sides of `eval_resize`, as prediction takes them; without any, flowers
    are drawn.

    Raises:
        ConfigError: packages are missing, or the model's operations have no form in ONNX.
        StorageError: the file cannot be written, or its probabilities differ by more than `MOST_DIFFERENCE`.
    """
    check_packages()
    sources = list(pictures) or drawn_pictures(loaded.eval_resize)
    with drafted(path) as draft:
        _save(loaded, draft)
        difference = largest_difference(loaded, draft, sources)
        if not difference <= MOST_DIFFERENCE:
            raise StorageError(
                f"{path}: the file's probabilities differ from PyTorch's by up to {difference:.2g} on {len(sources)} "
                f"pictures, more than {MOST_DIFFERENCE:g}, so it was removed; use the saved model itself "
                "(raytl.load_model), and report the backbone's name"
            )
    return OnnxFile(path, path.stat().st_size, difference, len(sources))


def metadata_of(loaded: LoadedModel) -> dict[str, str]:
    """What a reader of the file needs, as text; lists are JSON.

    Pictures are resized bicubically with antialiasing until the shorter side has `resize_shorter_side` pixels, cut to
    `image_size` around the center, divided by 255 and normalized by `mean` and `std`.
    """
    spec = loaded.input
    return {
        "raytl_version": __version__,
        "backbone": loaded.recipe.backbone,
        "classes": json.dumps(loaded.classes, ensure_ascii=False),
        "color": "RGB",
        "resize_shorter_side": str(loaded.eval_resize),
        "interpolation": "bicubic, antialiased",
        "image_size": str(spec.image_size),
        "crop": "center",
        "scale": "1/255",
        "mean": json.dumps(spec.mean),
        "std": json.dumps(spec.std),
        "precision": "float32",
        "trained_in": loaded.recipe.precision,
    }


def largest_difference(loaded: LoadedModel, path: Path, pictures: Sequence[np.ndarray]) -> float:
    """How far a probability of the file is from PyTorch's in float32, at most; infinite where one is no number."""
    session, largest = session_of(path), 0.0
    for batch in batches(loaded, pictures):
        with torch.inference_mode():
            expected = predictions_from_logits(loaded.model(batch).float(), loaded.recipe.loss).numpy()
        differences = np.abs(run_session(session, batch)[0] - expected)
        largest = max(largest, float(np.nan_to_num(differences, nan=np.inf).max()))
    return largest


def batches(loaded: LoadedModel, pictures: Sequence[np.ndarray]) -> Iterator[Tensor]:
    """The graph's input (B, 3, S, S) float32 for pictures as `predict.logits_of` takes them."""
    view = View(loaded.input.image_size, loaded.input.mean, loaded.input.std)
    for start in range(0, len(pictures), BATCH):
        yield center_batch(pictures[start : start + BATCH], view)


def session_of(path: Path) -> Any:  # onnxruntime.InferenceSession, which ships no types
    """A file opened by ONNX Runtime on the processor."""
    import onnxruntime

    return onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])


def run_session(session: Any, batch: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (B, C) and logits (B, K) of a batch (B, 3, S, S)."""
    probabilities, logits = session.run(list(OUTPUTS), {INPUT: np.ascontiguousarray(batch.numpy())})
    return probabilities, logits


def drawn_pictures(side: int, count: int = DRAWN) -> list[np.ndarray]:
    """Drawn flowers of every kind in turn, with shorter sides of `side`."""
    kinds = [FLOWER_KINDS[index % len(FLOWER_KINDS)] for index in range(count)]
    drawn = (draw_flower(kind, np.random.default_rng(index)) for index, kind in enumerate(kinds))
    return [resize_shorter(picture, side) for picture in drawn]


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A place in `path`'s folder for a file, which gets its name at the end of the block; where that raises, none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY}{os.getpid()}-", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            yield draft
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}); free the place, or give another file with --out"
        ) from error


class _WithProbabilities(nn.Module):
    """A classifier whose outputs are probabilities and logits."""

    def __init__(self, model: Classifier, loss: str) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(pictures)
        return predictions_from_logits(logits, self.loss), logits


def _save(loaded: LoadedModel, path: Path) -> None:
    """Traces the model by torch.export, so that the number of pictures stays free, and saves it with its metadata."""
    side = loaded.input.image_size
    example = torch.zeros(2, 3, side, side)  # two: a batch of one would be taken for a constant
    with quiet():
        try:
            program = torch.onnx.export(
                _WithProbabilities(loaded.model, loaded.recipe.loss).eval(),
                (example,),
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ConfigError(
                f"{loaded.recipe.backbone}: has no form in ONNX ({str(error).strip().splitlines()[0]}); use the saved "
                "model itself (raytl.load_model), or another backbone"
            ) from error
    assert program is not None
    _forget_sources(program.model)
    program.model.metadata_props.update(metadata_of(loaded))
    program.save(path, external_data=False)


def _forget_sources(model: Any) -> None:  # onnx_ir.Model
    """Removes where each operation stood in a program: paths of the machine that exported it."""
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


@contextmanager
def quiet() -> Iterator[None]:
    """Without what torch's exporter warns of for its own sake; a failure still says why."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
