"""A recipe: everything that decides one fine-tuning run, and nothing else.

A recipe is plain data. Each field is read by exactly the part of the loop that its group names; choices
that take arguments are text (`schedule="step:10,0.5"`) and are parsed when the recipe is made, so that a
recipe that exists can be run.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property

from raytl.choice import Choice, Number, Rule, nearest, parse
from raytl.errors import ConfigError

POOLS = ("backbone", "avg", "flatten")
NORMALIZATIONS = ("backbone", "imagenet", "half")
OPTIMIZERS = ("adamw", "adam", "sgd", "rmsprop")
PRECISIONS = ("auto", "fp32", "bf16")
LOSSES = ("cross_entropy", "focal", "bce")
CLASS_WEIGHTS = ("none", "balanced", "effective")
SAMPLERS = ("uniform", "balanced")

ANY = Number()
SHARE = Number(high=1)
ANGLE = Number(high=180)  # degrees
COUNT = Number(low=1, whole=True)
COUNT_OR_NONE = Number(whole=True)

HEADS = {"linear": Rule("linear"), "mlp": Rule("mlp:256-128", (COUNT,), most=8, separator="-")}
ATTENTIONS = {"none": Rule("none"), "se": Rule("se:8", (COUNT,)), "cbam": Rule("cbam:8", (COUNT,))}
SCHEDULES = {
    "constant": Rule("constant"),
    "step": Rule("step:10,0.5", (COUNT, SHARE)),
    "cosine": Rule("cosine"),
    "plateau": Rule("plateau:0.5,2,1e-6", (SHARE, COUNT_OR_NONE, ANY)),
    "onecycle": Rule("onecycle"),
}
EARLY_STOPS = {
    "none": Rule("none"),
    "patience": Rule("patience:5,0.001", (COUNT_OR_NONE, ANY)),
    "rises": Rule("rises:5", (COUNT,)),
}
AUGMENTS = {
    "crop": Rule("crop"),
    "flip": Rule("flip"),
    "rotate": Rule("rotate:15", (ANGLE,)),
    "jitter": Rule("jitter:0.2", (SHARE,)),
    "affine": Rule("affine:15,0.1", (ANGLE, SHARE)),
    "zoom": Rule("zoom:0.4", (Number(high=0.9),)),
    "blur": Rule("blur"),
    "autoaugment": Rule("autoaugment"),
    "randaugment": Rule("randaugment"),
    "trivialaugment": Rule("trivialaugment"),
}
PRESETS = {"none": "", "light": "crop+flip", "medium": "crop+flip+jitter:0.2", "strong": "crop+flip+randaugment"}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One fine-tuning run.

    `freeze_depth` counts leading stages of the backbone (0: all trained; the number of stages: head only).
    Epochs count from 1; `head_epochs`, in which the head is trained alone, come before them and are not counted.
    `batch_size` is global, over all workers. `augment` is a preset or a list joined by `+`, such as
    `crop+flip+rotate:15`.

    Raises:
        ConfigError: with one line for each field that cannot be used.
    """

    backbone: str
    weights: str = "pretrained"
    image_size: int = 224
    eval_resize: int = 256
    normalize: str = "backbone"
    pool: str = "backbone"

    freeze_depth: int = 0
    unfreeze_epoch: int | None = None
    unfreeze_lr_scale: float = 0.1
    head_epochs: int = 0

    head: str = "linear"
    dropout: float = 0.0
    attention: str = "none"
    aux_loss_weight: float = 0.0

    optimizer: str = "adamw"
    lr: float = 1e-3
    head_lr_scale: float = 1.0
    layer_decay: float = 1.0
    weight_decay: float = 0.01
    momentum: float = 0.9
    clip_norm: float | None = None
    ema_decay: float = 0.0

    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    epochs: int = 5
    early_stop: str = "none"

    batch_size: int = 32
    precision: str = "auto"

    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    class_weights: str = "none"
    sampler: str = "uniform"

    augment: str = "light"
    mixup: float = 0.0
    cutmix: float = 0.0
    views: int = 0

    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in FIELD_TYPES.items():  # 1 and 1.0, 0.0 and -0.0 are the same recipe and must hash alike
            value = getattr(self, name)
            if kind.startswith("float") and isinstance(value, int | float) and not isinstance(value, bool):
                object.__setattr__(self, name, float(value) + 0.0)
        problems = _problems(self)
        if problems:
            raise ConfigError(*problems)

    @cached_property
    def parsed_head(self) -> Choice:
        """`linear`, or `mlp` with the widths of its hidden layers."""
        return parse("head", self.head, HEADS)

    @cached_property
    def parsed_attention(self) -> Choice:
        """`none`, or the kind of attention block with its reduction ratio."""
        return parse("attention", self.attention, ATTENTIONS)

    @cached_property
    def parsed_schedule(self) -> Choice:
        """The learning rate's schedule with its numbers (epochs and factors)."""
        return parse("schedule", self.schedule, SCHEDULES)

    @cached_property
    def parsed_early_stop(self) -> Choice:
        """`none`, `patience` (epochs, least gain in loss) or `rises` (epochs in a row)."""
        return parse("early_stop", self.early_stop, EARLY_STOPS)

    @cached_property
    def parsed_augment(self) -> tuple[Choice, ...]:
        """The steps of the augmentation in order; empty for `none`."""
        steps = PRESETS.get(self.augment, self.augment)
        return tuple(parse("augment", step, AUGMENTS) for step in steps.split("+") if step)

    def values(self) -> dict[str, object]:
        """Every field by name, for tables and JSON."""
        return asdict(self)

    def with_seed(self, seed: int) -> Recipe:
        """The same recipe under another seed."""
        return replace(self, seed=seed)


