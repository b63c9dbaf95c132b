"""S12: how many steps a search policy needs to come near the best of recorded runs, replayed without training.

Command:   python experiments/benchmarks/policy.py [--curves DIR] [--seeds 100] [--quick] [--out FILE]
Hardware:  one processor core; the recorded curves (`imagenet_runs.parquet`), looked for in DIR or in
           $RAYTL_TEST_DATA/curves; without them the program says so and ends with exit code 2
Minutes:   4 for 100 seeds
Expected:  A/B at least 1.5 in the median over both pools, and at least 0.95 in the median of each

Two pools of real training runs on ImageNet: 261 of ResNet-50 and 321 of a ViT, from the logs of the AlgoPerf benchmark.
A run is cut into 27 equal parts, its epochs; a step is one epoch of one run. Four runs are under way at a time and
advance in turn; the search ends at the first score within half a point of the pool's best. A search that has used all
runs up without it counts as all its steps.

Arm A: runs in random order under Tune's own `AsyncHyperBandScheduler` with its defaults (first rung at epoch 1,
reduction factor 4). Arm B: raytl's default searcher and scheduler, as a study makes them. Its space is the submission
(which optimizer) and four numbers; what a run lacks of these takes the pool's median. A suggestion begins the nearest
run not begun yet: the point suggested is told as failed, which costs nothing, and that of the run as under way. Pairs
are by seed. Single pairs scatter over an order of magnitude whatever the policies; the goals are held against medians.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from measure import Finding, Goal, conclude, parser, refuse
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from recorded import EPOCHS, FILE, POOLS, Pool, Run, read_pools

from raytl.on_ray.experiment import RUNG_SHARE
from raytl.on_ray.schedulers import EPOCH, SCORE, TrialName, make_scheduler
from raytl.on_ray.searchers import Searcher, make_searcher
from raytl.study import Study

SLOTS = 4
SEEDS, QUICK_SEEDS = 100, 5
DEFAULTS = Study(name="replay", data="replay", backbones=("replay",))


class Policy(Protocol):
    """Which run is begun next, and whether one goes on."""

    def next(self) -> Run | None:
        """A run that was not begun yet; None where all were."""

    def goes_on(self, run: Run, epoch: int, score: float) -> bool:
        """What is to become of a run that has reached `epoch`."""

    def ended(self, run: Run, best: float) -> None:
        """A run is over; the best of its scores."""


class Documented:
    """Arm A: random search under Tune's ASHA, both as Tune's documentation shows them."""

    def __init__(self, pool: Pool, seed: int) -> None:
        self._order = iter(random.Random(seed).sample(pool.runs, len(pool.runs)))
        self._scheduler = AsyncHyperBandScheduler(time_attr=EPOCH, metric=SCORE, mode="max", max_t=EPOCHS)

    def next(self) -> Run | None:
        """See `Policy.next`."""
        run = next(self._order, None)
        if run is not None:
            _add(self._scheduler, run)
        return run

    def goes_on(self, run: Run, epoch: int, score: float) -> bool:
        """See `Policy.goes_on`."""
        return _goes_on(self._scheduler, run, epoch, score)

    def ended(self, run: Run, best: float) -> None:
        """Random search does not learn."""


class Ours:
    """Arm B: the searcher and the scheduler that a study has where nobody asks for others."""

    def __init__(self, pool: Pool, seed: int) -> None:
        self._pool, self._left = pool, list(pool.runs)
        self._searcher: Searcher = make_searcher(DEFAULTS.searcher, pool.space, seed)
        grace = max(1, EPOCHS // RUNG_SHARE)
        self._scheduler = make_scheduler(DEFAULTS.scheduler, EPOCHS, seed, DEFAULTS.brackets, grace)

    def next(self) -> Run | None:
        """See `Policy.next`: the run nearest to what the searcher suggests."""
        values = self._searcher.suggest(len(self._pool.runs) - len(self._left)) if self._left else None
        if values is None:
            return None
        run = min(self._left, key=lambda run: self._pool.distance(run.point, values))
        self._left.remove(run)
        self._searcher.tell(values, None)
        self._searcher.pend(run.point)
        _add(self._scheduler, run)
        return run

    def goes_on(self, run: Run, epoch: int, score: float) -> bool:
        """See `Policy.goes_on`."""
        return _goes_on(self._scheduler, run, epoch, score)

    def ended(self, run: Run, best: float) -> None:
        """See `Policy.ended`."""
        self._searcher.tell(run.point, best)


def main() -> None:
    options = _parse()
    pools = read_pools(_curves(options.curves))
    seeds = range(QUICK_SEEDS if options.quick else options.seeds)
    taken = [[replayed(pool, seed) for seed in seeds] for pool in pools]
    findings = [finding(POOLS[pool.name], pairs, Goal(0.95)) for pool, pairs in zip(pools, taken, strict=True)]
    both = [pair for pairs in taken for pair in pairs]
    conclude([finding("both pools", both, Goal(1.5)), *findings], options)


def _parse() -> argparse.Namespace:
    made = parser(__doc__, "policy")
    made.add_argument("--curves", type=Path, help=f"folder with {FILE}")
    made.add_argument("--seeds", type=int, default=SEEDS)
    return made.parse_args()


def _curves(given: Path | None) -> Path:
    data = os.environ.get("RAYTL_TEST_DATA")
    folder = given or (Path(data) / "curves" if data else None)
    if folder is None or not (folder / FILE).is_file():
        where = f"{folder / FILE} does not exist" if folder else "neither --curves nor RAYTL_TEST_DATA is given"
        raise refuse(f"S12 needs recorded learning curves: {where}; name the folder that holds {FILE} with --curves")
    return folder / FILE


def replayed(pool: Pool, seed: int) -> tuple[float, float]:
    """Steps of arm A and arm B under one seed."""
    return steps(Documented(pool, seed), pool), steps(Ours(pool, seed), pool)


def steps(policy: Policy, pool: Pool) -> float:
    """Epochs trained, over all runs, until one score reaches the pool's target."""
    spent = 0
    running: dict[str, tuple[Run, int]] = {}
    while _filled(running, policy):
        for run, before in list(running.values()):
            epoch = before + 1
            spent += 1
            score = run.scores[epoch - 1]
            if score >= pool.target:
                return spent
            running[run.name] = (run, epoch)
            if not policy.goes_on(run, epoch, score) or epoch == EPOCHS:
                del running[run.name]
                policy.ended(run, max(run.scores[:epoch]))
    return spent


