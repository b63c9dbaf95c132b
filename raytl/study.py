"""A study: which backbones are searched on which pictures, how, and for how long. Plain data, checked when made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from raytl.choice import nearest
from raytl.design import Design, design_problems
from raytl.errors import EMPTY_DATA, ConfigError
from raytl.limits import Limits
from raytl.metric import METRICS
from raytl.money import HOUR_SECONDS, price_problems
from raytl.recipe import FIELD_NAMES
from raytl.space import Domain, Value, parse_setting, setting_text

SEARCHERS = ("optuna", "hyperopt", "random", "grid")
SCHEDULERS = ("asha", "median", "none")
LADDER, FLAT = "ladder", "flat"
POLICIES = (LADDER, FLAT)
# Recipe fields that a study has a field of its own for.
OWN_FIELDS = {"backbone": "backbones", "weights": "weights", "epochs": "epochs", "seed": "seed"}
CONFIRM_SHARE = 0.4  # chosen: of `--time` and `--budget-hours`, kept back for confirming and testing
OTHER_VERSION = "not a study of this version of raytl: go on with the version that began it"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a person asks for; an experiment file is a `STUDY = Study(...)`.

    `more_data` are further sources whose pictures are taken together with those of `data`, classes matched by name;
    `class_map` groups classes under other names. `trials` counts per backbone. `epochs` is the length of a full run;
    None takes each family's own, and `confirm_epochs` is that of final models where they run longer than trials.
    `settings` fixes recipe fields or gives them another domain, `backbone_settings` does so for one backbone, by its
    name. `design` names factors, their levels and the recipe fields that these set: all combinations are trained under
    `confirm_seeds` seeds, and there is no search.
    `time_limit_seconds` covers search and confirmation, for which a share is kept back: the search ends in time, and
    final models are trained whatever is left. So does `budget_hours`, in worker-hours: hours of a GPU, or
    of a worker's share of the processors where there is none, summed over all trials of the study, also over its
    earlier runs. `prices` are what an hour of each type of machine costs, by the type's name or `*` for all others;
    all costs follow the prices that were given last, those of earlier trials included. `address` is that of a Ray
    cluster, `local` for this machine, or None for the cluster that RAY_ADDRESS names, if any. `weights` is
    `pretrained`, `none` or a folder of `<backbone>.safetensors`. `splits` repeats the confirmation over further
    splits of the same pictures. `policy`: `ladder` begins with many heads over frozen backbones and unfreezes where
    that has shown to pay, `flat` gives every trial to the searcher. `cache_gb` bounds what is kept of frozen stages
    on each machine, in gigabytes (None: a tenth of what is free on the disk); `store_gb` bounds the decoded pictures
    there (None: most of what is free, 0: none): pictures beyond that are decoded anew each time they are read.
    `trials_per_gpu` lets trials of one worker share a GPU, which pays where small pictures leave it idle.
    Workers of one trial wait `peer_timeout_seconds` for one that has frozen, then the trial goes on in new ones.
    `storage` is the address of a place that the study folder is copied to while it runs, such as s3://bucket/folder.
    `weight_histograms` shows in TensorBoard how each stage's weights are distributed after every epoch.
    `keep_finals` keeps the checkpoint of every final model, for `raytl ensemble`, not only of those that are saved.
    `allow_bad` goes on where more than 1% of a class's files cannot be used.
    `max_latency_ms` (milliseconds a picture) and `max_size_mb` (of the weights) bound what may be the answer.

    Raises:
        ConfigError: one line for every value that cannot be used.
    """

    name: str
    data: str
    more_data: tuple[str, ...] = ()
    class_map: Mapping[str, str] = field(default_factory=dict)
    backbones: tuple[str, ...]
    weights: str = "pretrained"
    trials: int = 8
    epochs: int | None = None
    confirm_epochs: int | None = None
    image_size: int | None = None
    settings: Mapping[str, Domain | Value] = field(default_factory=dict)
    backbone_settings: Mapping[str, Mapping[str, Domain | Value]] = field(default_factory=dict)
    design: Design = field(default_factory=dict)
    searcher: str = "hyperopt"
    scheduler: str = "asha"
    policy: str = LADDER
    rungs_per_backbone: bool = True
    brackets: int = 1
    metric: str = "val_accuracy"
    workers_per_trial: int = 1
    trials_per_gpu: int = 1
    confirm_seeds: int = 5
    splits: int = 1
    seed: int = 0
    time_limit_seconds: float | None = None
    budget_hours: float | None = None
    prices: Mapping[str, float] = field(default_factory=dict)
    weight_histograms: bool = False
    keep_finals: bool = False
    drop_suspect: bool = False
    allow_bad: bool = False
    cache_gb: float | None = None
    store_gb: float | None = None
    address: str | None = None
    storage: str | None = None
    peer_timeout_seconds: float = 300.0
    max_latency_ms: float | None = None
    max_size_mb: float | None = None

    def __post_init__(self) -> None:
        problems = _type_problems(self) or [*_name_problems(self), *_choice_problems(self), *_count_problems(self)]
        problems = problems or price_problems(self.prices)
        if problems:
            raise ConfigError(*problems)

    @property
    def search_seconds(self) -> float | None:
        """How long the search may take, everything before it included; None without a limit."""
        return None if self.time_limit_seconds is None else self.time_limit_seconds * (1 - CONFIRM_SHARE)

    @property
    def search_worker_seconds(self) -> float | None:
        """How many worker-seconds the search may use; None without a budget."""
        return None if self.budget_hours is None else self.budget_hours * HOUR_SECONDS * (1 - CONFIRM_SHARE)

    @property
    def limits(self) -> Limits:
        """What the answer may cost when it is used."""
        return Limits(self.max_latency_ms, self.max_size_mb)

    @property
    def store_limit_bytes(self) -> int | None:
        """How many bytes of decoded pictures a machine keeps; None as its disk allows."""
        return None if self.store_gb is None else int(self.store_gb * 1e9)

    def values(self) -> dict[str, object]:
        """The study as JSON values, for `study.json`."""
        return {
            **asdict(self),
            "settings": _plain_settings(self.settings),
            "backbone_settings": {name: _plain_settings(each) for name, each in self.backbone_settings.items()},
        }

    def settings_of(self, backbone: str) -> dict[str, Domain | Value]:
        """What is fixed or has another domain for one backbone: its own settings before those of all."""
        return {**self.settings, **self.backbone_settings.get(backbone, {})}


