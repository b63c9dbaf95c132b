"""From the words of a command line to a study: which option sets what, and an experiment file's own settings."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import replace
from pathlib import Path

from raytl.errors import ConfigError, RaytlError
from raytl.metric import METRICS
from raytl.space import parse_setting
from raytl.study import SCHEDULERS, SEARCHERS, Study, parse_seconds

EMBEDDED = Study(
    name="flowers",
    data="drawn-flowers",
    backbones=("tiny_mobilenet", "tiny_resnet", "tiny_vit"),
)

# option of the command line: field of the study that it replaces as it is
_PLAIN = {
    "trials": "trials",
    "epochs": "epochs",
    "image_size": "image_size",
    "searcher": "searcher",
    "scheduler": "scheduler",
    "metric": "metric",
    "workers_per_trial": "workers_per_trial",
    "confirm_seeds": "confirm_seeds",
    "weights": "weights",
    "splits": "splits",
    "address": "address",
    "seed": "seed",
}


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """The options of `raytl search`, which `experiments/search_all.py` shares. None given means the study's own."""
    add = parser.add_argument
    add("--study", type=Path, metavar="FILE", help="a Python file that says STUDY = Study(...)")
    add("--backbones", metavar="A,B", help="timm or torchvision names, or the carried tiny_ ones")
    add("--trials", type=int, metavar="N", help="search trials per backbone")
    add("--epochs", type=int, metavar="N", help="epochs of a full run")
    add("--image-size", type=int, metavar="PIXELS", help="instead of each backbone's own size")
    add("--time", metavar="30m", help="limit for search and confirmation together")
    add("--searcher", choices=SEARCHERS)
    add("--scheduler", choices=SCHEDULERS)
    add("--metric", choices=tuple(METRICS))
    add("--workers-per-trial", type=int, metavar="N", help="DDP workers of each trial")
    add("--confirm-seeds", type=int, metavar="N", help="how often the best recipes are trained again")
    add("--weights", metavar="pretrained|none|DIR", help="published, random, or <backbone>.safetensors from a folder")
    add("--splits", type=int, metavar="N", help="repeat the confirmation over N splits")
    add("--drop-suspect", action="store_true", default=None, help="leave out pictures that look like placeholders")
    add("--out", type=Path, metavar="DIR", help="the study folder (default: results/<study>)")
    add("--address", metavar="auto|ADDRESS", help="a running Ray cluster")
    add("--seed", type=int, metavar="N")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="fix a recipe field, or lr=1e-5..1e-2, a|b")
    add("--dry-run", action="store_true", help="check all, say what would be done, and stop")


def study_of(options: argparse.Namespace) -> Study:
    """The study that the options ask for: an experiment file's, or the embedded one, with what was given replaced.

    Raises:
        ConfigError: with one line for everything that cannot be used.
    """
    base = load_study_file(options.study) if options.study else EMBEDDED
    changes: dict[str, object] = {
        field: getattr(options, option) for option, field in _PLAIN.items() if getattr(options, option) is not None
    }
    if options.backbones is not None:
        changes["backbones"] = tuple(name.strip() for name in options.backbones.split(",") if name.strip())
    if options.data is not None:
        changes |= {"data": options.data, "name": _study_name(options, base)}
    if options.drop_suspect:
        changes["drop_suspect"] = True
    problems: list[str] = []
    settings = dict(base.settings)
    for text in options.set:
        try:
            name, value = parse_setting(text)
            settings[name] = value
        except RaytlError as error:
            problems += error.problems
    try:
        if options.time is not None:
            changes["time_limit_seconds"] = parse_seconds(options.time)
        study = replace(base, settings=settings, **changes)  # type: ignore[arg-type]
    except RaytlError as error:
        problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return study


def load_study_file(path: Path) -> Study:
    """The `STUDY` of a Python file.

    Raises:
        ConfigError: where the file is missing or has no study.
    """
    if not path.is_file():
        raise ConfigError(f"study file {str(path)!r}: no such file; give a Python file that says STUDY = Study(...)")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise ConfigError(f"{path}: STUDY is {type(study).__name__}; it must be a raytl.study.Study")
    return study


def _study_name(options: argparse.Namespace, base: Study) -> str:
    if options.study:
        return base.name
    return (
        "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in Path(options.data).stem) or "study"
    )
