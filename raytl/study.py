"""A study: which backbones are searched on which pictures, how, and for how long. Plain data, checked when made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from raytl.choice import nearest
from raytl.errors import ConfigError
from raytl.metric import METRICS
from raytl.recipe import FIELD_NAMES
from raytl.space import Domain, Value, parse_setting

SEARCHERS = ("optuna", "hyperopt", "random", "grid")
SCHEDULERS = ("asha", "median", "none")
LADDER, FLAT = "ladder", "flat"
POLICIES = (LADDER, FLAT)
# Recipe fields that a study has a field of its own for.
OWN_FIELDS = {"backbone": "backbones", "weights": "weights", "epochs": "epochs", "seed": "seed"}


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a person asks for; an experiment file is a `STUDY = Study(...)`.

    `trials` counts per backbone. `epochs` is the length of a full run; None takes each family's own.
    `settings` fixes recipe fields or gives them another domain. `time_limit_seconds` covers search and
    confirmation. `weights` is `pretrained`, `none` or a folder of `<backbone>.safetensors`. `splits` repeats the
    confirmation over further splits of the same pictures. `policy`: `ladder` begins with many heads over frozen
    backbones and unfreezes where that has shown to pay, `flat` gives every trial to the searcher. `cache_gb` bounds
    what is kept of frozen stages on each machine, in gigabytes (None: a tenth of what is free on the disk).

    Raises:
        ConfigError: one line for every value that cannot be used.
    """

    name: str
    data: str
    backbones: tuple[str, ...]
    weights: str = "pretrained"
    trials: int = 8
    epochs: int | None = None
    image_size: int | None = None
    settings: Mapping[str, Domain | Value] = field(default_factory=dict)
    searcher: str = "hyperopt"
    scheduler: str = "asha"
    policy: str = LADDER
    rungs_per_backbone: bool = True
    brackets: int = 1
    metric: str = "val_accuracy"
    workers_per_trial: int = 1
    confirm_seeds: int = 5
    splits: int = 1
    seed: int = 0
    time_limit_seconds: float | None = None
    drop_suspect: bool = False
    cache_gb: float | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        problems = _type_problems(self) or [*_name_problems(self), *_choice_problems(self), *_count_problems(self)]
        if problems:
            raise ConfigError(*problems)

    def values(self) -> dict[str, object]:
        """The study as JSON values, for `study.json`."""
        return {**asdict(self), "settings": {name: _plain(value) for name, value in self.settings.items()}}


def study_of_values(values: Mapping[str, object]) -> Study:
    """The study whose `values()` these are, as `study.json` holds them under `spec`.

    Raises:
        ConfigError: where they are not a study's, or one that another version of raytl understood.
    """
    known = tuple(item.name for item in fields(Study))
    problems = [f"study field {name!r} does not exist{nearest(name, known)}" for name in values if name not in known]
    settings, backbones = values.get("settings", {}), values.get("backbones", ())
    if problems or not isinstance(settings, Mapping) or not isinstance(backbones, list | tuple):
        raise ConfigError(*problems, "not a study of this version of raytl: go on with the version that began it")
    made = {name: _setting(name, value) for name, value in settings.items()}
    return Study(**{**values, "settings": made, "backbones": tuple(backbones)})  # type: ignore[arg-type]


def parse_seconds(text: str) -> float:
    """`90`, `90s`, `30m` or `2h` in seconds.

    Raises:
        ConfigError: for anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"time {text!r}: write seconds, minutes or hours above 0, such as 90s, 30m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _setting(name: str, value: object) -> object:
    """The domain or value that `_plain` wrote."""
    return parse_setting(f"{name}={value}")[1] if isinstance(value, str) else value


def _plain(value: Domain | Value) -> object:
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def _type_problems(study: Study) -> list[str]:
    """Values of a type that Python takes silently: a text for a tuple of names, a text or a fraction for a count."""
    types: dict[str, type | tuple[type, ...]] = {
        "str": str,
        "int": int,
        "float": (int, float),
        "bool": bool,
        "tuple[str, ...]": tuple,
        "Mapping[str, Domain | Value]": Mapping,
    }
    problems = []
    for item in fields(study):
        kind, value = str(item.type).removesuffix(" | None"), getattr(study, item.name)
        fits = isinstance(value, types[kind]) and isinstance(value, bool) == (kind == "bool")
        if not fits and not (value is None and kind != item.type):
            problems.append(f"{item.name}={value!r}: must be {item.type}, not {type(value).__name__}")
    names = study.backbones if isinstance(study.backbones, tuple) else ()
    return problems + [
        f"backbones={name!r}: must be str, not {type(name).__name__}" for name in names if not isinstance(name, str)
    ]


def _name_problems(study: Study) -> list[str]:
    problems = []
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", study.name):
        problems.append(f"name={study.name!r}: use up to 100 letters, digits, '.', '_' and '-'; it names a folder")
    if not study.backbones:
        problems.append("backbones: none given; name at least one with --backbones")
    repeated = sorted({name for name in study.backbones if study.backbones.count(name) > 1})
    problems += [f"backbones: {name!r} is named more than once; name it once" for name in repeated]
    problems += [
        f"settings: {name} cannot be set here; the study's own {OWN_FIELDS[name]!r} says it (--{OWN_FIELDS[name]})"
        for name in study.settings
        if name in OWN_FIELDS
    ]
    unknown = [name for name in study.settings if name not in FIELD_NAMES]
    return problems + [f"recipe field {name!r} does not exist{nearest(name, FIELD_NAMES)}" for name in unknown]


def _choice_problems(study: Study) -> list[str]:
    rules = (
        ("searcher", SEARCHERS),
        ("scheduler", SCHEDULERS),
        ("policy", POLICIES),
        ("metric", tuple(METRICS)),
    )
    return [
        f"{name}={value!r}: must be one of {', '.join(allowed)}{nearest(value, allowed)}"
        for name, allowed in rules
        if (value := getattr(study, name)) not in allowed
    ]


def _count_problems(study: Study) -> list[str]:
    least = {
        "trials": 1,
        "epochs": 1,
        "brackets": 1,
        "workers_per_trial": 1,
        "confirm_seeds": 1,
        "splits": 1,
        "seed": 0,
    }
    low = [
        f"{name}={value}: must be at least {bound}"
        for name, bound in least.items()
        if (value := getattr(study, name)) is not None and value < bound
    ]
    if study.time_limit_seconds is not None and study.time_limit_seconds <= 0:
        low.append(f"time_limit_seconds={study.time_limit_seconds:g}: must be above 0")
    if study.cache_gb is not None and study.cache_gb < 0:
        low.append(f"cache_gb={study.cache_gb:g}: must be at least 0 (0 keeps nothing)")
    return low
