"""A choice with arguments, written as text: `cosine`, `step:10,0.5`, `mlp:256-128-64`.

Text is what a person types, a table stores and a hash covers, so recipes keep the text; this module
says which texts are allowed and turns one into a name and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Choice:
    """One parsed choice: its name and the numbers behind the colon."""

    name: str
    arguments: tuple[float, ...] = ()


@dataclass(frozen=True)
class Rule:
    """How many numbers follow a choice's name, where they may lie, and what they mean."""

    example: str
    least: int = 0
    most: int = 0
    low: float = 0.0
    high: float = float("inf")
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
    arguments = tuple(_number(field, text, part, rule) for part in tail.split(rule.separator)) if colon else ()
    if not rule.least <= len(arguments) <= rule.most:
        raise ValueError(f"{field}={text!r}: {_count(rule)} after {name!r}; write it like {rule.example!r}")
    return Choice(name, arguments)


def nearest(name: str, known: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    """`, did you mean 'x'?` where a known name is near, else nothing."""
    near = get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _suggest(name: str, rules: Mapping[str, Rule]) -> str:
    return f"known: {', '.join(rule.example for rule in rules.values())}{nearest(name, rules)}"


def _count(rule: Rule) -> str:
    if rule.most == 0:
        return "takes no numbers"
    if rule.least == rule.most:
        return f"takes {rule.most} number{'s' if rule.most > 1 else ''}"
    return f"takes {rule.least} to {rule.most} numbers"


def _number(field: str, text: str, part: str, rule: Rule) -> float:
    try:
        value = float(part)
    except ValueError:
        raise ValueError(f"{field}={text!r}: {part!r} is no number; write it like {rule.example!r}") from None
    if not rule.low <= value <= rule.high:
        bounds = f"between {rule.low:g} and {rule.high:g}"
        raise ValueError(f"{field}={text!r}: {part} must lie {bounds}; write it like {rule.example!r}")
    return value