def study_of_values(values: Mapping[str, object]) -> Study:
    """The study whose `values()` these are, as `study.json` holds them under `spec`.

    Raises:
        ConfigError: where they are not a study's, or one that another version of raytl understood.
    """
    known = tuple(item.name for item in fields(Study))
    problems = [f"study field {name!r} does not exist{nearest(name, known)}" for name in values if name not in known]
    settings, backbones = values.get("settings", {}), values.get("backbones", ())
    more, own = values.get("more_data", ()), values.get("backbone_settings", {})
    if problems or not isinstance(own, Mapping) or not isinstance(backbones, list | tuple):
        raise ConfigError(*problems, OTHER_VERSION)
    made = {
        "backbones": tuple(backbones),
        "more_data": tuple(more) if isinstance(more, list) else more,
        "settings": _settings(settings),
        "backbone_settings": {name: _settings(each) for name, each in own.items()},
    }
    return Study(**{**values, **made})  # type: ignore[arg-type]


def parse_seconds(text: str) -> float:
    """`90`, `90s`, `30m` or `2h` in seconds.

    Raises:
        ConfigError: for anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"time {text!r}: write seconds, minutes or hours above 0, such as 90s, 30m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _settings(values: object) -> dict[str, object]:
    """The settings that `_plain_settings` wrote."""
    if not isinstance(values, Mapping):
        raise ConfigError(OTHER_VERSION)
    return {
        name: parse_setting(f"{name}={value}")[1] if isinstance(value, str) else value for name, value in values.items()
    }


def _plain_settings(settings: Mapping[str, Domain | Value]) -> dict[str, object]:
    return {name: value if isinstance(value, Value) else setting_text(name, value) for name, value in settings.items()}


def _type_problems(study: Study) -> list[str]:
    """Values of a type that Python takes silently: a text for a tuple of names, a text or a fraction for a count."""
    types: dict[str, type | tuple[type, ...]] = {
        "str": str,
        "int": int,
        "float": (int, float),
        "bool": bool,
        "tuple[str, ...]": tuple,
        "Mapping[str, Domain | Value]": Mapping,
        "Mapping[str, Mapping[str, Domain | Value]]": Mapping,
        "Design": Mapping,
        "Mapping[str, str]": Mapping,
        "Mapping[str, float]": Mapping,
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
    if not all(each.strip() for each in (study.data, *study.more_data)):
        problems.append(EMPTY_DATA)
    if not study.backbones:
        problems.append("backbones: none given; name at least one with --backbones")
    repeated = sorted({name for name in study.backbones if study.backbones.count(name) > 1})
    problems += [f"backbones: {name!r} is named more than once; name it once" for name in repeated]
    named = dict.fromkeys([*study.settings, *(name for own in study.backbone_settings.values() for name in own)])
    problems += [
        f"settings: {name} cannot be set here; the study's own {OWN_FIELDS[name]!r} says it (--{OWN_FIELDS[name]})"
        for name in named
        if name in OWN_FIELDS
    ]
    problems += [
        f"backbone_settings: {name!r} is no backbone of this study{nearest(name, study.backbones)}"
        for name in study.backbone_settings
        if name not in study.backbones
    ]
    unknown = [name for name in named if name not in FIELD_NAMES]
    problems += design_problems(study.design, named)
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
        "confirm_epochs": 1,
        "brackets": 1,
        "workers_per_trial": 1,
        "trials_per_gpu": 1,
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
    if study.design and study.time_limit_seconds is not None:
        low.append(f"time_limit_seconds={study.time_limit_seconds:g}: a design is run whole; leave --time out")
    if study.design and study.budget_hours is not None:
        low.append(f"budget_hours={study.budget_hours:g}: a design is run whole; leave --budget-hours out")
    if study.design and study.confirm_epochs is not None:
        low.append(f"confirm_epochs={study.confirm_epochs}: a design's runs are all of one length; set epochs instead")
    if study.trials_per_gpu > 1 and study.workers_per_trial > 1:
        low.append(
            f"trials_per_gpu={study.trials_per_gpu} with workers_per_trial={study.workers_per_trial}: each DDP worker "
            "needs a GPU of its own; leave one of the two out"
        )
    if study.peer_timeout_seconds < 1:
        low.append(f"peer_timeout_seconds={study.peer_timeout_seconds:g}: must be at least 1")
    if study.cache_gb is not None and study.cache_gb < 0:
        low.append(f"cache_gb={study.cache_gb:g}: must be at least 0 (0 keeps nothing)")
    if study.store_gb is not None and study.store_gb < 0:
        low.append(f"store_gb={study.store_gb:g}: must be at least 0 (0 keeps nothing)")
    return low + [
        f"{name}={most:g}: must be above 0; leave it out for no limit"
        for name in ("max_latency_ms", "max_size_mb", "budget_hours")
        if (most := getattr(study, name)) is not None and not most > 0
    ]
