"""One contract over all searchers: inside the space, deterministic, no repeats, failures told, and they learn."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from raytl.errors import ConfigError
from raytl.on_ray.lookback import LOOKED_AT, Observation
from raytl.on_ray.searchers import (
    HyperoptModel,
    ModelSearcher,
    OptunaModel,
    Searcher,
    draw,
    make_searcher,
    seed_of,
)
from raytl.space import Choices, IntRange, LogUniform, Space, Uniform, Value, Values
from raytl.study import SEARCHERS

MIXED = Space(
    {
        "lr": LogUniform(1e-5, 1e-1),
        "dropout": Uniform(0.0, 0.5),
        "freeze_depth": IntRange(0, 5),
        "augment": Choices(("none", "light", "strong")),
        "unfreeze_epoch": Choices((None, 2, 4)),
    }
)
SMALL = Space({"freeze_depth": IntRange(1, 3), "augment": Choices(("none", "light")), "batch_size": Choices((16, 32))})
LEARNERS = ("optuna", "hyperopt")


def score_of(values: Mapping[str, Value]) -> float:
    """Best at lr 1e-3, depth 4 and light augmentation; 0 there."""
    lr, depth = values["lr"], values["freeze_depth"]
    assert isinstance(lr, float) and isinstance(depth, int)
    return -abs(math.log10(lr) + 3) - 0.1 * abs(depth - 4) - 0.3 * (values["augment"] != "light")


def searched(searcher: Searcher, count: int, fails: int = 0) -> list[Values]:
    """Asks and tells one after the other; every `fails`-th trial fails."""
    asked = []
    for index in range(count):
        values = searcher.suggest(index)
        assert values is not None
        asked.append(values)
        searcher.tell(values, None if fails and index % fails == 0 else score_of(values))
    return asked


@pytest.mark.parametrize("name", SEARCHERS)
def test_suggestions_lie_in_the_space_and_follow_the_seed(name: str) -> None:
    first = searched(make_searcher(name, MIXED, seed=1), 25, fails=4)
    again = searched(make_searcher(name, MIXED, seed=1), 25, fails=4)
    assert first == again
    assert all(list(values) == list(MIXED.domains) and MIXED.contains(values) for values in first)
    assert len({tuple(values.values()) for values in first}) == 25
    other = searched(make_searcher(name, MIXED, seed=2), 25, fails=4)
    assert (other == first) == (name == "grid")


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("told", [0, 3, 10, 17])
def test_a_fresh_searcher_told_the_same_suggests_the_same(name: str, told: int) -> None:
    searcher = make_searcher(name, MIXED, seed=5)
    asked = searched(searcher, told, fails=5)
    under_way = [searcher.suggest(told + number) for number in range(3)]
    resumed = make_searcher(name, MIXED, seed=5)
    for index, values in enumerate(asked):
        resumed.tell(values, None if index % 5 == 0 else score_of(values))
    for pending in reversed(under_way):
        assert pending is not None
        resumed.pend(pending)
    assert resumed.suggest(told + 3) == searcher.suggest(told + 3)


@pytest.mark.parametrize("name", SEARCHERS)
@pytest.mark.parametrize("parallel", [1, 3])
def test_a_small_space_is_used_up_without_repeats(name: str, parallel: int) -> None:
    searcher = make_searcher(name, SMALL, seed=0)
    told: Values = {"freeze_depth": 2, "augment": "light", "batch_size": 16}
    searcher.tell(told, 0.5)
    seen, pending = [told], []
    while (values := searcher.suggest(len(seen) - 1)) is not None:
        seen.append(values)
        pending.append(values)
        if len(pending) == parallel:
            searcher.tell(pending.pop(0), None if len(seen) % 3 else 0.1)
    assert len(seen) == len({tuple(values.values()) for values in seen}) == SMALL.size == 12
    assert searcher.suggest(12) is None


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_space_of_nothing_has_one_point(name: str) -> None:
    searcher = make_searcher(name, Space({}), seed=0)
    assert (searcher.suggest(0), searcher.suggest(1)) == ({}, None)


@pytest.mark.parametrize("name", SEARCHERS)
def test_only_finite_scores_are_told(name: str) -> None:
    searcher = make_searcher(name, SMALL, seed=0)
    values = searcher.suggest(0)
    assert values is not None
    for score in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match="must be finite"):
            searcher.tell(values, score)


@pytest.mark.parametrize("name", LEARNERS)
def test_points_from_elsewhere_count_and_points_outside_do_not(name: str) -> None:
    good: Values = {
        "lr": 1e-3,
        "dropout": 0.1,
        "freeze_depth": 4,
        "augment": "light",
        "unfreeze_epoch": None,
        "head": "linear",
    }
    plain, outside, inside = (make_searcher(name, MIXED, seed=3) for _ in range(3))
    for searcher in (plain, outside, inside):
        searched(searcher, 12)
    outside.tell({**good, "lr": 1.0, "head": "linear"}, 100.0)
    outside.pend({**good, "lr": 1.0})
    inside.tell({**good, "head": "linear"}, 100.0)
    usual = [plain.suggest(12 + number) for number in range(6)]
    assert [outside.suggest(12 + number) for number in range(6)] == usual
    assert [inside.suggest(12 + number) for number in range(6)] != usual


POINT: Values = {"freeze_depth": 1, "augment": "light", "batch_size": 32}
SEEN = [Observation({**POINT, "batch_size": 16}, 0.25), Observation({**POINT, "augment": "none"}, None)]


def test_f12_optuna_gets_failures_and_points_under_way_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    model = OptunaModel(SMALL)
    caught = spy(monkeypatch, model.optuna, "create_study")
    model.propose(SEEN, [POINT], seed=1)
    trials = caught[0].trials[:3]
    states = [(trial.state.name, trial.value, trial.params["batch_size"]) for trial in trials]
    assert states == [("COMPLETE", 0.25, 16), ("FAIL", None, 32), ("RUNNING", None, 32)]


def test_f12_hyperopt_gets_failures_and_points_under_way_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HyperoptModel(SMALL)
    caught = spy(monkeypatch, model.hyperopt, "Trials")
    model.propose(SEEN, [POINT], seed=1)
    results = [(trial["result"]["status"], trial["result"].get("loss")) for trial in caught[0].trials]
    assert results == [("ok", -0.25), ("fail", None), ("running", None)]


@pytest.mark.parametrize("name", LEARNERS)
def test_a_long_search_is_looked_at_in_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A suggestion costs the same after any number of trials, and as many points as ever count as good."""
    model: Any = {"optuna": OptunaModel, "hyperopt": HyperoptModel}[name](SMALL)
    library = getattr(model, name)
    caught = spy(monkeypatch, library, "create_study" if name == "optuna" else "Trials")
    split: list[int] = []
    if name == "hyperopt":
        suggest = library.tpe.suggest

        def watched(*given: Any, gamma: float, **settings: Any) -> Any:
            split.append(min(math.ceil(gamma * math.sqrt(len(given[2].trials))), 25))
            return suggest(*given, gamma=gamma, **settings)

        monkeypatch.setattr(library.tpe, "suggest", watched)
    rng = random.Random(0)
    seen = [Observation(draw(SMALL, rng), rng.random()) for _ in range(4000)]
    model.propose(seen, [POINT] * 100, seed=1)
    assert len(caught[0].trials) in (LOOKED_AT, LOOKED_AT + 1)  # Optuna's study holds the one asked for, too
    assert split == ([min(math.ceil(0.25 * math.sqrt(4100)), 25)] if name == "hyperopt" else [])


