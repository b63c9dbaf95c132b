"""The probe stage of the ladder: what frozen backbones give, computed once, and very many heads over it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any

from raytl.family import at_size, head_recipe, with_views
from raytl.identity import trial_id
from raytl.on_ray.bridge import trial_row
from raytl.on_ray.chores import CompareSizes, Probed, StoreViews, TrainHeads
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.fleet import NO_FLEET, Fleet
from raytl.on_ray.job import Chore, Done, Job
from raytl.on_ray.plan import BackbonePlan, Plan
from raytl.on_ray.proposals import SEARCHER
from raytl.on_ray.searchers import make_searcher, seed_of
from raytl.on_ray.stages import Stage
from raytl.prices import rung_depths
from raytl.recipe import make_recipe
from raytl.results.ranking import ranked
from raytl.results.recorder import Ending, Recorder
from raytl.results.schemas import PROBE, TrialRow

SIZE = "size"  # the role of a linear probe at another size, for comparison
HEADS = 128  # chosen: heads per backbone; together they take seconds, and more would mostly fit the validation pictures

# Measured on 208 training and 37 validation pictures of ants and bees, mobilenetv2_100, eight stored views, five seeds:
# 9 epochs 0.949, 20 epochs 0.950, 20 epochs at half the rate 0.952 of the test pictures. An epoch costs milliseconds.
HEAD_EPOCHS = 20
PASSED = 0.5  # chosen: share of the forward pass; rungs that freeze at least so much are stored on the way to the heads


Script = Generator[Sequence[Chore], list[Done], None]


class Probe(Stage):
    """Trains the heads of all backbones and records them; what an earlier run recorded is not done again.

    Each backbone goes through its script: chores that may be done at the same time, then those that need what came of
    them. A backbone whose heads fail goes on without, and that is said; the study does not end for it. When the
    deadline passes, chores that have not begun are left out, once there is a backbone with heads to confirm.
    """

    def __init__(
        self,
        plan: Plan,
        recorder: Recorder,
        workers: int,
        deadline: Deadline,
        say: Callable[[str], None],
        fleet: Fleet = NO_FLEET,
    ) -> None:
        parts = () if deadline.passed else plan.backbones
        wanted = [part for part in parts if part.head_sizes and not _tried(part, recorder)]
        self.left = len(wanted)  # backbones
        self._recorder, self._deadline, self._say = recorder, deadline, say
        self._waiting: deque[Chore] = deque()
        self._owners: dict[Chore, _Performance] = {}
        for part in wanted:
            self._hand_out(_Performance(_script(part, plan, recorder, workers, say, fleet)))

    def next(self) -> Chore | None:
        """The next chore of those that can be done now."""
        if self._waiting and self._deadline.passed and self._has_heads:
            left_out = sorted({chore.backbone for chore in self._waiting})
            self._say(f"{', '.join(left_out)}: the heads are left out: {self._deadline.late}")
            self._waiting.clear()
        return self._waiting.popleft() if self._waiting else None

    def chore_ended(self, done: Done) -> None:
        """The next chores of the script, where this was the last of those before."""
        performance = self._owners.pop(done.chore, None)
        if performance is None:
            return  # told already: where a worker dies after it has told, Tune has another one do the same again
        if performance.ended(done):
            self._hand_out(performance)

    @property
    def _has_heads(self) -> bool:
        return any(row.stage == PROBE and row.status == "completed" for row in self._recorder.trials.values())

    def _hand_out(self, performance: _Performance) -> None:
        for chore in performance.chores:
            self._owners[chore] = performance
            self._waiting.append(chore)


class _Performance:
    """A script, and how far it has come: `chores` are those that it waits for."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._done: dict[Chore, Done] = {}
        self.chores: tuple[Chore, ...] = ()
        self._go_on(None)

    def ended(self, done: Done) -> bool:
        """Takes what became of a chore; whether it was the last that the script waited for."""
        self._done[done.chore] = done
        if len(self._done) < len(self.chores):
            return False
        results, self._done = [self._done[chore] for chore in self.chores], {}
        self._go_on(results)
        return True

    def _go_on(self, results: list[Done] | None) -> None:
        try:
            chores = self._script.send(results)  # type: ignore[arg-type]  # None begins a generator
            while not chores:
                chores = self._script.send([])
        except StopIteration:
            chores = ()
        self.chores = tuple(chores)


