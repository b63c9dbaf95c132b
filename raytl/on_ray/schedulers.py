"""Schedulers: which trials go on and which stop early, one independent scheduler for each backbone.

What Ray Tune 2.60 does with a result, in this order: the scheduler's `on_trial_result`, the searcher's unless the
answer was STOP, the callbacks'. At a trial's end: the scheduler's `on_trial_complete`, the searcher's, the callbacks';
at an error likewise. A result that says `done` goes to the callbacks at once and to the scheduler at the trial's end
only. So the ledger is written from here: before any decision, and before the searcher hears of the trial's end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from raytl.choice import nearest
from raytl.errors import ConfigError
from raytl.on_ray.searchers import seed_of
from raytl.study import SCHEDULERS

EPOCH = "epoch"  # our own counter: Tune's training_iteration starts again at 1 after a restore
SCORE = "score"  # finite, more is better, whatever the study's metric is
REDUCTION = 3  # chosen: of three trials that reach a rung one goes on; Hyperband's own value (Li et al. 2018)
MEDIAN_TRIALS = 3  # chosen, Ray's own: trials that a median is taken over at least

Record = Callable[[Trial, dict[str, Any]], None]


def make_scheduler(
    name: str, max_epochs: int, seed: int = 0, brackets: int = 1, grace_epochs: int = 1
) -> TrialScheduler:
    """Ray's scheduler called `name` on our epoch counter and score.

    `asha`: at epochs grace, 3 grace, 9 grace ... the best third of those that came so far goes on (Li et al. 2020);
    bracket b starts b rungs later. `median`: after the grace epochs a trial stops whose best score lies below the
    median of the others' running means (Golovin et al. 2017). `none`: every trial runs to its end.

    Raises:
        ConfigError: for an unknown name, and epochs or brackets that leave no rung.
    """
    problems = [*_name_problems(name), *_rung_problems(max_epochs, brackets, grace_epochs)]
    if problems:
        raise ConfigError(*problems)
    if name == "asha":
        return SeededAsha(max_epochs, seed, brackets, grace_epochs)
    return SteadyMedian(grace_epochs) if name == "median" else FIFOScheduler()


def rung_epochs(max_epochs: int, grace_epochs: int) -> list[int]:
    """The epochs at which `asha` compares trials."""
    rungs = [grace_epochs]
    while rungs[-1] * REDUCTION <= max_epochs:
        rungs.append(rungs[-1] * REDUCTION)
    return rungs


class SeededAsha(AsyncHyperBandScheduler):
    """Ray's ASHA, whose choice of a bracket follows from our seed and the trial's name alone.

    Ray draws it from numpy's global generator, which here is seeded for the draw and given back as it was.
    """

    def __init__(self, max_epochs: int, seed: int, brackets: int, grace_epochs: int) -> None:
        super().__init__(
            time_attr=EPOCH,
            metric=SCORE,
            mode="max",
            max_t=max_epochs,
            grace_period=grace_epochs,
            reduction_factor=REDUCTION,
            brackets=brackets,
        )
        self._seed = seed

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Puts the trial into its bracket."""
        with _numpy_seeded(seed_of(self._seed, trial.trial_id)):
            super().on_trial_add(tune_controller, trial)


class SteadyMedian(MedianStoppingRule):
    """Ray's median stopping rule, stopping only (never pausing) and not misled by rounding."""

    def __init__(self, grace_epochs: int) -> None:
        super().__init__(
            time_attr=EPOCH,
            metric=SCORE,
            mode="max",
            grace_period=grace_epochs,
            min_samples_required=MEDIAN_TRIALS,
            min_time_slice=math.inf,  # type: ignore[arg-type]  # a pause would cost a restart
        )

    def _running_mean(self, trial: Any, time: float) -> Any:
        """Ray's mean, kept within what was measured: the rounded mean of equal scores can lie above them all."""
        scores = [result[SCORE] for result in self._results[trial] if result[EPOCH] <= time] or [math.nan]
        return np.clip(super()._running_mean(trial, time), min(scores), max(scores))


@dataclass(frozen=True)
class TrialName:
    """All that a child scheduler needs of a trial: a name that is the same before and after a resume."""

    trial_id: str


