"""A cluster on paper: Tune's place is taken by a loop over events in virtual time, the workers' by made-up curves.

What searches, decides and records is raytl's own and does not know: `raytl.on_ray.experiment.run_stages` is called as
in a real study, and only what it hands to Tune goes here. The order of calls is that of Ray Tune 2.60's controller.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from effort import Meter
from ray.tune import RunConfig, TuneConfig
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher as TuneSearcher

from raytl.on_ray import experiment
from raytl.on_ray.job import Job, Report, RunFacts
from raytl.on_ray.results import as_result
from raytl.on_ray.stages import job_of
from raytl.recipe import Recipe
from raytl.results.schemas import EpochRow

METRIC = "val_accuracy"
EPOCH_SECONDS = 60.0  # chosen: of a virtual epoch, in the median; only the order of events depends on it
SPREAD = 0.3  # chosen: of the logarithm of an epoch's seconds between trials, so that trials overtake each other
NOISE = 0.01  # chosen: of an accuracy between epochs
PICTURES = 1000  # of a virtual epoch
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(eq=False)
class SimulatedTrial:
    """What searcher, scheduler and callbacks see of a trial of Tune, and the curve that its worker would measure."""

    trial_id: str
    config: dict[str, Any]
    status: str = Trial.PENDING
    placement_group_factory: object = None
    epoch: int = 0
    best: float = -math.inf
    rng: random.Random = field(default_factory=random.Random)
    epoch_seconds: float = EPOCH_SECONDS

    def __post_init__(self) -> None:
        self.rng = random.Random(self.job.trial_id)
        self.epoch = self.job.recorded_epochs
        self.epoch_seconds = EPOCH_SECONDS * math.exp(self.rng.gauss(0, SPREAD))

    @property
    def job(self) -> Job:
        """What it trains."""
        return job_of(self)

    def report(self, now: float) -> Report:
        """The next epoch, finished at the virtual time `now` in seconds."""
        self.epoch += 1
        score = made_up_score(self.job.recipe, self.epoch, self.rng)
        is_best, self.best = score > self.best, max(score, self.best)
        ended_at = START + timedelta(seconds=now)
        row = EpochRow(
            trial_id=self.job.trial_id,
            epoch=self.epoch,
            attempt=self.job.attempt,
            started_at=ended_at - timedelta(seconds=self.epoch_seconds),
            ended_at=ended_at,
            train_loss=1 - score,
            train_accuracy=score,
            val_loss=1 - score,
            val_accuracy=score,
            val_macro_f1=score,
            lr=self.job.recipe.lr,
            images_per_second=PICTURES / self.epoch_seconds,
            is_best=is_best,
        )
        ended = "completed" if self.epoch == self.job.recipe.epochs else None
        return Report(self.job, row, RunFacts("simulated", "fp32", None, ()), ended=ended)


def made_up_score(recipe: Recipe, epoch: int, rng: random.Random) -> float:
    """An accuracy that saturates with the epochs, whose height follows from the recipe, and noise."""
    height = 0.92 - 0.03 * (math.log10(recipe.lr) + 3.7) ** 2 - 0.02 * abs(recipe.freeze_depth - 1)
    height -= 0.01 * (math.log10(recipe.weight_decay) + 2) ** 2 + 0.03 * (math.log10(recipe.head_lr_scale) - 0.8) ** 2
    height -= 0.01 * (recipe.augment != "medium") + 0.005 * (recipe.mixup > 0) + 0.005 * (recipe.ema_decay == 0)
    return min(max(height * (1 - 2.0**-epoch) + rng.gauss(0, NOISE), 0.0), 1.0)


class SimulatedTune:
    """One experiment. `goes_on` is asked before each event, with the trials begun so far; False is like a kill."""

    def __init__(
        self, run_config: RunConfig, tune_config: TuneConfig, meter: Meter, goes_on: Callable[[int], bool]
    ) -> None:
        self._most = tune_config.max_concurrent_trials or 1
        self._searcher: Any = tune_config.search_alg
        self._scheduler: Any = tune_config.scheduler
        self._callbacks = list(run_config.callbacks or [])
        self._meter, self._goes_on = meter, goes_on
        self._trials: list[SimulatedTrial] = []
        self._live: dict[SimulatedTrial, None] = {}
        self._events: list[tuple[float, int, SimulatedTrial]] = []
        self._now, self._finished = 0.0, False
        # Workers cost nothing here: what the controller is told of keeping them has no effect.
        self._actor_cache = SimpleNamespace(increase_max=lambda key, by: None)
        self._trial_to_actor: dict[SimulatedTrial, object] = {}
        self._maybe_reuse_cached_actor: Callable[[SimulatedTrial], bool] = lambda trial: False

    def get_trials(self) -> list[SimulatedTrial]:
        """All trials there ever were, as in Tune."""
        return self._trials

    def get_live_trials(self) -> set[SimulatedTrial]:
        """Those that have not ended, as in Tune in no order."""
        return set(self._live)

    def run(self) -> None:
        """Until every trial has ended, or to a kill."""
        self._fill()
        while self._events and self._goes_on(len(self._trials)):
            with self._meter.result():
                self._handle(*heapq.heappop(self._events))
                self._scheduler.choose_trial_to_run(self)  # Tune asks after every event, trials waiting or not
            self._fill()

    def _fill(self) -> None:
        while len(self._live) < self._most and not self._finished:
            with self._meter.suggestion():
                begun = self._begin(f"simulated_{len(self._trials):05d}")
            if not begun:
                return

    def _begin(self, name: str) -> bool:
        """Begins what the searcher suggests; whether it suggested anything."""
        config = self._searcher.suggest(name)
        self._finished = config == TuneSearcher.FINISHED
        if config is None or self._finished:
            return False
        trial = SimulatedTrial(name, config)
        self._trials.append(trial)
        self._live[trial] = None
        self._scheduler.on_trial_add(self, trial)
        chosen = self._scheduler.choose_trial_to_run(self)
        assert chosen is trial, "no other trial waits"
        trial.status = Trial.RUNNING
        self._call("on_trial_start", trial)
        self._expect(trial)
        return True

    def _expect(self, trial: SimulatedTrial) -> None:
        heapq.heappush(self._events, (self._now + trial.epoch_seconds, int(trial.trial_id[-5:]), trial))

    def _handle(self, now: float, number: int, trial: SimulatedTrial) -> None:
        self._now = now
        result = as_result(trial.report(now), METRIC)
        decision = TrialScheduler.STOP
        if not result["done"]:
            decision = self._scheduler.on_trial_result(self, trial, result)
        self._call("on_trial_result", trial, result=result)
        if decision != TrialScheduler.STOP:
            self._expect(trial)
            return
        self._scheduler.on_trial_complete(self, trial, result)
        self._searcher.on_trial_complete(trial.trial_id, result)
        self._call("on_trial_complete", trial)
        trial.status = Trial.TERMINATED
        del self._live[trial]

    def _call(self, event: str, trial: SimulatedTrial, **more: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(iteration=0, trials=self._trials, trial=trial, **more)


@contextmanager
def simulated(meter: Meter, goes_on: Callable[[int], bool]) -> Iterator[None]:
    """Within the block, studies run on paper."""
    originals = experiment.run_tune, experiment.trainable

    def run_tune(trainable: object, run_config: RunConfig, tune_config: TuneConfig) -> None:
        SimulatedTune(run_config, tune_config, meter, goes_on).run()

    vars(experiment).update(run_tune=run_tune, trainable=lambda workplace, slots, folder: None)
    try:
        yield
    finally:
        experiment.run_tune, experiment.trainable = originals
