"""Search spaces: which values of a recipe's fields a study may try."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol

from raytl.choice import nearest
from raytl.errors import ConfigError
from raytl.recipe import FIELD_NAMES, FIELD_TYPES, Recipe

Value = str | int | float | None
Values = dict[str, Value]

# Rates and penalties act by their order of magnitude, so a range of them is searched in logarithms.
LOG_FIELDS = ("lr", "weight_decay", "head_lr_scale", "unfreeze_lr_scale", "clip_norm")

_NOT_SEARCHED = {
    "backbone": "each backbone has its own search; name them with --backbones",
    "epochs": "it is the budget that the scheduler shares out; set it with --epochs",
    "seed": "a search must not choose its luck; set it with --seed",
}


class Domain(Protocol):
    """The values one field may take. `str(domain)` is what `--set` says: `1e-05..0.01`, `16|32|64`."""

    @property
    def size(self) -> int | None:
        """How many different values there are; None where there is no end of them."""

    def at(self, fraction: float) -> Value:
        """The value that lies `fraction` (0 to 1) of the way through: uniform fractions sample the domain."""

    def contains(self, value: object) -> bool:
        """Whether the domain holds `value`."""


@dataclass(frozen=True)
class _Interval:
    low: float
    high: float

    @property
    def size(self) -> None:
        """No end of values."""

    def contains(self, value: object) -> bool:
        """Whether `value` is a number between the bounds."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{float(self.low)!r}..{float(self.high)!r}"


@dataclass(frozen=True)
class Uniform(_Interval):
    """Floats from `low` to `high`, both included, all equally likely."""

    def at(self, fraction: float) -> float:
        """`low + fraction * (high - low)`."""
        return min(max(self.low + fraction * (self.high - self.low), self.low), self.high)


@dataclass(frozen=True)
class LogUniform(_Interval):
    """Floats from `low` to `high`, both included and above 0, all orders of magnitude equally likely."""

    def at(self, fraction: float) -> float:
        """`low * (high / low) ** fraction`."""
        return min(max(self.low * (self.high / self.low) ** fraction, self.low), self.high)


@dataclass(frozen=True)
class IntRange:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """How many whole numbers there are."""
        return self.high - self.low + 1

    def at(self, fraction: float) -> int:
        """Equal shares of the way for every whole number."""
        return self.low + min(int(fraction * self.size), self.size - 1)

    def contains(self, value: object) -> bool:
        """Whether `value` is a whole number between the bounds (16.0 is none)."""
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


@dataclass(frozen=True)
class Choices:
    """A few named values."""

    values: tuple[Value, ...]

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)

    def at(self, fraction: float) -> Value:
        """Equal shares of the way for every value."""
        return self.values[min(int(fraction * self.size), self.size - 1)]

    def contains(self, value: object) -> bool:
        """Whether `value` is one of them."""
        return any(value == own and isinstance(value, str) == isinstance(own, str) for own in self.values)

    def __str__(self) -> str:
        return "|".join("none" if value is None else str(value) for value in self.values)


_KINDS: dict[str, type[Uniform | LogUniform | IntRange]] = {"uniform": Uniform, "log": LogUniform, "whole": IntRange}


def grid(domain: Domain, points: int) -> tuple[Value, ...]:
    """`points` values spread evenly over the domain with its ends, or all of it where it has no more."""
    if isinstance(domain, Choices):
        return domain.values
    if domain.size is not None and domain.size <= points:
        return tuple(domain.at((index + 0.5) / domain.size) for index in range(domain.size))
    if points == 1:
        return (domain.at(0.5),)
    return tuple(domain.at(index / (points - 1)) for index in range(points))


