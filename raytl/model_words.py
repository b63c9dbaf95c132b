"""The words of the commands about saved models: predict, export, serve; what they need is imported when called."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, TypeAlias

from raytl.errors import ConfigError

HEAT = Path("heat")  # where heat maps go unless a folder is named

Commands: TypeAlias = "argparse._SubParsersAction[Any]"  # of whatever parser has them


def add_model_commands(commands: Commands) -> None:
    """Adds them to the command line, each with what to call."""
    _add_predict(commands)
    _add_export(commands)
    _add_serve(commands)


def _add_predict(commands: Commands) -> None:
    predict = commands.add_parser("predict", help="classify pictures with a saved model")
    predict.add_argument("model", type=Path, metavar="MODEL", help="a folder under models/ of a study")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGES", help="files or folders")
    predict.add_argument(
        "--out", dest="table", type=Path, metavar="FILE", help="all probabilities as .csv, .parquet or .json"
    )
    predict.add_argument("--batch", type=_at_least_one, metavar="N", help="pictures at a time (default: 32)")
    predict.add_argument("--top", type=_at_least_one, default=1, metavar="K", help="print the K likeliest classes")
    # An option that may or may not take a folder would take the picture that stands behind it.
    predict.add_argument(
        "--explain", action="store_true", help=f"write Grad-CAM heat maps, one PNG a picture, to {HEAT}/"
    )
    predict.add_argument("--explain-out", type=Path, metavar="DIR", help="write the heat maps there")
    predict.set_defaults(call=_predict)


def _add_export(commands: Commands) -> None:
    export = commands.add_parser("export", help="give a saved model to other programs")
    export.add_argument("model", type=Path, metavar="MODEL", help="a folder under models/ of a study")
    export.add_argument("--format", choices=("timm", "onnx"), required=True, help="a folder for timm, or an ONNX file")
    export.add_argument(
        "--out", dest="target", type=Path, metavar="PATH", help="(default: <backbone>-timm or <backbone>.onnx, here)"
    )
    export.add_argument("--int8", action="store_true", help="ONNX: write 8-bit integers, too, to <name>-int8.onnx")
    export.add_argument(
        "--calibrate", metavar="DATA", help="with --int8: measure on its train pictures, compare on its test pictures"
    )
    export.set_defaults(call=_export)


def _add_serve(commands: Commands) -> None:
    serve = commands.add_parser("serve", help="answer HTTP requests with a saved model, and show a page to try it on")
    serve.add_argument("model", type=Path, metavar="MODEL", help="a folder under models/ of a study")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s, this machine)")
    serve.add_argument("--port", type=_port, default=8000, help="(default: %(default)s)")
    for name, default, text in (
        ("replicas", 1, "processes that hold the model, each with its share of the processors"),
        ("max-batch", 8, "pictures computed together; 1 computes each alone"),
        ("max-megabytes", 20, "of one request"),
    ):
        serve.add_argument(
            f"--{name}", type=_at_least_one, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    serve.add_argument(
        "--max-wait-ms",
        type=_at_least_zero,
        default=5,
        metavar="N",
        help="how long a picture waits for others to be computed with (default: %(default)s)",
    )
    serve.set_defaults(call=_serve)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 1 to 65535")
    return int(text)


def _at_least_zero(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 0 on")
    return int(text)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 1 on")
    return int(text)


def _predict(options: argparse.Namespace) -> int:
    from raytl.model_commands import Wishes, predict

    heat = options.explain_out or (HEAT if options.explain else None)
    return predict(options.model, options.images, Wishes(options.table, options.batch, options.top, heat))


def _export(options: argparse.Namespace) -> int:
    from raytl.model_commands import export_onnx, export_timm

    if options.format == "onnx":
        return export_onnx(options.model, options.target, options.int8, options.calibrate)
    if options.int8 or options.calibrate:
        raise ConfigError("--int8 and --calibrate: only ONNX files have an 8-bit form; type --format onnx")
    return export_timm(options.model, options.target)


def _serve(options: argparse.Namespace) -> int:
    from raytl.serve_command import Wishes, serve

    wishes = Wishes(options.replicas, options.max_batch, options.max_wait_ms, options.max_megabytes)
    return serve(options.model, options.host, options.port, wishes)
