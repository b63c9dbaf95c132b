"""Which recipes are tried, in which order: each backbone's defaults first, then what its searcher suggests."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ray.tune.search import Searcher as TuneSearcher

from raytl.errors import ConfigError
from raytl.metric import Metric
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.job import Job
from raytl.on_ray.live import Live
from raytl.on_ray.plan import BackbonePlan, Plan
from raytl.on_ray.searchers import Searcher, make_searcher
from raytl.recipe import Recipe, make_recipe, trial_id
from raytl.results.schemas import TrialRow

STAGE = "search"


class BackboneProposals:
    """The recipes of one backbone, at most `trials`, none of them twice.

    `known` are trials of an earlier run of the same study: those that ended are told to the searcher and not
    proposed again; one that did not end comes again under its own name and goes on from its checkpoint.
    """

    def __init__(self, part: BackbonePlan, plan: Plan, metric: Metric, known: Mapping[str, TrialRow]) -> None:
        study = plan.study
        self._part, self._metric, self._known = part, metric, known
        self._fingerprint = plan.album.fingerprint
        self._searcher: Searcher = make_searcher(study.searcher, part.space, study.seed)
        self._first = deque([("default", part.default), ("probe", part.probe)])
        self._left = study.trials
        self._suggested = 0
        self._seen: set[str] = set()
        self._recipes: dict[str, Recipe] = {}

    def next(self) -> Job | None:
        """The next recipe to train, or None where trials or space are used up."""
        for role, recipe in self._recipes_in_order():
            name = trial_id(recipe, self._fingerprint, STAGE)
            if name in self._seen:
                continue
            self._seen.add(name)
            self._recipes[name] = recipe
            self._left -= 1
            known = self._known.get(name)
            if known is not None and known.status != "running":
                self.tell(known)
                continue
            self._searcher.pend(self._part.space.point(recipe.values()))  # type: ignore[arg-type]
            return Job(name, STAGE, role, recipe)
        return None

    def tell(self, trial: TrialRow) -> None:
        """What became of a proposal; a failure is told as one, never as a score."""
        value = getattr(trial, self._metric.name) if trial.status in ("completed", "stopped") else None
        score = value if value is None or self._metric.maximize else -value
        point = self._part.space.point(self._recipes[trial.trial_id].values())  # type: ignore[arg-type]
        self._searcher.tell(point, score)

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
                yield "searcher", make_recipe(self._part.default, values)
            except ConfigError:
                self._searcher.tell(values, None)


class Proposals(Live, TuneSearcher):
    """All backbones' proposals as Tune's searcher, served in turn."""

    def __init__(self, plan: Plan, metric: Metric, known: Mapping[str, TrialRow], deadline: Deadline) -> None:
        super().__init__(metric=None, mode=None)
        self._deadline = deadline
        self._children = {part.backbone: BackboneProposals(part, plan, metric, known) for part in plan.backbones}
        self._turn = deque(self._children)

    def suggest(self, trial_id: str) -> Any:
        """The next job of the next backbone that has one, as Tune's configuration."""
        while self._turn and not self._deadline.passed:
            backbone = self._turn.popleft()
            job = self._children[backbone].next()
            if job is not None:
                self._turn.append(backbone)
                return configuration(job)
        return TuneSearcher.FINISHED

    def tell(self, trial: TrialRow) -> None:
        """What became of a trial, from the record."""
        self._children[trial.backbone].tell(trial)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing: the record tells (`tell`), since Tune does not say how a trial ended."""

    def save(self, checkpoint_path: str) -> None:
        """Writes nothing: the ledger holds what was suggested and measured."""

    def restore(self, checkpoint_path: str) -> None:
        """Reads nothing, see `save`."""


class Handout(Live, TuneSearcher):
    """Configurations that are settled beforehand, one after another, as Tune's searcher."""

    def __init__(self, configurations: Iterable[dict[str, Any]]) -> None:
        super().__init__(metric=None, mode=None)
        self._left = deque(configurations)

    def suggest(self, trial_id: str) -> Any:
        """The next configuration."""
        return self._left.popleft() if self._left else TuneSearcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Nothing to learn."""

    def save(self, checkpoint_path: str) -> None:
        """Writes nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Reads nothing."""


def configuration(job: Job) -> dict[str, Any]:
    """A trial's configuration as Tune carries it: the job, whole, and a list of one for a group of workers."""
    return {"job": job, "jobs": (job,), "name": job.trial_id}


def job_of(trial: Any) -> Job:
    """The job of a Tune trial (the first one, for a group that works through several)."""
    job: Job = trial.config["jobs"][0]
    return job
