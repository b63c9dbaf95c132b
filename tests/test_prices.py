"""Which depths a search tries, and how a head is carried on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raytl.family import HEAD_EMA, VIEWS, default_recipe, head_recipe, probe_recipe
from raytl.prices import PRICES, deepened, rung_depths


def test_a_head_is_carried_on_with_its_size_its_rate_and_its_averages() -> None:
    default = default_recipe("resnet50")
    head = head_recipe(probe_recipe(default, 5), default)
    deep = deepened(default, head, 3, 4, 1e-4)
    assert (deep.freeze_depth, deep.views, deep.ema_decay, deep.lr) == (3, VIEWS, HEAD_EMA, 1e-4)
    assert (deep.head_epochs, deep.epochs, deep.warmup_epochs) == (head.epochs, 4, default.warmup_epochs)
    assert deepened(default, head, 3, 1, 1e-4).warmup_epochs <= 1
    assert deep.lr * deep.head_lr_scale <= head.lr * head.head_lr_scale
    assert deepened(default, head, 0, 4, 1e-4).views == 0


@given(st.lists(st.floats(0, 1), min_size=0, max_size=12).map(sorted))
def test_rungs_are_nearest_to_the_prices_each_once(inner: list[float]) -> None:
    fractions = [0.0, *inner, 1.0]
    depths = rung_depths(fractions)
    assert len(set(depths)) == len(depths) <= len(PRICES) and all(0 < depth <= len(inner) for depth in depths)
    for price in PRICES if inner else ():
        assert min(abs(fractions[depth] - price) for depth in depths) == min(abs(value - price) for value in inner)
