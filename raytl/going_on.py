"""What of a study may be told anew when it goes on: the values of its `study.json` that do not stay as they began."""

from __future__ import annotations

from collections.abc import Mapping

# What may win, what may be used, what that costs: those given last count, and are read where the study is told.
LIMITS = ("max_latency_ms", "max_size_mb", "budget_hours", "prices")
# Of these a study may get more: what is measured already is a part of the larger study, in the same order.
MAY_GROW = ("trials", "confirm_seeds", "splits")


def lasting(spec: object) -> object:
    """What a study began with and ends with: its `spec` but for what `study.json` tells anew when it goes on."""
    if not isinstance(spec, Mapping):
        return spec
    return {name: value for name, value in spec.items() if name not in (*LIMITS, *MAY_GROW)}
