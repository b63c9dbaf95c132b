"""Searchers: which point of a search space to try next, given what was measured.

A suggestion depends only on (seed, index, what was told, what is under way), whatever process asks: nothing is
kept in a generator between two asks, so a resumed search goes on as an uninterrupted one would.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from raytl.choice import nearest
from raytl.errors import ConfigError
from raytl.on_ray.lookback import Observation, look_back
from raytl.space import Choices, Domain, IntRange, LogUniform, Space, Uniform, Value, Values
from raytl.study import SEARCHERS

# Points drawn at random before a model is believed. Measured on a made-up accuracy over a ResNet's default space with
# noise 0.01 and two points under way, mean of 30 seeds, the best of 20 points: Optuna 0.930, 0.926, 0.927 and 0.921 and
# HyperOpt 0.927, 0.923, 0.925 and 0.925 with 4, 8, 12 and 20 at random; random search 0.923.
STARTUP = 4
GAMMA = 0.25  # HyperOpt's own: of n points GAMMA * sqrt(n) are good ones, also where only some of the n are looked at
RETRIES = 20  # chosen: draws of the model before an unused point is picked without it
GRID_POINTS = 3  # chosen: of each continuous field; both ends and the middle
LISTED = 100_000  # chosen: spaces up to this size are listed to find what is left of them


class Model(Protocol):
    """What a searcher thinks of a space; stateless, so that a replay cannot differ."""

    def propose(self, seen: Sequence[Observation], pending: Sequence[Values], seed: int) -> Values:
        """A promising point, from the points measured (in the order told) and those still under way."""


class Searcher(Protocol):
    """One search over one space."""

    def suggest(self, index: int) -> Values | None:
        """The next point, now under way; None when nothing new is left. `index`: suggestions made before."""

    def tell(self, values: Mapping[str, Value], score: float | None) -> None:
        """What a point gave: a finite score (more is better), or None where it failed."""

    def pend(self, values: Mapping[str, Value]) -> None:
        """A point is under way that this object did not suggest (a trial continued after a resume)."""


def make_searcher(name: str, space: Space, seed: int) -> Searcher:
    """The searcher called `name`.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in SEARCHERS:
        raise ConfigError(f"searcher {name!r}: must be one of {', '.join(SEARCHERS)}{nearest(name, SEARCHERS)}")
    if name == "grid" or space.size == 1:  # one point needs no model, and HyperOpt refuses a space of no fields
        return GridSearcher(space)
    models: dict[str, type[OptunaModel | HyperoptModel | RandomModel]]
    models = {"optuna": OptunaModel, "hyperopt": HyperoptModel, "random": RandomModel}
    return ModelSearcher(space, models[name](space), seed)


class _Notes:
    """What was told and what is under way. Only whole points inside the space count.

    A point outside the space (a default whose learning rate a person has ruled out) is left out: moved to the
    nearest bound it would claim a measurement that nobody made.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.seen: list[Observation] = []
        self.pending: dict[tuple[Value, ...], Values] = {}
        self.used: set[tuple[Value, ...]] = set()

    def tell(self, values: Mapping[str, Value], score: float | None) -> None:
        """See `Searcher.tell`."""
        if score is not None and not math.isfinite(score):
            raise ValueError(f"score={score}: must be finite; tell None for a trial that failed")
        if not self.space.contains(values):
            return
        point = self.space.point(values)
        self.pending.pop(_key(point), None)
        self.used.add(_key(point))
        self.seen.append(Observation(point, score))

    def pend(self, values: Mapping[str, Value]) -> None:
        """See `Searcher.pend`."""
        if self.space.contains(values):
            point = self.space.point(values)
            self.pending[_key(point)] = point
            self.used.add(_key(point))

    def is_new(self, point: Values) -> bool:
        """Whether nobody has tried the point yet."""
        return _key(point) not in self.used


class GridSearcher(_Notes):
    """Every point of the grid once, in order, the last field changing fastest."""

    def suggest(self, index: int) -> Values | None:
        """See `Searcher.suggest`."""
        point = next(filter(self.is_new, self.space.points(GRID_POINTS)), None)
        if point is not None:
            self.pend(point)
        return point


class ModelSearcher(_Notes):
    """Asks a model, reseeded for each ask, and never hands out a point twice."""

    def __init__(self, space: Space, model: Model, seed: int) -> None:
        super().__init__(space)
        self.model = model
        self.seed = seed

    def suggest(self, index: int) -> Values | None:
        """See `Searcher.suggest`."""
        if self.space.size is not None and len(self.used) >= self.space.size:
            return None
        point = next(filter(self.is_new, self._candidates(index)), None)
        if point is not None:
            self.pend(point)
        return point

    def _candidates(self, index: int) -> Iterator[Values]:
        """The model's draws, then unused points that it does not care for."""
        pending = [self.pending[key] for key in sorted(self.pending, key=repr)]  # ask order is not known after a resume
        for attempt in range(RETRIES):
            yield self.model.propose(self.seen, pending, seed_of(self.seed, index, attempt))
        rng = random.Random(seed_of(self.seed, index, RETRIES))
        if self.space.size is not None and self.space.size <= LISTED:
            left = [point for point in self.space.points(LISTED) if self.is_new(point)]
            yield rng.choice(left)
        yield from (draw(self.space, rng) for _ in range(LISTED))


class RandomModel:
    """Draws each field on its own, whatever was measured (Bergstra and Bengio 2012)."""

    def __init__(self, space: Space) -> None:
        self.space = space

    def propose(self, seen: Sequence[Observation], pending: Sequence[Values], seed: int) -> Values:
        """See `Model.propose`."""
        return draw(self.space, random.Random(seed))