class Space:
    """The fields that a search may change, each with its domain, in the order given.

    Raises:
        ConfigError: one line for every unknown field, empty or reversed domain and every value that no recipe takes.
    """

    def __init__(self, domains: Mapping[str, Domain]) -> None:
        problems = [line for name, domain in domains.items() for line in _problems(name, domain)]
        if problems:
            raise ConfigError(*problems)
        self.domains: dict[str, Domain] = dict(domains)

    @property
    def size(self) -> int | None:
        """How many different points there are; None where a field is continuous."""
        sizes = [domain.size for domain in self.domains.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def contains(self, values: Mapping[str, object]) -> bool:
        """Whether every field of the space is given with a value of its domain; other fields do not count."""
        return all(name in values and domain.contains(values[name]) for name, domain in self.domains.items())

    def point(self, values: Mapping[str, Value]) -> Values:
        """The part of `values` (a whole recipe's, say) that the space speaks of, in the space's order."""
        return {name: values[name] for name in self.domains if name in values}

    def points(self, points_per_field: int) -> Iterator[Values]:
        """The grid over all fields; the last field changes fastest."""
        axes = [grid(domain, points_per_field) for domain in self.domains.values()]
        return (dict(zip(self.domains, row, strict=True)) for row in product(*axes))

    def with_domains(self, domains: Mapping[str, Domain]) -> Space:
        """The space with some fields added or given another domain."""
        return Space({**self.domains, **domains})

    def without(self, *names: str) -> Space:
        """The space without some fields (those that a person has fixed)."""
        return Space({name: domain for name, domain in self.domains.items() if name not in names})

    def check(self, base: Recipe) -> None:
        """Tries the ends of every domain on the recipe that the search starts from.

        Raises:
            ConfigError: where a value does not go with the rest of `base` (an image larger than its resize).
        """
        problems = [line for name, domain in self.domains.items() for line in _refusals(base, name, domain)]
        if problems:
            raise ConfigError(*problems)


def setting_text(name: str, domain: Domain) -> str:
    """What `parse_setting` reads as just this domain of the field, after `name=`: with its kind, where a field's own
    is another, and with a bar after an only choice, which would else be a fixed value.
    """
    text = str(domain)
    if isinstance(domain, Choices):
        return f"{text}|" if domain.size == 1 else text
    with suppress(ConfigError):  # a domain that no recipe takes, which is said elsewhere
        if parse_setting(f"{name}={text}")[1] != domain:
            return f"{text}:{next(word for word, kind in _KINDS.items() if isinstance(domain, kind))}"
    return text


def parse_setting(text: str) -> tuple[str, Domain | Value]:
    """What `--set` says: `lr=1e-3` fixes a field, `lr=1e-5..1e-2` gives a range, `batch_size=16|32` alternatives.

    Ranges of the fields in `LOG_FIELDS` are searched in logarithms; `low..high:uniform`, `:log` and `:whole` ask for
    another kind of range than the field's own. `none` is no value where the field allows that.

    Raises:
        ConfigError: where the field is unknown or the text is no value of it.
    """
    name, equals, tail = text.partition("=")
    name, tail = name.strip(), tail.strip()
    if not equals or not tail:
        raise ConfigError(f"--set {text}: write field=value, field=low..high or field=a|b|c")
    if name not in FIELD_NAMES:
        raise ConfigError(f"--set {text}: recipe field {name!r} does not exist{nearest(name, FIELD_NAMES)}")
    if ".." in tail:
        return name, _parse_range(name, tail)
    values = tuple(_parse_value(name, part.strip()) for part in tail.removesuffix("|").split("|"))
    are_choices = "|" in tail
    problems = _problems(name, Choices(values)) if are_choices else _refusal(_WIDE, name, values[0])
    if problems:
        raise ConfigError(*problems)
    return name, Choices(values) if are_choices else values[0]


def _parse_range(name: str, tail: str) -> Domain:
    span, colon, word = (part.strip() for part in tail.partition(":"))
    ends = span.split("..")
    kind = FIELD_TYPES[name].removesuffix(" | None")
    if kind == "str" or len(ends) != 2:
        raise ConfigError(f"{name}={tail!r}: a range is two numbers, low..high; separate alternatives with |")
    if colon and word not in _KINDS:
        raise ConfigError(f"{name}={tail!r}: a range may be one of {', '.join(_KINDS)}, not {word!r}")
    low, high = (_parse_value(name, end.strip(), "int" if word == "whole" else None) for end in ends)
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        raise ConfigError(f"{name}={tail!r}: a range needs a number at both ends")
    own = IntRange if kind == "int" else LogUniform if name in LOG_FIELDS and low > 0 else Uniform
    domain = _KINDS.get(word, own)(low, high)  # type: ignore[arg-type]
    problems = _problems(name, domain)
    if problems:
        raise ConfigError(*problems)
    return domain


def _parse_value(name: str, text: str, kind: str | None = None) -> Value:
    """A value of the field's type, or of another that is named."""
    kind = kind or FIELD_TYPES[name]
    if text.lower() == "none" and kind.endswith("| None"):
        return None
    convert = {"str": str, "int": int, "float": float}[kind.removesuffix(" | None")]
    try:
        return convert(text)
    except ValueError:
        hint = "; separate alternatives with |" if "," in text else ""
        raise ConfigError(f"{name}={text!r}: must be {kind}{hint}") from None


# A recipe so wide that no value of a field is refused because of another field.
_WIDE = Recipe(backbone="any", image_size=8, eval_resize=4096, epochs=10_000)


def _problems(name: str, domain: Domain) -> list[str]:
    if name not in FIELD_NAMES:
        return [f"search space: recipe field {name!r} does not exist{nearest(name, FIELD_NAMES)}"]
    if name in _NOT_SEARCHED:
        return [f"search space: {name} cannot be searched: {_NOT_SEARCHED[name]}"]
    shape = _shape_problem(domain)
    return [f"search space: {name}={domain}: {shape}"] if shape else _refusals(_WIDE, name, domain)


def _shape_problem(domain: Domain) -> str | None:
    if isinstance(domain, Choices):
        distinct = {(isinstance(value, str), value) for value in domain.values}
        if not domain.values:
            return "must have at least one value"
        return None if len(distinct) == len(domain.values) else "names a value twice"
    low, high = domain.low, domain.high  # type: ignore[attr-defined]
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return "low must be below high, both finite; fix a value instead of giving it no room"
    if isinstance(domain, LogUniform) and low <= 0:
        return "low must be above 0 for a logarithmic range; use Uniform or raise it"
    return None


def _refusals(base: Recipe, name: str, domain: Domain) -> list[str]:
    """What recipes say to the ends of a domain, or to each of its choices."""
    tried = domain.values if isinstance(domain, Choices) else (domain.at(0.0), domain.at(1.0))
    return [line for value in tried for line in _refusal(base, name, value)]


def _refusal(base: Recipe, name: str, value: Value) -> list[str]:
    try:
        replace(base, **{name: value})  # type: ignore[arg-type]
    except ConfigError as error:
        return [f"search space: {line}" for line in error.problems]
    return []
