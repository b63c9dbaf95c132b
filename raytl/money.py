"""Prices of machines by the hour: read from the command line, checked, and looked up by type of machine.

A price is a number without a currency: costs come out in whatever unit it was given in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from raytl.choice import nearest
from raytl.errors import ConfigError

ANY = "*"  # stands for every type of machine that has no price of its own; no type can be called so
NODE = "node"  # the type of a machine that names none: this one, or one of a cluster without types
HOUR_SECONDS = 3600.0


def parse_prices(texts: Sequence[str]) -> dict[str, float]:
    """What `--price TYPE=PER_HOUR` and `--price PER_HOUR` say, by type; the latter, for all others, under `ANY`.

    Raises:
        ConfigError: one line for every text that is no price, and for every type that is given twice.
    """
    prices: dict[str, float] = {}
    problems: list[str] = []
    for text in texts:
        name, sign, number = text.rpartition("=")
        name = name.strip() if sign else ANY
        if not name or (sign and name == ANY) or not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", number.strip()):
            problems.append(f"--price {text}: write TYPE=PER_HOUR, such as gpu=3.06, or a number for all machines")
        elif name in prices:
            problems.append(f"--price {text}: {_named(name)} has the price {prices[name]:g} already; give it once")
        else:
            prices[name] = float(number)
    if problems:
        raise ConfigError(*problems)
    return prices


def price_problems(prices: Mapping[str, float]) -> list[str]:
    """What is wrong with prices by type: one line for each that is no number from 0 on."""
    return [
        f"prices={{{name!r}: {price!r}}}: must be a type of machine and a number from 0 on, such as {{'gpu': 3.06}}"
        for name, price in prices.items()
        if not isinstance(name, str)
        or isinstance(price, bool)
        or not isinstance(price, int | float)
        or not 0 <= price < math.inf
    ]


def check_types(prices: Mapping[str, float], working: Iterable[str], known: Iterable[str]) -> None:
    """Refuses prices of machines that are not there, and machines that have no price where others have one.

    `working` are the types of the machines that trials run on, `known` all those of the cluster and of earlier trials.

    Raises:
        ConfigError: one line for each, with the types that exist.
    """
    types = sorted({*working, *known})
    there = f"the types here are {', '.join(types)}" if types else "no machine is here"
    problems = [
        f"--price {name}={price:g}: no machine is of the type {name!r}{nearest(name, types)}; {there}; a number alone "
        "is for all of them"
        for name, price in prices.items()
        if name != ANY and name not in types
    ]
    lacking = sorted(name for name in set(working) if price_of(prices, name) is None) if prices and not problems else ()
    problems += [
        f"--price: machines of the type {name!r} run trials and have no price; add --price {name}=PER_HOUR, or a "
        "number alone for all others"
        for name in lacking
    ]
    if problems:
        raise ConfigError(*problems)


def price_of(prices: Mapping[str, float], node_type: str | None) -> float | None:
    """What an hour of a machine of that type costs; None where that is not known."""
    return None if node_type is None else prices.get(node_type, prices.get(ANY))


def _named(name: str) -> str:
    return "any machine" if name == ANY else repr(name)