def make_recipe(base: Recipe, values: Mapping[str, object]) -> Recipe:
    """`base` with some fields replaced by a searcher's or a person's `values`.

    Raises:
        ConfigError: for names that are no fields (the nearest one is offered) and values out of range.
    """
    unknown = [name for name in values if name not in FIELD_NAMES]
    problems = [f"recipe field {name!r} does not exist{nearest(name, FIELD_NAMES)}" for name in unknown]
    recipe = base
    try:
        recipe = replace(base, **{name: value for name, value in values.items() if name in FIELD_NAMES})  # type: ignore[arg-type]
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return recipe


FIELD_NAMES = tuple(field.name for field in fields(Recipe))
FIELD_TYPES: dict[str, str] = {field.name: str(field.type) for field in fields(Recipe)}

_ONE_OF = {
    "normalize": NORMALIZATIONS,
    "pool": POOLS,
    "optimizer": OPTIMIZERS,
    "precision": PRECISIONS,
    "loss": LOSSES,
    "class_weights": CLASS_WEIGHTS,
    "sampler": SAMPLERS,
}

# (field, low, high): inclusive bounds outside which a value is a mistake; the bounds are chosen wide.
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("image_size", 8, 2048),
    ("eval_resize", 8, 4096),
    ("freeze_depth", 0, 1000),
    ("unfreeze_epoch", 1, 10_000),
    ("unfreeze_lr_scale", 1e-6, 1e3),
    ("head_epochs", 0, 10_000),
    ("dropout", 0, 0.95),
    ("aux_loss_weight", 0, 10),
    ("lr", 1e-9, 100),
    ("head_lr_scale", 1e-4, 1e4),
    ("layer_decay", 0.01, 1),
    ("weight_decay", 0, 10),
    ("momentum", 0, 0.9999),
    ("clip_norm", 1e-6, 1e6),
    ("ema_decay", 0, 0.99999),
    ("warmup_epochs", 0, 1000),
    ("epochs", 1, 10_000),
    ("batch_size", 1, 65_536),
    ("label_smoothing", 0, 0.9),
    ("focal_gamma", 0, 20),
    ("mixup", 0, 10),
    ("cutmix", 0, 10),
    ("views", 0, 10_000),
    ("seed", 0, 2**31 - 1),
)


def _problems(recipe: Recipe) -> list[str]:
    """What is wrong, in all fields: those of a wrong type are not looked at further."""
    mistyped = {
        name: f"{name}={value!r}: must be {FIELD_TYPES[name]}, not {type(value).__name__}"
        for name, value in recipe.values().items()
        if not _fits(value, FIELD_TYPES[name])
    }
    together = [] if mistyped else _pair_problems(recipe)
    return [*mistyped.values(), *_choice_problems(recipe, mistyped), *_range_problems(recipe, mistyped), *together]


def _fits(value: object, kind: str) -> bool:
    if value is None:
        return kind.endswith("| None")
    if isinstance(value, bool):
        return False
    accepted = {"str": str, "int": int, "float": (int, float)}[kind.removesuffix(" | None")]
    return isinstance(value, accepted)  # type: ignore[arg-type]


def _choice_problems(recipe: Recipe, mistyped: Container[str]) -> list[str]:
    problems = [
        f"{name}={value!r}: must be one of {', '.join(allowed)}{nearest(value, allowed)}"
        for name, allowed in _ONE_OF.items()
        if name not in mistyped and (value := getattr(recipe, name)) not in allowed
    ]
    for name in ("head", "attention", "schedule", "early_stop", "augment"):
        if name in mistyped:
            continue
        try:
            getattr(recipe, f"parsed_{name}")
        except ValueError as error:
            problems.append(str(error))
    return problems


def _range_problems(recipe: Recipe, mistyped: Container[str]) -> list[str]:
    return [
        f"{name}={value!r}: must lie between {low:g} and {high:g}"
        for name, low, high in _RANGES
        if name not in mistyped
        and (value := getattr(recipe, name)) is not None
        and not low <= value <= high  # false for a value that is no number, too
    ]


def _pair_problems(recipe: Recipe) -> list[str]:
    return _bound_problems(recipe) + _head_start_problems(recipe)


def _head_start_problems(recipe: Recipe) -> list[str]:
    if recipe.head_epochs == 0 or (recipe.attention == "none" and recipe.aux_loss_weight == 0):
        return []
    return [
        f"{recipe.backbone}: head_epochs={recipe.head_epochs} trains a head over pooled features, but attention="
        f"{recipe.attention} and aux_loss_weight={recipe.aux_loss_weight:g} need more; leave one side out"
    ]


def _bound_problems(recipe: Recipe) -> list[str]:
    rules = (
        ("eval_resize", "at least", "image_size", recipe.eval_resize >= recipe.image_size),
        ("warmup_epochs", "at most", "epochs", recipe.warmup_epochs <= recipe.epochs),
    )
    return [
        f"{recipe.backbone}: {name} must be {bound} {other}, but they are {getattr(recipe, name)} and "
        f"{getattr(recipe, other)}; change one of them"
        for name, bound, other, holds in rules
        if not holds
    ]