class OptunaModel:
    """Optuna's multivariate TPE; points under way count as bad ones (constant liar), failed ones not at all.

    Bergstra et al. 2011; the joint density is that of BOHB (Falkner et al. 2018). Nothing is stored on disk.
    """

    def __init__(self, space: Space) -> None:
        import optuna  # half a second, which a search with another model need not wait for

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.optuna = optuna
        self.distributions = {name: self._distribution(domain) for name, domain in space.domains.items()}

    def propose(self, seen: Sequence[Observation], pending: Sequence[Values], seed: int) -> Values:
        """See `Model.propose`."""
        sampler = self.optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=STARTUP, multivariate=True)
        study = self.optuna.create_study(direction="maximize", sampler=sampler)
        looked_at = look_back(seen, pending)
        study.add_trials([*map(self._measured, looked_at.seen), *map(self._under_way, looked_at.pending)])
        return dict(study.ask(self.distributions).params)

    def _measured(self, observation: Observation) -> Any:
        if observation.score is None:
            return self._trial(observation.values, self.optuna.trial.TrialState.FAIL, None)
        return self._trial(observation.values, self.optuna.trial.TrialState.COMPLETE, observation.score)

    def _under_way(self, values: Values) -> Any:
        return self._trial(values, self.optuna.trial.TrialState.RUNNING, None)

    def _trial(self, values: Values, state: Any, score: float | None) -> Any:
        return self.optuna.trial.create_trial(state=state, params=values, distributions=self.distributions, value=score)

    def _distribution(self, domain: Domain) -> Any:
        kinds = self.optuna.distributions
        match domain:
            case LogUniform(low, high):
                return kinds.FloatDistribution(low, high, log=True)
            case Uniform(low, high):
                return kinds.FloatDistribution(low, high)
            case IntRange(low, high):
                return kinds.IntDistribution(low, high)
            case Choices(values):
                return kinds.CategoricalDistribution(values)
        raise TypeError(f"no Optuna distribution for {domain!r}")


class HyperoptModel:
    """HyperOpt's TPE, each field on its own; points under way and failed ones count as bad (Bergstra et al. 2011)."""

    def __init__(self, space: Space) -> None:
        import hyperopt  # a second, which a search with another model need not wait for
        from hyperopt.base import Domain as HyperoptDomain

        self.hyperopt = hyperopt
        self.space = space
        expressions = {name: self._expression(name, domain) for name, domain in space.domains.items()}
        self.domain = HyperoptDomain(lambda values: 0.0, expressions)

    def propose(self, seen: Sequence[Observation], pending: Sequence[Values], seed: int) -> Values:
        """See `Model.propose`."""
        trials, looked_at = self.hyperopt.Trials(), look_back(seen, pending)
        results = [*((item.values, self._result(item.score)) for item in looked_at.seen)]
        results += [(values, {"status": self.hyperopt.STATUS_RUNNING}) for values in looked_at.pending]
        trials.insert_trial_docs([self._document(trials, *item) for item in enumerate(results)])
        trials.refresh()
        settings = {"n_startup_jobs": STARTUP, "gamma": GAMMA * math.sqrt(looked_at.thinning), "verbose": False}
        (document,) = self.hyperopt.tpe.suggest([len(results)], self.domain, trials, seed % 2**32, **settings)
        return {name: self._decoded(name, document["misc"]["vals"][name][0]) for name in self.space.domains}

    def _result(self, score: float | None) -> dict[str, object]:
        if score is None:
            return {"status": self.hyperopt.STATUS_FAIL}
        return {"status": self.hyperopt.STATUS_OK, "loss": -score}

    def _document(self, trials: Any, number: int, item: tuple[Values, dict[str, object]]) -> Any:
        values, result = item
        encoded = {name: [self._encoded(name, values[name])] for name in self.space.domains}
        misc = {"tid": number, "cmd": None, "idxs": {name: [number] for name in encoded}, "vals": encoded}
        (document,) = trials.new_trial_docs([number], [None], [result], [misc])
        document["state"] = self.hyperopt.JOB_STATE_DONE
        return document

    def _encoded(self, name: str, value: Value) -> Value:
        domain = self.space.domains[name]
        return domain.values.index(value) if isinstance(domain, Choices) else value

    def _decoded(self, name: str, value: float) -> Value:
        domain = self.space.domains[name]
        match domain:
            case Choices(values):
                return values[int(value)]
            case IntRange(low, high):
                return min(max(round(value), low), high)
            case LogUniform(low, high) | Uniform(low, high):
                return min(max(float(value), low), high)
        raise TypeError(f"no HyperOpt expression for {domain!r}")

    def _expression(self, name: str, domain: Domain) -> Any:
        hp = self.hyperopt.hp
        match domain:
            case LogUniform(low, high):
                return hp.loguniform(name, math.log(low), math.log(high))
            case Uniform(low, high):
                return hp.uniform(name, low, high)
            case IntRange(low, high):
                return hp.uniformint(name, low, high)
            case Choices(values):
                return hp.choice(name, list(values))
        raise TypeError(f"no HyperOpt expression for {domain!r}")


def draw(space: Space, rng: random.Random) -> Values:
    """A point of the space at random."""
    return {name: domain.at(rng.random()) for name, domain in space.domains.items()}


def seed_of(*parts: object) -> int:
    """A seed of 63 bits that depends on every part, the same in every process."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _key(point: Values) -> tuple[Value, ...]:
    return tuple(point.values())
