"""From the words of a command line to a study: which option sets what, and an experiment file's own settings."""

from __future__ import annotations

import argparse
import importlib.util
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from raytl.catalog import check_backbone
from raytl.errors import ConfigError, RaytlError
from raytl.family import default_recipe
from raytl.metric import METRICS
from raytl.recipe import make_recipe
from raytl.space import Space, Value, parse_setting
from raytl.study import POLICIES, SCHEDULERS, SEARCHERS, Study, parse_seconds

EMBEDDED = Study(
    name="flowers",
    data="drawn-flowers",
    backbones=("tiny_mobilenet", "tiny_resnet", "tiny_vit"),
    confirm_seeds=3,  # chosen: the whole study ends in under five minutes on two cores
)
OWN_PICTURES = replace(EMBEDDED, confirm_seeds=5)  # chosen: three seeds leave wide intervals

# Options whose text is the study's field of the same name: as it is, and as a whole number. The study checks the
# values, not argparse, so that everything wrong is said at once.
_TEXTS = ("searcher", "scheduler", "policy", "metric", "weights", "address")
_COUNTS = ("trials", "epochs", "image_size", "workers_per_trial", "confirm_seeds", "splits", "seed")


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """The options of `raytl search`, which `experiments/search_all.py` shares. None given means the study's own."""
    add = parser.add_argument
    add("--study", type=Path, metavar="FILE", help="a Python file that says STUDY = Study(...)")
    add("--backbones", metavar="A,B", help="timm or torchvision names, or the carried tiny_ ones")
    add("--trials", metavar="N", help="search trials per backbone")
    add("--epochs", metavar="N", help="epochs of a full run")
    add("--image-size", metavar="PIXELS", help="instead of each backbone's own size")
    add("--time", metavar="30m", help="limit for search and confirmation together")
    add("--searcher", metavar="|".join(SEARCHERS), help="who proposes recipes")
    add("--scheduler", metavar="|".join(SCHEDULERS), help="who stops poor trials early")
    add("--policy", metavar="|".join(POLICIES), help="heads first and depth where it pays, or all trials alike")
    add("--metric", metavar="|".join(METRICS), help="the validation figure that decides everything")
    add("--workers-per-trial", metavar="N", help="DDP workers of each trial")
    add("--confirm-seeds", metavar="N", help="how often the best recipes are trained again")
    add("--weights", metavar="pretrained|none|DIR", help="published, random, or <backbone>.safetensors from a folder")
    add("--splits", metavar="N", help="repeat the confirmation over N splits")
    add(
        "--cache-gb",
        metavar="GB",
        help="disk for what frozen stages make of pictures (default: a tenth of the free)",
    )
    add("--drop-suspect", action="store_true", default=None, help="leave out pictures that look like placeholders")
    add("--out", type=Path, metavar="DIR", help="the study folder (default: results/<study>)")
    add("--address", metavar="auto|ADDRESS", help="a running Ray cluster")
    add("--seed", metavar="N", help="of splits, searchers and trials; final models count up from it")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="fix a recipe field, or lr=1e-5..1e-2, a|b")
    add("--dry-run", action="store_true", help="check all, say what would be done, and stop")


def add_resume_options(parser: argparse.ArgumentParser) -> None:
    """The options of `raytl resume`: how long and where a study goes on, not what it is."""
    parser.add_argument("--data", metavar="DATA", help="where its pictures are now")
    parser.add_argument("--time", metavar="30m", help="limit for what is left of search and confirmation")
    parser.add_argument("--cache-gb", metavar="GB", help="disk for what frozen stages make of pictures")
    parser.add_argument("--address", metavar="auto|ADDRESS", help="a running Ray cluster")
    parser.add_argument("--changed-data", action="store_true", help="go on although its pictures have changed")


