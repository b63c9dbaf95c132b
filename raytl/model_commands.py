"""What the commands about saved models do: `raytl predict` and `raytl export`.

Torch takes seconds to import on a slow machine: each imports it when called.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from raytl.errors import ConfigError
from raytl.machine import cache_folder

if TYPE_CHECKING:
    from raytl.data.album import Album
    from raytl.use.predict import Prediction


@dataclass(frozen=True)
class Wishes:
    """What a person wants of predictions: a table in the file `out`, the `top` likeliest classes, heat maps in the
    folder `heat`; `batch` pictures at a time (None: as many as is usual).
    """

    out: Path | None = None
    batch: int | None = None
    top: int = 1
    heat: Path | None = None


def predict(model: Path, images: Sequence[Path], wishes: Wishes = Wishes()) -> int:
    """Prints each picture's likeliest classes and their probabilities, or writes all of them as a table.

    Returns exit code 4 where a picture could not be read.
    """
    from raytl.use.ensemble import open_model
    from raytl.use.explain import HeatMaps
    from raytl.use.predict import BATCH, pictures_in, see
    from raytl.use.prediction_file import check_kind, prediction_file

    if wishes.out is not None:
        check_kind(wishes.out)
    loaded, paths = open_model(model), pictures_in(images)
    if wishes.top > len(loaded.classes):
        raise ConfigError(f"--top {wishes.top}: the model has {len(loaded.classes)} classes; give at most that")
    heat = HeatMaps(loaded, wishes.heat) if wishes.heat is not None else None
    unreadable = 0
    with prediction_file(wishes.out, loaded.classes) if wishes.out is not None else nullcontext() as rows:
        for seen in see(loaded, paths, wishes.batch or BATCH):
            predictions = [each.prediction for each in seen]
            unreadable += sum(each.predicted is None for each in predictions)
            if rows is not None:
                rows.add(predictions)
            else:
                print("\n".join(_prediction_line(each, wishes.top) for each in predictions))
            if heat is not None:
                heat.add(seen)
    if wishes.out is not None:
        print(f"{wishes.out}: {len(paths):,} rows")
    if heat is not None:
        print(heat.said, file=sys.stderr)
    return _unreadable(unreadable, len(paths), "above" if wishes.out is None else f"in {wishes.out}")


def _prediction_line(prediction: Prediction, top: int) -> str:
    from raytl.data.sources import printable
    from raytl.use.predict import likeliest

    path = printable(prediction.path)
    if prediction.predicted is None:
        return f"{path}\t-\t{prediction.problem}"
    named = likeliest(prediction, top)
    # Where the classes were folders, their names have been made printable already.
    shown = [(label if label.isprintable() else printable(label), probability) for label, probability in named]
    return f"{path}\t" + "\t".join(f"{label}\t{probability:.4f}" for label, probability in shown)


def _unreadable(count: int, total: int, where: str) -> int:
    if count:
        others = f"the others are classified {where}" if count < total else "none is classified"
        print(
            f"raytl: {count} of {total} pictures could not be read; {others}; "
            "mend or remove these files, then type the command again",
            file=sys.stderr,
        )
    return 4 if count else 0


def export_timm(model: Path, out: Path | None) -> int:
    """Writes a folder that timm opens by itself."""
    from raytl.use.export import load_model
    from raytl.use.timm_folder import write_timm

    loaded = load_model(model)
    written = write_timm(model, loaded, out or Path(f"{model.resolve().name}-timm"))
    print(
        f'{written.path}: timm.create_model("local-dir:{written.path}", pretrained=True) opens it; its probabilities '
        f"are raytl's within {written.difference:.0e} on {written.compared} drawn pictures"
    )
    return 0


def export_onnx(model: Path, out: Path | None, int8: bool, calibrate: str | None) -> int:
    """Writes an ONNX file, and with `int8` another one beside it, calibrated on the pictures that `calibrate` names."""
    from raytl.use.export import load_model
    from raytl.use.int8 import DRAWN, Calibration, calibration_of, write_int8
    from raytl.use.onnx_file import check_packages, drawn_pictures, write_onnx

    target = out or Path(f"{model.resolve().name}.onnx")
    problems = []
    if target.suffix != ".onnx":
        problems.append(f"--out {target}: an ONNX file's name ends in .onnx")
    if calibrate and not int8:
        problems.append(f"--calibrate {calibrate}: only --int8 measures pictures; add it, or leave --calibrate out")
    if problems:
        raise ConfigError(*problems)
    check_packages()
    loaded = load_model(model)
    kind = "test" if calibrate else "drawn"
    pictures = Calibration([], drawn_pictures(loaded.eval_resize, DRAWN) if int8 else [])
    if calibrate:
        pictures = calibration_of(_album(calibrate), loaded.eval_resize)
    whole = write_onnx(loaded, target, pictures.compared)
    print(
        f"{whole.path}: {_megabytes(whole.bytes)}, float32; its probabilities are PyTorch's within "
        f"{whole.difference:.0e} on {whole.compared} {kind} pictures"
    )
    if loaded.recipe.precision == "bf16":
        print("the study computed in bf16 and the file computes in float32, so probabilities differ a little")
    if int8:
        path = target.with_name(f"{target.stem}-int8.onnx")
        small = write_int8(loaded, target, path, pictures.measured, pictures.compared)
        print(
            f"{small.path}: {_megabytes(small.bytes)} ({small.bytes / whole.bytes:.0%}), int8, {small.kind}; the same "
            f"class as the float file for {small.agreement:.1%} of {small.compared} {kind} pictures, its "
            f"probabilities within {small.difference:.0e}"
        )
        for line in small.warnings:
            print(f"raytl: {line}", file=sys.stderr)
    return 0


def _album(data: str) -> Album:
    from raytl.data.album import open_album
    from raytl.data.location import locate

    return open_album(locate(data, cache_folder()))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