def spy(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """Whatever `module.name` makes from now on."""
    made: list[Any] = []
    make = getattr(module, name)

    def kept(*given: Any, **settings: Any) -> Any:
        made.append(make(*given, **settings))
        return made[-1]

    monkeypatch.setattr(module, name, kept)
    return made


def best_of(searcher: Searcher, count: int) -> float:
    """The best of `count` points, two of them always under way."""
    scores: list[float] = []
    pending: list[Values] = []
    for index in range(count):
        values = searcher.suggest(index)
        assert values is not None
        pending.append(values)
        if len(pending) == 2:
            told = pending.pop(0)
            scores.append(score_of(told))
            searcher.tell(told, scores[-1])
    return max(scores)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_model_learns(name: str) -> None:
    """Over 20 seeds the best of 48 points is higher than by chance alone (one-sided Mann-Whitney test)."""
    learned = [best_of(make_searcher(name, MIXED, seed), 48) for seed in range(20)]
    blind = [best_of(make_searcher("random", MIXED, seed), 48) for seed in range(20)]
    assert statistics.median(learned) > statistics.median(blind)
    assert mannwhitneyu(learned, blind, alternative="greater").pvalue < 0.05


def test_random_search_draws_each_order_of_magnitude_alike() -> None:
    searcher = make_searcher("random", MIXED, seed=0)
    exponents = [math.log10(float(values["lr"])) for values in searched(searcher, 2000)]  # type: ignore[arg-type]
    shares = [sum(low <= exponent < low + 1 for exponent in exponents) / 2000 for low in range(-5, -1)]
    assert all(abs(share - 0.25) < 0.04 for share in shares)  # four standard deviations


def test_the_grid_goes_through_the_space_in_order() -> None:
    space = Space({"lr": LogUniform(1e-4, 1e-2), "augment": Choices(("none", "light"))})
    searcher = make_searcher("grid", space, seed=0)
    points: list[tuple[float, Value]] = []
    while (values := searcher.suggest(len(points))) is not None:
        points.append((round(float(values["lr"]), 12), values["augment"]))  # type: ignore[arg-type]
    assert points == [(lr, augment) for lr in (1e-4, 1e-3, 1e-2) for augment in ("none", "light")]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), index=st.integers(0, 1000), low=st.integers(0, 3), width=st.integers(1, 5))
def test_hyperopt_keeps_whole_numbers_within_their_range(seed: int, index: int, low: int, width: int) -> None:
    space = Space({"freeze_depth": IntRange(low, low + width), "lr": LogUniform(1e-6, 1e-5)})
    rng = random.Random(seed)
    model = HyperoptModel(space)
    seen = [Observation(draw(space, rng), rng.random()) for _ in range(8)]
    assert space.contains(model.propose(seen, [], seed_of(seed, index)))


def test_a_model_that_insists_is_overruled() -> None:
    class Stubborn:
        def propose(self, seen: Any, pending: Any, seed: int) -> Values:
            return {"freeze_depth": 1, "augment": "none", "batch_size": 16}

    searcher = ModelSearcher(SMALL, Stubborn(), seed=0)
    points = [searcher.suggest(index) for index in range(13)]
    assert points[-1] is None
    assert len({tuple(point.values()) for point in points[:-1] if point}) == 12


def test_unknown_searchers_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'optuna'"):
        make_searcher("optunna", SMALL, seed=0)
