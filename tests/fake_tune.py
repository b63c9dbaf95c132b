"""Ray Tune in this process: the same calls, in the same order, to searcher, scheduler and callbacks; trials in turn.

With `in_this_process` the whole command line runs without Ray: planning, search, confirmation and report are the real
ones, and so is what a worker does. Only who runs the workers is made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune import RunConfig, TuneConfig
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from raytl.on_ray.cluster import Node, Resources
from raytl.on_ray.job import Workplace
from raytl.on_ray.warm import WarmTrial

RESOURCES = Resources((Node(1, 0),), memory_bytes=8_000_000_000)


@dataclass(eq=False)
class FakeTrial:
    """What searcher, scheduler and callbacks see of a trial."""

    trial_id: str
    config: dict[str, Any]
    worker: WarmTrial
    last_result: dict[str, Any] = field(default_factory=dict)
    placement_group_factory: object = None


class FakeTune:
    """One experiment; `workplace` stands where Tune has the trainable."""

    def __init__(self, workplace: Workplace, run_config: RunConfig, tune_config: TuneConfig) -> None:
        self._workplace = workplace
        self._most, self._begun = tune_config.max_concurrent_trials or 1, 0
        self._searcher: Any = tune_config.search_alg
        self._scheduler: Any = tune_config.scheduler
        self._callbacks = list(run_config.callbacks or [])
        self._running: list[FakeTrial] = []
        # Workers cost nothing here: what they are told of keeping them has no effect.
        self._actor_cache = SimpleNamespace(increase_max=lambda key, by: None)
        self._trial_to_actor: dict[FakeTrial, object] = {}
        self._maybe_reuse_cached_actor: Callable[[FakeTrial], bool] = lambda trial: False

    def run(self) -> None:
        """Until there is nothing more to suggest and every trial has ended."""
        while self._fill():
            for trial in list(self._running):
                self._step(trial)
                for callback in self._callbacks:
                    callback.on_step_end(iteration=0, trials=[])

    def _fill(self) -> bool:
        while len(self._running) < self._most:
            name = f"fake_{self._begun:05d}"
            config = self._searcher.suggest(name)
            if config is None or config == Searcher.FINISHED:
                break
            self._begun += 1
            self._start(name, config)
        return bool(self._running)

    def _start(self, name: str, config: dict[str, Any]) -> None:
        worker = WarmTrial.__new__(WarmTrial)
        worker.setup(config, workplace=self._workplace)
        trial = FakeTrial(name, config, worker)
        self._running.append(trial)
        self._scheduler.on_trial_add(self, trial)
        self._call("on_trial_start", trial)

    def _step(self, trial: FakeTrial) -> None:
        result = trial.worker.step()
        decision = TrialScheduler.STOP
        if not result["done"]:
            decision = self._scheduler.on_trial_result(None, trial, result)
        self._call("on_trial_result", trial, result=result)
        if decision == TrialScheduler.STOP:
            self._stop(trial, result)

    def _stop(self, trial: FakeTrial, result: dict[str, Any]) -> None:
        """As Tune does it: an error of whoever is told is taken for the trial's, which begins again."""
        try:
            self._scheduler.on_trial_complete(None, trial, result)
            self._searcher.on_trial_complete(trial.trial_id, result)
            self._call("on_trial_complete", trial)
            self._running.remove(trial)
        except Exception:
            self._call("on_trial_recover", trial)
            trial.worker.setup(trial.config, workplace=self._workplace)

    def _call(self, event: str, trial: FakeTrial, **more: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, event)(iteration=0, trials=[], trial=trial, **more)


@contextmanager
def in_this_process() -> Iterator[None]:
    """Within the block searches run without Ray, one trial at a time."""

    @contextmanager
    def joined(address: str | None) -> Iterator[Resources]:
        yield RESOURCES

    def run_tune(workplace: Workplace, run_config: RunConfig, tune_config: TuneConfig) -> None:
        FakeTune(workplace, run_config, tune_config).run()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raytl.on_ray.driver.joined", joined)
        patch.setattr("raytl.on_ray.driver.grown", lambda resources: resources)
        patch.setattr("raytl.on_ray.driver.check_nodes", lambda *_: None)
        patch.setattr("raytl.on_ray.experiment.run_tune", run_tune)
        patch.setattr("raytl.on_ray.experiment.trainable", lambda workplace, *_: workplace)
        yield