def _script(
    part: BackbonePlan, plan: Plan, recorder: Recorder, workers: int, say: Callable[[str], None], fleet: Fleet
) -> Script:
    """Pictures as they are evaluated, at each size; the size; augmented views; heads.

    What could not be stored is computed by whoever needs it.
    """
    done = yield [StoreViews(at_size(part.probe, size), (0,)) for size in part.head_sizes]
    size = _known_size(part, recorder)
    if size is None:
        (compared,) = yield [CompareSizes(tuple(at_size(part.probe, size) for size in part.head_sizes))]
        done, size = [*done, compared], _chosen_size(part, compared, say)
    done += yield _views(part, size, workers)
    jobs = _left(head_jobs(part, plan, size), recorder)
    (trained,) = yield [TrainHeads(tuple(jobs))]
    if not isinstance(trained.value, Probed):
        say(f"{part.backbone}: no heads, the search begins without them: {trained.reason}")
        return
    seconds = sum(each.seconds for each in [*done, trained]) * plan.study.workers_per_trial
    _record(plan, recorder, jobs, trained.value, seconds, fleet)
    best = ranked_heads(recorder, part.backbone)[:1]
    said = f", the best with {plan.study.metric} {getattr(best[0], plan.study.metric):.3f}" if best else ""
    say(f"{part.backbone}: {len(jobs)} heads over its frozen stages{said}")


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
    named = {trial_id(recipe, plan.album.fingerprint, PROBE): (role, recipe) for role, recipe in recipes}
    return [Job(name, PROBE, role, recipe) for name, (role, recipe) in named.items()]


def ranked_heads(recorder: Recorder, backbone: str) -> list[TrialRow]:
    """The backbone's heads, best first; see `raytl.results.ranking`."""
    rows = [row for row in recorder.trials.values() if row.stage == PROBE and row.backbone == backbone]
    return ranked(rows, recorder.metric)


def _tried(part: BackbonePlan, recorder: Recorder) -> bool:
    """Whether an earlier run of the study has trained the backbone's heads; they are recorded all together."""
    own = (row for row in recorder.trials.values() if row.stage == PROBE and row.backbone == part.backbone)
    statuses = {row.status for row in own} - {"stopped"}  # of pictures that have changed since
    return bool(statuses) and "running" not in statuses


def _left(jobs: Sequence[Job], recorder: Recorder) -> list[Job]:
    known = recorder.trials
    return [job for job in jobs if job.trial_id not in known or known[job.trial_id].status == "running"]


def _known_size(part: BackbonePlan, recorder: Recorder) -> int | None:
    """The size in pixels of the heads that were begun, or the only one there is."""
    begun = [row for row in recorder.trials.values() if row.backbone == part.backbone and row.origin == "head"]
    if begun or len(part.head_sizes) == 1:
        return begun[0].recipe.image_size if begun else part.head_sizes[0]
    return None


def _chosen_size(part: BackbonePlan, compared: Done, say: Callable[[str], None]) -> int:
    """The size at which the backbone's linear probe has the lowest loss; the first where that failed."""
    losses: Any = compared.value
    if losses is None:  # whatever is wrong will be said when heads are trained
        return part.head_sizes[0]
    size = part.head_sizes[losses.index(min(losses))]
    others = ", ".join(f"{each:.3f} at {other}" for each, other in zip(losses, part.head_sizes, strict=True))
    say(f"{part.backbone}: heads at {size} pixels, where a linear probe has the lowest loss ({others})")
    return size


def _views(part: BackbonePlan, size: int, workers: int) -> list[StoreViews]:
    """The passes over the stored views, shared out over the workers, and the depths to be stored in passing.

    These are the cheap rungs of the ladder; the maps of earlier stages are too large to be stored on suspicion.
    """
    head = at_size(head_recipe(part.probe, part.default), size)
    views, fractions = tuple(range(1, 1 + head.views)), part.facts.frozen_fractions
    passed = tuple(depth for depth in rung_depths(fractions) if fractions[depth] >= PASSED)
    return [StoreViews(head, views[start::workers], passed) for start in range(min(workers, len(views)))]


def _record(
    plan: Plan, recorder: Recorder, jobs: Sequence[Job], probed: Probed, worker_seconds: float, fleet: Fleet
) -> None:
    """Commits all that a backbone's heads gave: their beginnings, their epochs, their ends.

    The worker-seconds of all that was done for them they share alike.
    """
    berth = fleet.berth(probed.node_id)
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
                node_type=berth.node_type,
                node_share=berth.node_share,
                worker_seconds=worker_seconds / len(ends),
            )
            for event in ends
        }
    )
