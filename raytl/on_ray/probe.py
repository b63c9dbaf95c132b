"""The probe stage of the ladder: what frozen backbones give, computed once, and very many heads over it."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError

from raytl.family import at_size, head_recipe, with_views
from raytl.identity import trial_id
from raytl.metric import Figures, Metric
from raytl.on_ray.bridge import sentence, trial_row
from raytl.on_ray.cluster import Slots
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.job import Job, Workplace
from raytl.on_ray.plan import BackbonePlan, Plan
from raytl.on_ray.proposals import SEARCHER
from raytl.on_ray.searchers import make_searcher, seed_of
from raytl.prices import rung_depths
from raytl.recipe import Recipe, make_recipe
from raytl.results.recorder import Ending, Recorder
from raytl.results.schemas import TrialRow

if TYPE_CHECKING:
    from raytl.train.probing import HeadEvent

PROBE_STAGE = "probe"
SIZE = "size"  # the role of a linear probe at another size, for comparison
HEADS = 128  # chosen: heads per backbone; together they take seconds, and more would mostly fit the validation pictures

# Measured on 208 training and 37 validation pictures of ants and bees, mobilenetv2_100, eight stored views, five seeds:
# 9 epochs 0.949, 20 epochs 0.950, 20 epochs at half the rate 0.952 of the test pictures. An epoch costs milliseconds.
HEAD_EPOCHS = 20
PASSED = 0.5  # chosen: share of the forward pass; rungs that freeze at least so much are stored on the way to the heads


@dataclass(frozen=True)
class Probed:
    """What a task says of a backbone's heads."""

    events: tuple[HeadEvent, ...]
    cross_validated: Mapping[str, Figures]
    node: str
    precision: str


def probe(
    plan: Plan, recorder: Recorder, workplace: Workplace, slots: Slots, deadline: Deadline, say: Callable[[str], None]
) -> None:
    """Trains the heads of all backbones and records them; what an earlier run recorded is not done again.

    A backbone whose task fails goes on without heads, and that is said; the study does not end for it.
    """
    wanted = [part for part in plan.backbones if part.head_sizes and not _tried(part, recorder)]
    if not wanted or deadline.passed:
        return
    place = ray.put(workplace)
    share = {"num_cpus": slots.cpus_per_worker, "num_gpus": 1 if slots.use_gpu else 0}
    _fill(_plain_passes(wanted), place, share)
    sizes = {part.backbone: _chosen_size(part, recorder, place, share, say) for part in wanted}
    jobs = {part.backbone: _left(head_jobs(part, plan, sizes[part.backbone]), recorder) for part in wanted}
    _fill(_view_passes(wanted, sizes, slots), place, share)
    tasks = {_train.options(**share).remote(place, tuple(jobs[part.backbone])): part.backbone for part in wanted}
    for backbone, probed in _as_they_end(tasks):
        if isinstance(probed, RayError):
            say(f"{backbone}: no heads, the search begins without them: {sentence(str(probed))}")
            continue
        _record(plan, recorder, jobs[backbone], probed)
        best = ranked_heads(recorder, backbone)[:1]
        said = f", the best with {plan.study.metric} {getattr(best[0], plan.study.metric):.3f}" if best else ""
        say(f"{backbone}: {len(jobs[backbone])} heads over its frozen stages{said}")


def head_jobs(part: BackbonePlan, plan: Plan, image_size: int) -> list[Job]:
    """The backbone's linear probe at each size, and at `image_size` pixels the head on augmented pictures and others.

    There are none over random weights.
    """
    if not part.head_sizes:
        return []
    longer = HEAD_EPOCHS if plan.study.epochs is None else plan.study.epochs
    base = at_size(replace(part.probe, epochs=longer), image_size)
    recipes = [("probe", part.probe)]
    recipes += [(SIZE, at_size(part.probe, size)) for size in part.head_sizes[1:]]
    recipes += [("head", head_recipe(base, part.default))]
    space = part.heads.without("image_size")
    searcher = make_searcher("random", space, seed_of(plan.study.seed, f"{part.backbone} heads"))
    points = (searcher.suggest(index) for index in range(HEADS - len(recipes)))
    recipes += [(SEARCHER, with_views(make_recipe(base, point))) for point in points if point is not None]
    named = {trial_id(recipe, plan.album.fingerprint, PROBE_STAGE): (role, recipe) for role, recipe in recipes}
    return [Job(name, PROBE_STAGE, role, recipe) for name, (role, recipe) in named.items()]


def ranked_heads(recorder: Recorder, backbone: str) -> list[TrialRow]:
    """The backbone's heads, best first: those that were cross-validated by that, then the others by validation.

    Cross-validated heads within a standard error of the best one's accuracy are not told apart by it; among them the
    lower loss counts (after Breiman et al. 1984, who take the simplest model within one standard error).
    """
    rows = [row for row in recorder.trials.values() if row.stage == PROBE_STAGE and row.backbone == backbone]
    completed = [row for row in rows if row.status == "completed"]
    crossed = [row for row in completed if row.cv_loss is not None]
    others = [row for row in completed if row.cv_loss is None]
    return _by_folds(crossed, recorder.metric) + sorted(others, key=recorder.metric.key)


