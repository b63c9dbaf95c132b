"""About how long a study takes, from a few timed batches of each backbone, and how many bytes it writes.

Rough by nature: which depths the search finds worth their price and which trials the scheduler stops is not known. The
lower end assumes that it stops as many as it may and that all but one backbone give up half their trials; the upper
end, that every trial runs whole with all stages trained.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import torch

from raytl.design import cells_of
from raytl.errors import RaytlError
from raytl.estimate import Estimate
from raytl.family import VIEWS
from raytl.money import HOUR_SECONDS
from raytl.on_ray.cluster import Slots
from raytl.on_ray.experiment import RUNG_SHARE
from raytl.on_ray.plan import BackbonePlan, Plan, keepings
from raytl.on_ray.room import least_bytes, missing_bytes
from raytl.on_ray.schedulers import REDUCTION
from raytl.on_ray.shares import fair_trials
from raytl.recipe import Recipe
from raytl.results.progress import ROLES
from raytl.space import Choices
from raytl.study import LADDER
from raytl.train.pace import Pace, measure_pace

BUDGET_SECONDS = 6.0  # chosen: for timing all backbones together; a large one is timed over two pictures all the same
# Measured on two cores with the carried backbones: what no picture's price tells.
START_SECONDS = 12.0  # until the first worker has imported torch and Ray and opened the pictures
TRIAL_SECONDS = 1.0  # of a trial beside its epochs: weights read, a checkpoint written, Tune's turn
HEADS_SECONDS, HEADS_PICTURE_SECONDS = 1.0, 0.005  # of a backbone's heads, and for each training picture
REPORT_SECONDS = 8.0  # of a backbone's model, its heat maps, its part of the report, and the end of Ray
ASYNCHRONOUS = 1.5  # chosen: early trials go on that ASHA would stop later
DEEP = 0.5  # chosen: the best recipe of every other backbone trains more than a head


@dataclass(frozen=True)
class Span:
    """Seconds at least, likely, and at most."""

    low: float = 0.0
    likely: float = 0.0
    high: float = 0.0

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.likely + other.likely, self.high + other.high)

    def times(self, factor: float) -> Span:
        """So many of them, or a share."""
        return Span(self.low * factor, self.likely * factor, self.high * factor)


def estimate_study(
    plan: Plan, slots: Slots, prefix_bytes: int, begin: float, hourly_cost: float | None = None
) -> Estimate:
    """What `plan` takes on `slots`; `prefix_bytes` is the limit of what is kept of frozen stages.

    The study began at `begin` by `time.monotonic`: what it took to come so far, it will take again. `hourly_cost` is
    what an hour of one worker costs, where machines have prices.
    """
    spent_seconds = time.monotonic() - begin
    room = Estimate(missing_bytes(plan), prefix_bytes if _freezes(plan) else 0, least_bytes(plan, slots))
    if slots.use_gpu and not torch.cuda.is_available():
        return _unknown(room, "trials run on GPUs that this process does not have, so that nothing can be timed")
    device = torch.device("cuda" if slots.use_gpu else "cpu")
    budget = BUDGET_SECONDS / len(plan.backbones)
    try:
        paces = [
            measure_pace(part.default, plan.album, part.facts.forward_flops, device, slots.cpus_per_worker, budget)
            for part in plan.backbones
        ]
    except (RaytlError, RuntimeError) as error:
        return _unknown(room, f"no batch could be timed: {error}")
    begun = {"plan": Span(*[spent_seconds] * 3)}
    steps = _within_time(plan, _within_budget(plan, slots, {**begun, **priced(plan, slots, paces)}))
    timed = _timed(room, steps)
    hours = _held(plan, slots, steps).times(1 / HOUR_SECONDS)
    return replace(
        timed,
        worker_hours=hours.likely,
        low_worker_hours=hours.low,
        high_worker_hours=hours.high,
        hourly_cost=hourly_cost,
    )


def priced(plan: Plan, slots: Slots, paces: Sequence[Pace]) -> dict[str, Span]:
    """Each step's seconds, from what a picture costs of each backbone. Workers of one trial share its pictures."""
    steps: dict[str, Span] = {"workers": Span(*[START_SECONDS + _decoding(plan, paces, slots)] * 3)}
    pairs = list(zip(plan.backbones, _as_read(plan, paces, slots), strict=True))
    if plan.study.design:
        steps["runs"] = _sum(_design(plan, part, pace) for part, pace in pairs).times(1 / slots.count)
    else:
        if plan.study.policy == LADDER:
            steps["probe"] = _sum(_probe(plan, part, pace) for part, pace in pairs).times(1 / _busy(plan, slots))
        steps["search"] = _sum(_search(plan, part, pace) for part, pace in pairs).times(1 / slots.count)
        steps["confirm"] = _sum(_confirm(plan, part, pace) for part, pace in pairs).times(1 / slots.count)
    steps["report"] = Span(*[REPORT_SECONDS * len(pairs)] * 3)
    return steps