class BackboneSchedulers(TrialScheduler):
    """One child scheduler for each backbone (or one over all), serving backbones in turn.

    Each epoch of a trial is given to `record` and then to its child, once: a result that was replayed with `decide`,
    or that comes again after a restart, gets the answer it got before. `record` is called before the child decides,
    so the ledger's order is the order of decisions. A result without a score ends at `record` and may come only as a
    trial's last (`done`).

    Trials that are not compared are recorded and go on; no child hears of them.

    Args:
        make_child: a new child, for instance `partial(make_scheduler, "asha", max_epochs=9)`.
        record: commits a trial's result; what it raises ends the search.
        backbone_of: the backbone of a trial.
        name_of: the trial's name in the ledger, which outlives Tune's own id.
        per_backbone: False for one child over all backbones.
        is_compared: False for a trial that never stops early.
    """

    _supports_buffered_results = False  # a row is committed before the next epoch starts

    def __init__(
        self,
        make_child: Callable[[], TrialScheduler],
        record: Record,
        backbone_of: Callable[[Trial], str],
        name_of: Callable[[Trial], str],
        per_backbone: bool = True,
        is_compared: Callable[[Trial], bool] = lambda trial: True,
    ) -> None:
        super().__init__()
        self._make_child = make_child
        self._record = record
        self._backbone_of = backbone_of
        self._name_of = name_of
        self._per_backbone = per_backbone
        self._is_compared = is_compared
        self._children: dict[str, Any] = {}  # Ray's schedulers, which get names in place of Ray's trials
        self._last: dict[str, tuple[int, str]] = {}  # name: the last epoch that came, and the answer

    def decide(self, backbone: str, name: str, epoch: int, score: float) -> str:
        """Gives one epoch to the child and returns its answer; alone, it replays a row of the ledger.

        Raises:
            ValueError: for a score that is not finite (Ray's ASHA would let it pass every rung).
        """
        if not math.isfinite(score):
            raise ValueError(f"trial {name}, epoch {epoch}: score={score} must be finite; end the trial as diverged")
        child = self._join(backbone, name)
        last_epoch, answer = self._last[name]
        if epoch > last_epoch:
            if answer != TrialScheduler.STOP:  # a stop is final, also for a trial that is slow to obey
                answer = str(child.on_trial_result(None, TrialName(name), {EPOCH: epoch, SCORE: score}))
            self._last[name] = (epoch, answer)
        return answer

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Introduces a trial to its child; a trial added again (after a restart) keeps its place."""
        if self._is_compared(trial):
            self._join(self._backbone_of(trial), self._name_of(trial))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Records the result, then lets the child decide.

        Raises:
            ValueError: where epoch or score is missing, or the score is not finite.
        """
        if EPOCH not in result or SCORE not in result:
            raise ValueError(f"trial {self._name_of(trial)}: a result needs {EPOCH!r} and {SCORE!r}, or done=True")
        return self._take(trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Records a last result that came with `done`, which Tune did not show before."""
        if EPOCH in result:
            self._take(trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Tells the child; the trial's results so far keep counting."""
        if self._is_compared(trial):
            name = self._name_of(trial)
            self._join(self._backbone_of(trial), name).on_trial_error(None, TrialName(name))

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Forgets a trial that never ran; one that did keeps its place in the rungs."""
        if not self._is_compared(trial):
            return
        name = self._name_of(trial)
        if self._last.get(name, (0, ""))[0] == 0:
            self._join(self._backbone_of(trial), name).on_trial_remove(None, TrialName(name))
            del self._last[name]

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first waiting trial of the backbone with the fewest running, then the fewest started trials."""
        live = tune_controller.get_live_trials()  # few: Tune asks after every event, and keeps all trials there were
        waiting = _having(Trial.PENDING, live) or _having(Trial.PAUSED, live)
        if len(waiting) < 2:
            return next(iter(waiting), None)
        trials = tune_controller.get_trials()
        running = Counter(self._backbone_of(trial) for trial in trials if trial.status == Trial.RUNNING)
        started = Counter(self._backbone_of(trial) for trial in trials if trial.status != Trial.PENDING)

        def turn(trial: Trial) -> tuple[int, int]:
            backbone = self._backbone_of(trial)
            return running[backbone], started[backbone]

        return min(_having(Trial.PENDING, trials) or _having(Trial.PAUSED, trials), key=turn)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accepts the score to be maximized, or nothing: what is compared was settled here."""
        return metric in (None, SCORE) and mode in (None, "max")

    def debug_string(self) -> str:
        """One line for each child."""
        return "\n".join(f"{name or 'all'}: {child.debug_string()}" for name, child in self._children.items())

    def save(self, checkpoint_path: str) -> None:
        """Writes nothing: `decide` rebuilds the state from the ledger, and a pickle would be a second truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Reads nothing, see `save`."""

    def _take(self, trial: Trial, result: dict[str, Any]) -> str:
        if not self._is_compared(trial):
            self._record(trial, result)
            return TrialScheduler.CONTINUE
        name, backbone = self._name_of(trial), self._backbone_of(trial)
        score = result.get(SCORE)
        if score is not None and not math.isfinite(score):
            raise ValueError(f"trial {name}, epoch {result[EPOCH]}: score={score} must be finite")
        self._join(backbone, name)
        if result[EPOCH] > self._last[name][0]:
            self._record(trial, result)
        if score is None:
            return TrialScheduler.STOP
        return self.decide(backbone, name, result[EPOCH], score)

    def _join(self, backbone: str, name: str) -> Any:
        key = backbone if self._per_backbone else ""
        if key not in self._children:
            self._children[key] = self._make_child()
        if name not in self._last:
            self._children[key].on_trial_add(None, TrialName(name))
            self._last[name] = (0, TrialScheduler.CONTINUE)
        return self._children[key]


def _having(status: str, trials: Iterable[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.status == status]


def _name_problems(name: str) -> list[str]:
    if name in SCHEDULERS:
        return []
    return [f"scheduler {name!r}: must be one of {', '.join(SCHEDULERS)}{nearest(name, SCHEDULERS)}"]


def _rung_problems(max_epochs: int, brackets: int, grace_epochs: int) -> list[str]:
    if not 1 <= grace_epochs <= max_epochs:
        return [f"grace_epochs={grace_epochs}: must lie between 1 and the {max_epochs} epochs of a trial"]
    rungs = len(rung_epochs(max_epochs, grace_epochs))
    if not 1 <= brackets <= rungs:
        return [f"brackets={brackets}: {max_epochs} epochs after {grace_epochs} of grace leave 1 to {rungs} brackets"]
    return []


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    state = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)
