"""A choice with arguments, written as text: `cosine`, `step:10,0.5`, `mlp:256-128-64`.

Text is what a person types, a table stores and a hash covers, so recipes keep the text; this module
says which texts are allowed and turns one into a name and numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

# What timm, torch, Keras and papers call a field of a recipe.
SYNONYMS = {
    "learning_rate": "lr",
    "learningrate": "lr",
    "base_lr": "lr",
    "lr0": "lr",
    "head_lr": "head_lr_scale",
    "batch": "batch_size",
    "bs": "batch_size",
    "wd": "weight_decay",
    "decay": "weight_decay",
    "l2": "weight_decay",
    "freeze": "freeze_depth",
    "frozen": "freeze_depth",
    "frozen_stages": "freeze_depth",
    "unfreeze": "unfreeze_epoch",
    "img_size": "image_size",
    "imgsz": "image_size",
    "input_size": "image_size",
    "resolution": "image_size",
    "size": "image_size",
    "opt": "optimizer",
    "optim": "optimizer",
    "sched": "schedule",
    "scheduler": "schedule",
    "lr_schedule": "schedule",
    "smoothing": "label_smoothing",
    "drop": "dropout",
    "drop_rate": "dropout",
    "clip_grad": "clip_norm",
    "grad_clip": "clip_norm",
    "ema": "ema_decay",
    "llrd": "layer_decay",
    "warmup": "warmup_epochs",
    "patience": "early_stop",
    "gamma": "focal_gamma",
    "criterion": "loss",
    "pooling": "pool",
    "global_pool": "pool",
    "augmentation": "augment",
    "aug": "augment",
    "amp": "precision",
    "dtype": "precision",
    "epoch": "epochs",
    "random_state": "seed",
}


@dataclass(frozen=True)
class Choice:
    """One parsed choice: its name and the numbers behind the colon."""

    name: str
    arguments: tuple[float, ...] = ()


@dataclass(frozen=True)
class Number:
    """Where one number of a choice may lie, bounds included; `whole` for counts."""

    low: float = 0.0
    high: float = math.inf
    whole: bool = False

    def allows(self, value: float) -> bool:
        """Whether `value` may stand here; only finite numbers may."""
        return math.isfinite(value) and self.low <= value <= self.high and (not self.whole or value.is_integer())

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a finite number"
        return f"{kind}, at least {self.low:g}{f', at most {self.high:g}' if self.high < math.inf else ''}"


@dataclass(frozen=True)
class Rule:
    """Which numbers follow a choice's name, one `Number` for each; with `most`, up to so many like the last one."""

    example: str
    numbers: tuple[Number, ...] = ()
    most: int = 0
    separator: str = ","


def parse(field: str, text: str, rules: Mapping[str, Rule]) -> Choice:
    """Turns `text` into a `Choice`.

    Raises:
        ValueError: with value, rule and remedy, where name or arguments are not allowed.
    """
    name, colon, tail = text.partition(":")
    if name not in rules:
        raise ValueError(f"{field}={text!r}: unknown choice; {_suggest(name, rules)}")
    rule = rules[name]
    parts = tail.split(rule.separator) if colon else []
    least, most = len(rule.numbers), max(len(rule.numbers), rule.most)
    if not least <= len(parts) <= most:
        raise ValueError(f"{field}={text!r}: {_count(least, most)} after {name!r}; write it like {rule.example!r}")
    allowed = [*rule.numbers, *rule.numbers[-1:] * (len(parts) - least)]
    numbers = (_number(field, text, *pair, rule) for pair in zip(parts, allowed, strict=True))
    return Choice(name, tuple(numbers))


def nearest(name: str, known: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    """`, did you mean 'x'?` where a known name is near, or is what others call by this name; else nothing."""
    other = SYNONYMS.get(name.lower().replace("-", "_"))
    near = [other] if other in known else get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _suggest(name: str, rules: Mapping[str, Rule]) -> str:
    return f"known: {', '.join(rule.example for rule in rules.values())}{nearest(name, rules)}"


def _count(least: int, most: int) -> str:
    if most == 0:
        return "takes no numbers"
    if least == most:
        return f"takes {most} number{'s' if most > 1 else ''}"
    return f"takes {least} to {most} numbers"


def _number(field: str, text: str, part: str, allowed: Number, rule: Rule) -> float:
    try:
        value = float(part)
    except ValueError:
        raise ValueError(f"{field}={text!r}: {part!r} is no number; write it like {rule.example!r}") from None
    if not allowed.allows(value):
        raise ValueError(f"{field}={text!r}: {part} must be {allowed}; write it like {rule.example!r}")
    return value
