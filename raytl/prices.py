"""Freeze depth as a price list: which depths a search tries, and how a head is carried on to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raytl.family import at_size, with_views
from raytl.recipe import Recipe

PRICES = (0.75, 0.5, 0.25)  # chosen: shares of the forward pass that stay frozen, the cheapest trials first


def rung_depths(frozen_fractions: Sequence[float]) -> tuple[int, ...]:
    """The freeze depths that come nearest to `PRICES`; 0 and all stages are rungs of their own.

    `frozen_fractions[d]`: share of one picture's forward operations in the first d stages.
    """
    between = range(1, len(frozen_fractions) - 1)
    nearest = (min(between, key=lambda depth: abs(frozen_fractions[depth] - price), default=0) for price in PRICES)
    return tuple(depth for depth in dict.fromkeys(nearest) if depth)


def deepened(default: Recipe, head: Recipe, depth: int, epochs: int, lr: float) -> Recipe:
    """Fine-tuning behind the first `depth` stages that goes on from the head that has shown best.

    The head is trained first, as it was alone. Frozen stages see stored views, so that what they make of them is
    computed once.
    """
    rate = head.lr * head.head_lr_scale / lr
    return with_views(
        replace(
            at_size(default, head.image_size),
            freeze_depth=depth,
            head_epochs=head.epochs,
            lr=lr,
            head_lr_scale=min(30.0, max(1.0, rate)),
            epochs=epochs,
            warmup_epochs=min(default.warmup_epochs, epochs),
            weight_decay=head.weight_decay,
            label_smoothing=head.label_smoothing,
            ema_decay=head.ema_decay,
            class_weights=head.class_weights,
        )
    )
