"""From the words of a command line to a study: which option sets what, and an experiment file's own settings."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from raytl.catalog import check_backbone
from raytl.class_map import read_class_map
from raytl.errors import ConfigError, RaytlError
from raytl.experiment_file import load_study
from raytl.family import default_recipe
from raytl.money import parse_prices
from raytl.output import JSON, LINES, QUIET, Output
from raytl.recipe import make_recipe
from raytl.space import Space, Value, parse_setting
from raytl.study import Study, parse_seconds

EMBEDDED = Study(
    name="flowers",
    data="drawn-flowers",
    backbones=("tiny_mobilenet", "tiny_resnet", "tiny_vit"),
    confirm_seeds=3,  # chosen: the whole study ends in under five minutes on two cores
)
OWN_PICTURES = replace(EMBEDDED, confirm_seeds=5)  # chosen: three seeds leave wide intervals

# Options whose text is the study's field of the same name: as it is, as a number, and as a whole number. The study
# checks the values, not argparse, so that everything wrong is said at once.
_TEXTS = ("searcher", "scheduler", "policy", "metric", "weights", "address", "storage")
_FLAGS = ("drop_suspect", "allow_bad", "weight_histograms", "keep_finals")
_AMOUNTS = (
    ("cache_gb", "gigabytes"),
    ("store_gb", "gigabytes"),
    ("max_latency_ms", "milliseconds"),
    ("max_size_mb", "megabytes"),
    ("budget_hours", "hours"),
)
_COUNTS = (
    "trials",
    "epochs",
    "confirm_epochs",
    "image_size",
    "workers_per_trial",
    "trials_per_gpu",
    "confirm_seeds",
    "splits",
    "seed",
)


def output_of(options: argparse.Namespace) -> Output:
    """What a study is to tell while it runs."""
    mode = QUIET if options.quiet else JSON if options.json else LINES
    return Output(mode, options.verbose)


def resume_changes(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of a study that the options of `raytl resume` replace.

    Raises:
        ConfigError: for what cannot be understood.
    """
    problems: list[str] = []
    given = ((name, getattr(options, name)) for name in ("address", "storage"))
    changes: dict[str, Any] = {name: text for name, text in given if text}
    if options.data:
        first, *more = options.data
        changes |= {"data": first} | ({"more_data": tuple(more)} if more else {})
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
        base = load_study(options.study) if options.study else OWN_PICTURES if options.data else EMBEDDED
    changes = _changes(options, base, problems)
    with _noting(problems):
        study = replace(base, **changes)
        problems += recipe_problems(study, elsewhere=options.detach)
    if study is None:
        problems += _name_problems(changes.get("backbones", base.backbones))
    if problems or study is None:
        raise ConfigError(*dict.fromkeys(problems))
    return study


def likely_folder(options: argparse.Namespace) -> Path | None:
    """Where the study of these options would lie; None where that stands in its experiment file alone."""
    if options.out is not None:
        return Path(options.out)
    if options.study or "" in options.data:
        return None
    return Path("results") / (name_of(options.data[0]) if options.data else EMBEDDED.name)


def defaults_taken(options: argparse.Namespace) -> str | None:
    """What a person should know who named neither an experiment file nor pictures, or no backbones."""
    if options.study:
        return None
    if not options.data:
        return (
            f"no pictures were named: the embedded {EMBEDDED.data} are taken; for your own type `raytl search FOLDER` "
            "with a folder of class folders"
        )
    if options.backbones is None:
        return (
            f"no backbones were named: {', '.join(OWN_PICTURES.backbones)} are taken, small ones for trying things "
            "out; name others with --backbones, such as resnet50,convnext_tiny"
        )
    return None


def _changes(options: argparse.Namespace, base: Study, problems: list[str]) -> dict[str, Any]:
    """The study's fields that the options replace; what cannot be understood is added to `problems`."""
    changes: dict[str, Any] = {name: text for name in _TEXTS if (text := getattr(options, name)) is not None}
    for name in _COUNTS:
        if (text := getattr(options, name)) is not None:
            with _noting(problems):
                changes[name] = _count(name, text)
    _add_limits(changes, options, problems)
    changes["prices"] = {**base.prices, **changes.get("prices", {})}
    if options.backbones is not None:
        names = tuple(name.strip() for name in options.backbones.split(",") if name.strip())
        own = {name: settings for name, settings in base.backbone_settings.items() if name in names}
        changes |= {"backbones": names, "backbone_settings": own}
    if options.data:
        first, *more = options.data
        changes |= {"data": first, "more_data": tuple(more), "name": base.name if options.study else name_of(first)}
    if options.class_map is not None:
        with _noting(problems):
            changes["class_map"] = read_class_map(options.class_map)
    changes |= {name: True for name in _FLAGS if getattr(options, name)}
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
    if options.peer_timeout is not None:
        with _noting(problems):
            changes["peer_timeout_seconds"] = parse_seconds(options.peer_timeout)
    if options.price:
        with _noting(problems):
            changes["prices"] = parse_prices(options.price)
    for name, unit in _AMOUNTS:
        if (text := getattr(options, name)) is not None:
            with _noting(problems):
                changes[name] = _number(f"--{name.replace('_', '-')}", text, unit)


def recipe_problems(study: Study, elsewhere: bool = False) -> list[str]:
    """What is wrong with weights, backbones, and the recipes that their searches start from."""
    problems = _name_problems(study.backbones)
    if not elsewhere and study.weights not in ("pretrained", "none") and not Path(study.weights).is_dir():
        problems.append(f"weights={study.weights!r}: must be 'pretrained', 'none' or an existing folder")
    for backbone in study.backbones:
        with _noting(problems):
            settings = study.settings_of(backbone)
            fixed = {name: value for name, value in settings.items() if isinstance(value, Value)}
            domains = {name: value for name, value in settings.items() if not isinstance(value, Value)}
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


def _number(option: str, text: str, unit: str) -> float:
    if not re.fullmatch(r"\d{1,7}(\.\d{1,9})?", text):
        raise ConfigError(f"{option} {text}: must be a number of {unit}, such as 20 or 0.5")
    return float(text)


def name_of(data: str) -> str:
    """A study's name from its data's: what a folder may be called anywhere, of up to 100 characters."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(data).resolve().stem)
    return re.sub(r"^[^A-Za-z0-9]+", "", name)[:100] or "study"
