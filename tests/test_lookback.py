"""What a model looks at: all of a short search, of a long one the best and an even sample in the order told."""

from __future__ import annotations

import random

import pytest

from raytl.on_ray.lookback import BEST, LOOKED_AT, Observation, look_back
from raytl.space import Values


def told(count: int, seed: int = 0) -> list[Observation]:
    """Points with random scores; one in ten failed."""
    rng = random.Random(seed)
    return [Observation({"lr": float(i)}, None if i % 10 == 3 else rng.random()) for i in range(count)]


def open_points(count: int) -> list[Values]:
    return [{"lr": -float(number + 1)} for number in range(count)]


@pytest.mark.parametrize(("measured", "pending"), [(0, 0), (LOOKED_AT, 0), (LOOKED_AT - 40, 40)])
def test_a_short_search_is_seen_whole(measured: int, pending: int) -> None:
    seen, under_way = told(measured), open_points(pending)
    found = look_back(seen, under_way)
    assert (list(found.seen), list(found.pending), found.thinning) == (seen, under_way, 1 if measured else 0)


@pytest.mark.parametrize(("measured", "pending"), [(LOOKED_AT + 1, 0), (260, 1600), (20_000, 200)])
def test_of_a_long_search_the_best_and_an_even_sample_are_seen(measured: int, pending: int) -> None:
    seen, under_way = told(measured), open_points(pending)
    found = look_back(seen, under_way)
    assert len(found.seen) + len(found.pending) == LOOKED_AT
    assert found.thinning == pytest.approx((measured + pending) / LOOKED_AT)
    places = [int(float(item.values["lr"] or 0)) for item in found.seen]
    assert places == sorted(set(places)), "once each, in the order told"
    best = sorted((item for item in seen if item.score is not None), key=lambda item: -(item.score or 0))[:BEST]
    assert all(item in found.seen for item in best)
    others = [item for item in found.seen if item not in best]
    share = (LOOKED_AT - BEST) / (measured + pending - BEST)
    for half in (places_in(others, 0, measured // 2), places_in(others, measured // 2, measured)):
        assert half == pytest.approx(share * measured / 2, abs=BEST * share + 2)
    assert len(found.pending) == pytest.approx(share * pending, abs=2)


def places_in(items: list[Observation], low: int, high: int) -> int:
    return sum(low <= float(item.values["lr"] or 0) < high for item in items)


def test_of_equal_points_the_first_told_are_the_best() -> None:
    seen = [Observation({"lr": float(number)}, 0.5) for number in range(10 * LOOKED_AT)]
    assert list(look_back(seen, []).seen)[:BEST] == seen[:BEST]


def test_failures_alone_are_no_best_points() -> None:
    seen = [Observation({"lr": float(number)}, None) for number in range(2 * LOOKED_AT)]
    assert list(look_back(seen, []).seen) == seen[::2]
