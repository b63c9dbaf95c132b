"""How figures are written for people, the same in the report and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import fields

from raytl.recipe import Recipe
from raytl.results.stats import Interval, smallest_difference, wilson_interval

COLUMNS = 100  # chosen: of a terminal that figures are printed for
NOTHING = "–"
METRIC_NAMES = {
    "val_accuracy": "validation accuracy",
    "val_macro_f1": "validation macro F1",
    "val_loss": "validation loss",
}
DEFAULTS = {item.name: item.default for item in fields(Recipe)}
ALWAYS_TOLD = ("lr", "epochs")  # chosen: without them no recipe is understood


def running_cost(milliseconds: float | None, size_bytes: int | None) -> str:
    """What a model costs to run: `1.5 ms a picture, 3.4 MB of weights`, as far as that is known."""
    time = [] if milliseconds is None else [f"{milliseconds:.3g} ms a picture"]
    size = [] if size_bytes is None else [f"{weights_size(size_bytes)} of weights"]
    return ", ".join([*time, *size]) or "not known"


def percent(value: float | None) -> str:
    """A fraction as per cent with one decimal; a dash where there is none."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.1%}"


def percent_interval(interval: Interval) -> str:
    """`95.3% [93.1, 97.0]`, or the figure alone where its ends are not known."""
    if math.isnan(interval.low):
        return percent(interval.value)
    return f"{percent(interval.value)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def points(interval: Interval, unit: str = " points") -> str:
    """A difference of accuracies: `+1.2 points [+0.3, +2.4]`; without the unit where a column's name tells it.

    What rounds to nothing is `+0.0` from either side.
    """
    value = f"{100 * interval.value:+z.1f}{unit}"
    if math.isnan(interval.low):
        return value
    return f"{value} [{100 * interval.low:+z.1f}, {100 * interval.high:+z.1f}]"


def metric_text(name: str, value: float | None) -> str:
    """A validation figure by the name of its column: a loss as a number, all else as per cent."""
    return decimal(value) if name.endswith("loss") else percent(value)


def decimal(value: float | None) -> str:
    """A number with three decimals."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.3f}"


def count(value: float | None) -> str:
    """A whole number with separators."""
    return NOTHING if value is None or math.isnan(value) else f"{value:,.0f}"


def large(value: float | None) -> str:
    """A large count, such as parameters: `27.5M`."""
    if value is None:
        return NOTHING
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return f"{value:.0f}"


def megabytes(value: int | None) -> str:
    """Bytes for a person."""
    return NOTHING if value is None else f"{value / 1e6:,.0f} MB"


def duration(seconds: float | None) -> str:
    """`8.4 s`, `12 min`, `3.1 h`."""
    if seconds is None or math.isnan(seconds):
        return NOTHING
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def frozen(depth: int, stage_count: int | None) -> str:
    """`7 of 12`: leading stages that are frozen, of how many where that is known."""
    return str(depth) if stage_count is None else f"{depth} of {stage_count}"


def shortened(name: str, width: int, gap: str = "…") -> str:
    """A long name without its middle: both ends tell backbones apart."""
    if len(name) <= width:
        return name
    tail = (width - len(gap)) // 2
    return f"{name[: width - len(gap) - tail]}{gap}{name[len(name) - tail :]}"


def depth_count(depth: int) -> str:
    """`3 stages frozen`."""
    return f"{depth} stage{'' if depth == 1 else 's'} frozen"


def recipe_text(recipe: Recipe, names: Iterable[str]) -> str:
    """Learning rate, epochs, and those of the fields `names` that are not at their default."""
    values = recipe.values()
    told = (*ALWAYS_TOLD, *(name for name in names if values[name] != DEFAULTS.get(name)))
    return ", ".join(f"{name} {value_text(values[name])}" for name in dict.fromkeys(told))


def value_text(value: object) -> str:
    """One value of a recipe."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def small_set_sentence(name: str, pictures: int, accuracy: float) -> str:
    """What a set of so few pictures can show at an accuracy like this one, from the pictures alone."""
    interval = wilson_interval(round(accuracy * pictures), pictures)
    half = (interval.high - interval.low) / 2
    return (
        f"The {name} set has {pictures:,} pictures: at {percent(accuracy)} an accuracy is known to about "
        f"±{100 * half:.1f} points, one picture weighs {100 / pictures:.2g} points, and two models whose mistakes are "
        f"unrelated must differ by {100 * smallest_difference(accuracy, pictures):.1f} points to be told apart in 4 of "
        "5 such sets."
    )


def per_picture(milliseconds: float | None) -> str:
    """`1.2 ms`."""
    return NOTHING if milliseconds is None else f"{milliseconds:.2g} ms"


def weights_size(size_bytes: int | None) -> str:
    """`9.1 MB`."""
    return NOTHING if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"