def resume_changes(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of a study that the options of `raytl resume` replace.

    Raises:
        ConfigError: for what cannot be understood.
    """
    problems: list[str] = []
    changes: dict[str, Any] = {name: text for name in ("data", "address") if (text := getattr(options, name))}
    _add_limits(changes, options, problems)
    if problems:
        raise ConfigError(*problems)
    return changes


def study_of(options: argparse.Namespace) -> Study:
    """The study that the options ask for: an experiment file's, or the embedded one, with what was given replaced.

    All that can be known from names and numbers is checked, backbones and recipes included; torch is not imported.

    Raises:
        ConfigError: with one line for everything that cannot be used.
    """
    problems: list[str] = []
    base, study = EMBEDDED, None
    with _noting(problems):
        base = load_study_file(options.study) if options.study else OWN_PICTURES if options.data else EMBEDDED
    changes = _changes(options, base, problems)
    with _noting(problems):
        study = replace(base, **changes)
        problems += _recipe_problems(study)
    if study is None:
        problems += _name_problems(changes.get("backbones", base.backbones))
    if problems or study is None:
        raise ConfigError(*dict.fromkeys(problems))
    return study


def load_study_file(path: Path) -> Study:
    """The `STUDY` of a Python file.

    Raises:
        ConfigError: where the file is missing, cannot be run, or has no study.
    """
    if not path.is_file() or path.suffix != ".py":
        raise ConfigError(f"study file {str(path)!r}: no such Python file; give one that says STUDY = Study(...)")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except RaytlError:
        raise
    except Exception as error:  # a person's own code can raise anything
        raise ConfigError(f"study file {str(path)!r}: {type(error).__name__}: {error}; mend the file") from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise ConfigError(f"study file {str(path)!r}: STUDY is {study!r}; it must be a raytl.study.Study")
    return study


def _changes(options: argparse.Namespace, base: Study, problems: list[str]) -> dict[str, Any]:
    """The study's fields that the options replace; what cannot be understood is added to `problems`."""
    changes: dict[str, Any] = {name: text for name in _TEXTS if (text := getattr(options, name)) is not None}
    for name in _COUNTS:
        if (text := getattr(options, name)) is not None:
            with _noting(problems):
                changes[name] = _count(name, text)
    _add_limits(changes, options, problems)
    if options.backbones is not None:
        changes["backbones"] = tuple(name.strip() for name in options.backbones.split(",") if name.strip())
    if options.data is not None:
        changes |= {"data": options.data, "name": base.name if options.study else _name_of(options.data)}
    if options.drop_suspect:
        changes["drop_suspect"] = True
    changes["settings"] = dict(base.settings)
    for text in options.set:
        with _noting(problems):
            name, value = parse_setting(text)
            changes["settings"][name] = value
    return changes


def _add_limits(changes: dict[str, Any], options: argparse.Namespace, problems: list[str]) -> None:
    if options.time is not None:
        with _noting(problems):
            changes["time_limit_seconds"] = parse_seconds(options.time)
    if options.cache_gb is not None:
        with _noting(problems):
            changes["cache_gb"] = _gigabytes(options.cache_gb)


def _recipe_problems(study: Study) -> list[str]:
    """What is wrong with weights, backbones, and the recipes that their searches start from."""
    problems = _name_problems(study.backbones)
    if study.weights not in ("pretrained", "none") and not Path(study.weights).is_dir():
        problems.append(f"weights={study.weights!r}: must be 'pretrained', 'none' or an existing folder")
    fixed = {name: value for name, value in study.settings.items() if isinstance(value, Value)}
    domains = {name: value for name, value in study.settings.items() if not isinstance(value, Value)}
    for backbone in study.backbones:
        with _noting(problems):
            start = default_recipe(backbone, study.weights, study.epochs, study.image_size, study.seed)
            Space(domains).check(make_recipe(start, fixed))
    return problems


def _name_problems(backbones: Sequence[str]) -> list[str]:
    problems: list[str] = []
    for name in backbones:
        with _noting(problems):
            check_backbone(name)
    return problems


@contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    """Adds what an error says to `problems` instead of passing it on."""
    try:
        yield
    except RaytlError as error:
        problems.extend(error.problems)


def _count(name: str, text: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,9}", text):
        raise ConfigError(f"--{name.replace('_', '-')} {text}: must be a whole number")
    return int(text)


def _gigabytes(text: str) -> float:
    if not re.fullmatch(r"\d{1,7}(\.\d{1,9})?", text):
        raise ConfigError(f"--cache-gb {text}: must be a number of gigabytes, such as 20 or 0.5")
    return float(text)


def _name_of(data: str) -> str:
    """A study's name from its data's: what a folder may be called anywhere, of up to 100 characters."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(data).resolve().stem)
    return re.sub(r"^[^A-Za-z0-9]+", "", name)[:100] or "study"