def _filled(running: dict[str, tuple[Run, int]], policy: Policy) -> bool:
    """Begins runs while there is room; whether any are under way."""
    while len(running) < SLOTS and (run := policy.next()) is not None:
        running[run.name] = (run, 0)
    return bool(running)


def _add(scheduler: TrialScheduler, run: Run) -> None:
    add: Callable[..., None] = scheduler.on_trial_add  # Tune's schedulers read only the name of a trial
    add(None, TrialName(run.name))


def _goes_on(scheduler: TrialScheduler, run: Run, epoch: int, score: float) -> bool:
    decide: Callable[..., str] = scheduler.on_trial_result
    return decide(None, TrialName(run.name), {EPOCH: epoch, SCORE: score}) != TrialScheduler.STOP


def finding(case: str, pairs: list[tuple[float, float]], goal: Goal) -> Finding:
    """The ratios of all seeds, and in words how often B needed more steps."""
    a, b = (tuple(side) for side in zip(*pairs, strict=True))
    ratios = tuple(left / right for left, right in pairs)
    worse = sum(ratio < 1 for ratio in ratios) / len(ratios)
    medians = statistics.median(a) / statistics.median(b)
    return Finding(
        measure="S12",
        case=case,
        figure="A/B, paired by seed",
        values=ratios,
        goal=goal,
        unit="steps",
        a=a,
        b=b,
        check=f"ratio of the medians {medians:.2f}; B took longer in {worse:.0%} of pairs",
    )


if __name__ == "__main__":
    main()