def _held(plan: Plan, slots: Slots, steps: Mapping[str, Span]) -> Span:
    """Worker-seconds of the steps that do trials: all slots are busy, but in the probe no more than backbones."""
    at_once = {"probe": _busy(plan, slots), "search": slots.count, "confirm": slots.count, "runs": slots.count}
    return _sum(steps[name].times(count * slots.workers) for name, count in at_once.items() if name in steps)


def _within_budget(plan: Plan, slots: Slots, steps: Mapping[str, Span]) -> dict[str, Span]:
    """The steps, the search no longer than a budget of worker-hours leaves it after the probe.

    Final models are trained whatever is left, so that theirs is not cut.
    """
    limit = plan.study.search_worker_seconds
    if limit is None or "search" not in steps:
        return dict(steps)
    held = _held(plan, slots, {name: span for name, span in steps.items() if name == "probe"})
    return {**steps, "search": _cut(steps["search"], limit, held, at_once=slots.count * slots.workers)}


def _within_time(plan: Plan, steps: Mapping[str, Span]) -> dict[str, Span]:
    """The steps, the search over when its share of `--time` is; what is before it, and after it, is not cut."""
    limit = plan.study.search_seconds
    if limit is None or "search" not in steps:
        return dict(steps)
    before = _sum(steps[name] for name in ("plan", "workers", "probe") if name in steps)
    return {**steps, "search": _cut(steps["search"], limit, before, at_once=1)}


def _cut(search: Span, limit: float, used: Span, at_once: int) -> Span:
    """The search, no longer than what is left of a limit of which `at_once` seconds are used in one."""
    left = (max(0.0, limit - each) / at_once for each in (used.low, used.likely, used.high))
    return Span(*sorted(min(pair) for pair in zip((search.low, search.likely, search.high), left, strict=True)))


def _timed(room: Estimate, steps: Mapping[str, Span]) -> Estimate:
    total = _sum(steps.values())
    parts = {name: span.likely for name, span in steps.items()}
    return Estimate(room.decoded_bytes, room.prefix_bytes, room.study_bytes, total.likely, total.low, total.high, parts)


def _unknown(room: Estimate, reason: str) -> Estimate:
    return Estimate(room.decoded_bytes, room.prefix_bytes, room.study_bytes, reason=reason)


def _freezes(plan: Plan) -> bool:
    return any(part.head_sizes for part in plan.backbones)


def _busy(plan: Plan, slots: Slots) -> int:
    """Backbones that are probed at the same time."""
    return min(slots.count, len(plan.backbones))


def _decoding(plan: Plan, paces: Sequence[Pace], slots: Slots) -> float:
    if not missing_bytes(plan):
        return 0.0
    seconds = sum(pace.decode_seconds * len(part.resizes) for part, pace in zip(plan.backbones, paces, strict=True))
    return seconds / len(paces) * len(plan.album.used) / (slots.cpus_per_worker * slots.count)


def _as_read(plan: Plan, paces: Sequence[Pace], slots: Slots) -> list[Pace]:
    """The same where pictures are stored; else each is decoded whenever it is trained on or evaluated."""
    stored = {each.resize for each in keepings(plan) if each.stored}
    seconds = [pace.decode_seconds / slots.cpus_per_worker for pace in paces]
    return [
        pace
        if part.default.eval_resize in stored
        else Pace(pace.decode_seconds, pace.train_seconds + more, pace.evaluate_seconds + more)
        for part, pace, more in zip(plan.backbones, paces, seconds, strict=True)
    ]