def _by_folds(rows: list[TrialRow], metric: Metric) -> list[TrialRow]:
    if not rows or not metric.maximize:
        return sorted(rows, key=lambda row: metric.key(_crossed(row)))
    best = max(rows, key=lambda row: getattr(_crossed(row), metric.name))
    value = getattr(_crossed(best), metric.name)
    least = value - math.sqrt(value * (1 - value) / (best.cv_count or 1))
    key = [(getattr(_crossed(row), metric.name) < least, row.cv_loss or 0.0) for row in rows]
    return [row for _, row in sorted(zip(key, rows, strict=True), key=lambda pair: pair[0])]


def _crossed(row: TrialRow) -> Figures:
    return Figures(float(row.cv_accuracy or 0), float(row.cv_macro_f1 or 0), float(row.cv_loss or 0))


def _tried(part: BackbonePlan, recorder: Recorder) -> bool:
    """Whether an earlier run of the study has trained the backbone's heads; they are recorded all together."""
    rows = [row for row in recorder.trials.values() if row.stage == PROBE_STAGE and row.backbone == part.backbone]
    return bool(rows) and all(row.status != "running" for row in rows)


def _left(jobs: Sequence[Job], recorder: Recorder) -> list[Job]:
    known = recorder.trials
    return [job for job in jobs if job.trial_id not in known or known[job.trial_id].status == "running"]


def _chosen_size(
    part: BackbonePlan, recorder: Recorder, place: Any, share: Mapping[str, float], say: Callable[[str], None]
) -> int:
    """The size in pixels at which the backbone's linear probe has the lowest loss; the first where that fails."""
    begun = [row for row in recorder.trials.values() if row.backbone == part.backbone and row.origin == "head"]
    if begun or len(part.head_sizes) == 1:
        return begun[0].recipe.image_size if begun else part.head_sizes[0]
    recipes = [at_size(part.probe, size) for size in part.head_sizes]
    try:
        losses: list[float] = ray.get(_compare.options(**share).remote(place, recipes))
    except RayError:  # whatever is wrong will be said when heads are trained
        return part.head_sizes[0]
    size = part.head_sizes[losses.index(min(losses))]
    others = ", ".join(f"{each:.3f} at {other}" for each, other in zip(losses, part.head_sizes, strict=True))
    say(f"{part.backbone}: heads at {size} pixels, where a linear probe has the lowest loss ({others})")
    return size


_Pass = tuple[Recipe, tuple[int, ...], tuple[int, ...]]


def _plain_passes(parts: Sequence[BackbonePlan]) -> Iterable[_Pass]:
    """The pictures as they are evaluated, at each size."""
    for part in parts:
        for size in part.head_sizes:
            yield at_size(part.probe, size), (0,), ()


def _view_passes(parts: Sequence[BackbonePlan], sizes: Mapping[str, int], slots: Slots) -> Iterable[_Pass]:
    """Each backbone's passes over the stored views, shared out over the slots, and depths to be stored in passing.

    These are the cheap rungs of the ladder; the maps of earlier stages are too large to be stored on suspicion.
    """
    for part in parts:
        head = at_size(head_recipe(part.probe, part.default), sizes[part.backbone])
        views = tuple(range(1, 1 + head.views))
        fractions = part.facts.frozen_fractions
        passed = tuple(depth for depth in rung_depths(fractions) if fractions[depth] >= PASSED)
        for start in range(min(slots.count, len(views))):
            yield head, views[start :: slots.count], passed


def _fill(passes: Iterable[_Pass], place: Any, share: Mapping[str, float]) -> None:
    """Runs the passes; what was not stored is computed by whoever needs it."""
    stores = [_store.options(**share).remote(place, *each) for each in passes]
    if stores:
        ray.wait(stores, num_returns=len(stores))


def _as_they_end(tasks: Mapping[ray.ObjectRef[Any], str]) -> Iterable[tuple[str, Probed | RayError]]:
    waiting = list(tasks)
    while waiting:
        (ready,), waiting = ray.wait(waiting)
        try:
            yield tasks[ready], ray.get(ready)
        except RayError as error:
            yield tasks[ready], error


def _record(plan: Plan, recorder: Recorder, jobs: Sequence[Job], probed: Probed) -> None:
    """Commits all that a backbone's heads gave: their beginnings, their epochs, their ends."""
    recorder.start(*(trial_row(plan, job, tune_trial_id="", workers=1) for job in jobs))
    recorder.epoch(*(event.row for event in probed.events if event.row is not None))
    ends = [event for event in probed.events if event.ended is not None]
    recorder.end_all(
        {
            event.trial_id: Ending(
                str(event.ended),
                event.reason,
                probed.node,
                probed.precision,
                cross_validated=probed.cross_validated.get(event.trial_id),
                cross_validated_count=len(plan.album.part("train")),
            )
            for event in ends
        }
    )


@ray.remote
def _store(workplace: Workplace, recipe: Recipe, views: Sequence[int], depths: Sequence[int]) -> None:
    """Computes what the recipe's frozen backbone makes of the pictures, view by view, into the machine's cache."""
    from raytl.on_ray.work import store_views

    store_views(workplace, recipe, views, depths)


@ray.remote
def _compare(workplace: Workplace, recipes: Sequence[Recipe]) -> list[float]:
    from raytl.on_ray.work import head_losses

    return head_losses(workplace, recipes)


@ray.remote
def _train(workplace: Workplace, jobs: Sequence[Job]) -> Probed:
    from raytl.on_ray.work import train_heads

    precision, events, crossed = train_heads(workplace, jobs)
    return Probed(tuple(events), crossed, socket.gethostname(), precision)
