"""An ONNX file in 8-bit integers, by ONNX Runtime's own tools, and how often it agrees with the float one.

Without pictures only weights are known beforehand; each batch of activations is scaled as it comes (dynamic). With
pictures the ranges of all activations are measured first (static, per channel; Jacob et al. 2018, arXiv:1712.05877).
Measured on the three carried backbones at 64 pixels: either file is about a quarter of the float one; dynamic
computes at 0.4 to 1.3 times the float file's speed and static at 1.5 to 2.4 times, while dynamic is nearer to the float
probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raytl.data.album import Album
from raytl.results.schemas import PictureRow
from raytl.use.export import LoadedModel
from raytl.use.onnx_file import INPUT, batches, drafted, metadata_of, quiet, run_session, session_of
from raytl.use.predict import read_pictures

LEAST_AGREEMENT = 0.99  # chosen: of predicted classes; below it a person is warned
DYNAMIC, STATIC = "dynamic", "static"
KINDS = ["Conv", "MatMul", "Gemm"]  # operations that become int8: nearly all of a classifier's weights are theirs
CALIBRATED = 200  # chosen: pictures whose activations are measured; ONNX Runtime's examples take about a hundred
DRAWN = 100  # chosen: pictures to compare on where none are given
COMPARED = 500  # chosen: pictures on which two files are compared; an agreement of 99% is then known to 1%


@dataclass(frozen=True)
class Int8File:
    """What was written: size in bytes, `kind` (dynamic or static), and the share of `compared` pictures that the
    float file gives the same class; `difference` is the largest one of a probability.
    """

    path: Path
    bytes: int
    kind: str
    agreement: float
    difference: float
    compared: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before using the file."""
        said = []
        if self.kind == DYNAMIC:
            said.append(
                "drawn pictures tell little of yours: --calibrate DATA measures and compares on pictures of DATA"
            )
        if self.agreement < LEAST_AGREEMENT:
            said.append(
                f"{self.path}: the same class for only {self.agreement:.1%} of the pictures, less than "
                f"{LEAST_AGREEMENT:.0%}; measure its accuracy before you use it, or use the float file"
            )
        return tuple(said)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Pictures (H, W, 3) uint8 with shorter sides of a model's `eval_resize`, to measure on and to compare on."""

    measured: list[np.ndarray]
    compared: list[np.ndarray]


def calibration_of(album: Album, side: int) -> Calibration:
    """Train pictures to measure on and test pictures to compare on, evenly from all that there are."""
    parts = ((album.part("train"), CALIBRATED), (album.part("test"), COMPARED))
    measured, compared = ([album.path(row) for row in _evenly(rows, most)] for rows, most in parts)
    return Calibration(read_pictures(measured, side), read_pictures(compared, side))


def write_int8(
    loaded: LoadedModel,
    whole: Path,
    path: Path,
    calibration: Sequence[np.ndarray],
    compared: Sequence[np.ndarray],
) -> Int8File:
    """Writes the int8 form of the float file `whole` to `path`, and compares the two on `compared`.

    Pictures are (H, W, 3) uint8 as prediction takes them; without `calibration` the dynamic form is written.

    Raises:
        StorageError: where the file cannot be written.
    """
    kind = STATIC if calibration else DYNAMIC
    with drafted(path) as draft:
        with quiet():
            prepared = draft.with_name("prepared.onnx")
            _prepare(whole, prepared)
            if calibration:
                _static(prepared, draft, _Batches(batches(loaded, calibration)))
            else:
                _dynamic(prepared, draft)
        _describe(draft, metadata_of(loaded) | {"precision": f"int8 ({kind})"})
        agreement, difference = _compare(loaded, whole, draft, compared)
    return Int8File(path, path.stat().st_size, kind, agreement, difference, len(compared))


def _evenly(rows: Sequence[PictureRow], most: int) -> Sequence[PictureRow]:
    return rows[:: max(1, -(-len(rows) // most))]


class _Batches:
    """Batches in the form in which ONNX Runtime asks for them."""

    def __init__(self, pictures: Iterator[Any]) -> None:
        self._pictures = pictures

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch by input name, None at the end."""
        batch = next(self._pictures, None)
        return None if batch is None else {INPUT: np.ascontiguousarray(batch.numpy())}


def _prepare(whole: Path, prepared: Path) -> None:
    """Shapes inferred and operations fused, as ONNX Runtime advises before either way."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(whole, prepared, skip_symbolic_shape=True)


def _dynamic(prepared: Path, path: Path) -> None:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(prepared)
    del model.graph.value_info[:]  # weights that the tool turns over would contradict shapes inferred before
    # The runtime's convolutions on processors take no signed weights.
    quantize_dynamic(model, path, weight_type=QuantType.QUInt8, op_types_to_quantize=KINDS)


def _static(prepared: Path, path: Path, calibration: _Batches) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        prepared,
        path,
        calibration,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=KINDS,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _describe(path: Path, metadata: dict[str, str]) -> None:
    """Gives a file this metadata and no other."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def _compare(loaded: LoadedModel, whole: Path, path: Path, pictures: Sequence[np.ndarray]) -> tuple[float, float]:
    """The share of pictures of the same class, and the largest difference of a probability."""
    sessions = [session_of(whole), session_of(path)]
    found = [[run_session(session, batch)[0] for session in sessions] for batch in batches(loaded, pictures)]
    one, other = (np.concatenate([pair[place] for pair in found]) for place in (0, 1))
    return float((one.argmax(1) == other.argmax(1)).mean()), float(np.abs(one - other).max())