def _probe(plan: Plan, part: BackbonePlan, pace: Pace) -> Span:
    if not part.head_sizes:
        return Span()
    train, val = (len(plan.album.part(split)) for split in ("train", "val"))
    passes = (train + val) * len(part.head_sizes) + VIEWS * train
    seconds = passes * pace.evaluate_seconds + HEADS_SECONDS + HEADS_PICTURE_SECONDS * train
    return Span(0.5 * seconds, seconds, 1.5 * seconds)


def _search(plan: Plan, part: BackbonePlan, pace: Pace) -> Span:
    study = plan.study
    gives_up = study.policy == LADDER and len(plan.backbones) > 1
    fewest = fair_trials(study.trials) if gives_up else study.trials
    share = _epoch_share(study.scheduler, part.default.epochs)
    trained = _mean_share(part)
    low = _run(plan, part.default, pace, trained).times(share).low * fewest
    some = (fewest + study.trials) / 2
    likely = _run(plan, part.default, pace, trained).times(min(1.0, share * ASYNCHRONOUS)).likely * some
    high = _run(plan, part.default, pace, 1.0).high * study.trials
    each = Span(TRIAL_SECONDS * fewest, TRIAL_SECONDS * some, TRIAL_SECONDS * study.trials)
    return Span(low, likely, high) + each


def _confirm(plan: Plan, part: BackbonePlan, pace: Pace) -> Span:
    study = plan.study
    count = study.confirm_seeds * study.splits
    recipe = part.default
    epochs = (study.confirm_epochs or recipe.epochs) / recipe.epochs
    anew = count - 1 if epochs == 1 else count  # the search has trained one of them, and mostly its checkpoint is there
    likely = anew * DEEP * _run(plan, recipe, pace, _mean_share(part)).likely
    best = Span(0.0, likely, count * _run(plan, recipe, pace, 1.0).high)
    return best.times(epochs) + Span(*[TRIAL_SECONDS * ROLES * count] * 3)


def _design(plan: Plan, part: BackbonePlan, pace: Pace) -> Span:
    runs = Span()
    for cell in cells_of(plan.study.design):
        recipe = cell.recipe(part.default, part.stage_count)
        trained = 1 - part.facts.frozen_fractions[recipe.freeze_depth]
        runs += _run(plan, recipe, pace, trained) + Span(TRIAL_SECONDS, TRIAL_SECONDS, TRIAL_SECONDS)
    return runs.times(plan.study.confirm_seeds * plan.study.splits)


def _run(plan: Plan, recipe: Recipe, pace: Pace, trained: float) -> Span:
    """A whole run with the share `trained` of its stages: what frozen ones make is read at least, computed at most."""
    train, val = (len(plan.album.part(split)) for split in ("train", "val"))
    read = train * pace.train_seconds * trained + val * pace.evaluate_seconds * trained
    computed = train * pace.evaluate_seconds * (1 - trained) + val * pace.evaluate_seconds * (1 - trained)
    return Span(read, read + computed / 2, read + computed).times(recipe.epochs / plan.study.workers_per_trial)


def _mean_share(part: BackbonePlan) -> float:
    """Of the depths that the search may choose, the mean share of the forward pass that is trained."""
    domain, fractions = part.space.domains.get("freeze_depth"), part.facts.frozen_fractions
    depths = (
        [int(str(value)) for value in domain.values] if isinstance(domain, Choices) else [part.default.freeze_depth]
    )
    return sum(1 - fractions[depth] for depth in depths) / len(depths)


def _epoch_share(scheduler: str, epochs: int) -> float:
    """Of all epochs, the share that is run where of every three trials that reach a rung one goes on."""
    if scheduler != "asha":
        return 1.0
    rung, run, going = max(1, epochs // RUNG_SHARE), 0.0, 1.0
    reached = 0
    while reached < epochs:
        until = min(epochs, rung)
        run, reached = run + going * (until - reached), until
        rung, going = rung * REDUCTION, going / REDUCTION
    return run / epochs


def _sum(spans: Iterable[Span]) -> Span:
    return reduce(add, spans, Span())
