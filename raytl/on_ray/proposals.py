"""Which recipes are tried, in which order: each backbone's defaults first, then what its searcher suggests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import filterfalse

from raytl.errors import ConfigError
from raytl.family import with_views
from raytl.identity import trial_id
from raytl.metric import Metric
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.earlier import attempts_of, end_earlier, goes_on
from raytl.on_ray.fleet import NO_FLEET, Fleet
from raytl.on_ray.job import Job
from raytl.on_ray.plan import BackbonePlan, Plan
from raytl.on_ray.searchers import Searcher, make_searcher, seed_of
from raytl.on_ray.shares import Shares
from raytl.recipe import Recipe, make_recipe
from raytl.results.recorder import Recorder
from raytl.results.schemas import SEARCH, EpochRow, TrialRow
from raytl.results.tables import is_ranked
from raytl.space import Values

SEARCHER = "searcher"  # the role of a recipe that was suggested, not given
BEHIND = "it lies too far behind the best backbone"
USED_UP = "every recipe of its space is tried"

Settled = Callable[[str, int, str], None]  # hears of a backbone how many of its trials are left out, and why


@dataclass(frozen=True)
class Rungs:
    """Where a backbone's search begins: recipes by role, heads that its searcher hears of, what it makes recipes of."""

    starts: tuple[tuple[str, Recipe], ...]
    heads: tuple[TrialRow, ...] = ()
    base: Recipe | None = None


class BackboneProposals:
    """The recipes of one backbone, at most `trials`, none of them twice.

    `known` are the backbone's search trials of an earlier run of the same study, in the order they were begun: those
    that ended count as suggested and measured; one that did not end, or for which the time left no epoch, comes first,
    under its own name, and goes on from its checkpoint. `epochs` are the recorded epochs of each trial.
    """

    def __init__(
        self,
        part: BackbonePlan,
        plan: Plan,
        metric: Metric,
        known: Sequence[TrialRow],
        epochs: Mapping[str, Sequence[EpochRow]],
        ladder: Rungs | None = None,
    ) -> None:
        study = plan.study
        self._part, self._metric = part, metric
        self._shares_views = ladder is not None and "views" not in study.settings_of(part.backbone)
        rungs = ladder or Rungs(part.starts)
        self._fingerprint = plan.album.fingerprint
        self._searcher: Searcher = make_searcher(study.searcher, part.space, seed_of(study.seed, part.backbone))
        self._base = rungs.base or part.default
        self._first = deque(rungs.starts)
        self._again = deque(_again(row, epochs[row.trial_id]) for row in known if goes_on(row))
        self._left = study.trials - len(known)
        self._seen = {row.trial_id for row in known}
        self._suggested = sum(row.origin == SEARCHER for row in known)
        for row in rungs.heads:  # in the order of a search that was not interrupted: some searchers mind
            self.tell(row)
        for row in known:
            if goes_on(row):
                self._searcher.pend(self._point(row.recipe))
        for row in sorted(filterfalse(goes_on, known), key=lambda row: row.ended_at or row.started_at):
            self.tell(row)

    @property
    def left(self) -> int:
        """How many trials have not been proposed, those of an earlier run that are to go on among them."""
        return self._left + len(self._again)

    @property
    def goes_on(self) -> bool:
        """Whether a trial of an earlier run is to go on."""
        return bool(self._again)

    def give_up(self) -> list[str]:
        """The names of trials of an earlier run that would go on; from now on they do not."""
        names = [job.trial_id for job in self._again]
        self._again.clear()
        return names

    def next(self) -> Job | None:
        """The next recipe to train, or None where trials or space are used up."""
        if self._again:
            return self._again.popleft()
        for role, recipe in self._recipes_in_order():
            name = trial_id(recipe, self._fingerprint, SEARCH)
            if name not in self._seen:
                self._seen.add(name)
                self._left -= 1
                self._searcher.pend(self._point(recipe))
                return Job(name, SEARCH, role, recipe)
        return None

    def tell(self, trial: TrialRow) -> None:
        """What became of a proposal; a failure is told as one, never as a score."""
        score = None
        if is_ranked(trial, self._metric):
            value = getattr(trial, self._metric.name)
            score = value if self._metric.maximize else -value
        self._searcher.tell(self._point(trial.recipe), score)

    def _recipes_in_order(self) -> Iterator[tuple[str, Recipe]]:
        while self._left > 0:
            if self._first:
                yield self._first.popleft()
                continue
            values = self._searcher.suggest(self._suggested)
            if values is None:
                return
            self._suggested += 1
            try:
                recipe = make_recipe(self._base, values)
                yield SEARCHER, (with_views(recipe) if self._shares_views else recipe)
            except ConfigError:  # values that are each allowed but do not go together
                self._searcher.tell(values, None)

    def _point(self, recipe: Recipe) -> Values:
        return self._part.space.point(recipe.values())  # type: ignore[arg-type]


def _again(row: TrialRow, epochs: Sequence[EpochRow]) -> Job:
    """The job of a trial that did not end, after its recorded epochs."""
    count = len(epochs)
    return Job(row.trial_id, SEARCH, row.origin, row.recipe, recorded_epochs=count, attempt=1 + attempts_of(epochs))


class Proposals:
    """All backbones' proposals, served in turn; none once the deadline has passed.

    Trials of an earlier run go on wherever their backbone lies; those that the deadline leaves no time for end. A
    backbone gives its trials up only when none of them is under way. `settled` hears of each backbone that ends with
    trials left, `given_up` of each trial that is ended.
    """

    def __init__(
        self,
        plan: Plan,
        recorder: Recorder,
        deadline: Deadline,
        ladder: Mapping[str, Rungs] | None = None,
        settled: Settled = lambda backbone, left_out, reason: None,
        given_up: Callable[[TrialRow], None] = lambda trial: None,
        fleet: Fleet = NO_FLEET,
    ) -> None:
        self._deadline, self._shares, self._settled = deadline, Shares(plan, recorder), settled
        self._recorder, self._given_up, self._fleet = recorder, given_up, fleet
        rungs = ladder or {}
        earlier = [row for row in recorder.trials.values() if row.stage == SEARCH]
        self._children = {
            part.backbone: BackboneProposals(
                part,
                plan,
                recorder.metric,
                [row for row in earlier if row.backbone == part.backbone],
                recorder.epochs,
                rungs.get(part.backbone),
            )
            for part in plan.backbones
        }
        self._turn = deque(self._children)

    @property
    def left(self) -> int:
        """How many trials of all backbones have not been proposed."""
        return sum(child.left for child in self._children.values())

    def next(self) -> Job | None:
        """The next job of the next backbone that has one."""
        late = self._deadline.passed
        for _ in range(len(self._turn)):
            backbone = self._turn.popleft()
            child = self._children[backbone]
            if late:
                self._give_up(child)
            reason = self._deadline.late if late else USED_UP if self._shares.in_reach(backbone) else BEHIND
            job = child.next() if child.goes_on or reason == USED_UP else None
            if job is not None or (reason == BEHIND and self._shares.under_way(backbone)):
                self._turn.append(backbone)
            elif child.left:
                self._settled(backbone, child.left, reason)
            if job is not None:
                return job
        return None

    def _give_up(self, child: BackboneProposals) -> None:
        for name in child.give_up():
            trial, berth = self._recorder.trials[name], self._fleet.berth("")
            self._given_up(end_earlier(self._recorder, trial, self._deadline.why, berth))

    def tell(self, trial: TrialRow) -> None:
        """What became of a trial, from the record."""
        self._children[trial.backbone].tell(trial)
