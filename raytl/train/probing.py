"""Many head-only recipes of one backbone, trained together over shared features."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from raytl.data.store import FitData
from raytl.errors import ConfigError
from raytl.metric import Figures, Metric
from raytl.models.cost import facts_of
from raytl.recipe import Recipe
from raytl.results.schemas import EpochRow
from raytl.train.cache import PrefixCache
from raytl.train.device import resolve_precision
from raytl.train.fronts import store_view
from raytl.train.frozen import freeze, frozen_model
from raytl.train.guards import collapse
from raytl.train.head_array import bucket_of
from raytl.train.head_epochs import HeadEpochs
from raytl.train.metrics import Counts
from raytl.train.world import World

MANY = 100.0  # chosen: readings of an entry that hundreds of heads share; it always pays


@dataclass(frozen=True)
class HeadEvent:
    """One epoch of one head, or how it ended: `ended` is None, completed or diverged; `row` is None for the latter."""

    trial_id: str
    row: EpochRow | None
    ended: str | None = None
    reason: str | None = None


def fit_heads(
    recipes: Mapping[str, Recipe], data: FitData, world: World, metric: Metric, cache: PrefixCache | None
) -> Iterator[list[HeadEvent]]:
    """Trains head-only recipes, by trial id, and yields what each epoch brought, bucket after bucket.

    The rows are those of `fit` with each recipe alone, but for times: heads that train together share them evenly.

    Raises:
        ConfigError: for a recipe that trains more than a head.
    """
    for group in bucketed(recipes):
        frozen = freeze(list(group.values()), data, world, cache)
        heads = HeadEpochs(list(group.values()), frozen, frozen.split(data), metric)
        yield from HeadRuns(list(group), heads, len(data.train)).epochs()


def bucketed(recipes: Mapping[str, Recipe]) -> Iterable[dict[str, Recipe]]:
    """Head-only recipes by name, parted into groups that can train together.

    Raises:
        ConfigError: for a recipe that trains more than a head.
    """
    _check_heads(recipes.values())
    buckets: dict[object, dict[str, Recipe]] = defaultdict(dict)
    for name, recipe in recipes.items():
        buckets[bucket_of(recipe)][name] = recipe
    return buckets.values()


def fill_views(
    recipe: Recipe, data: FitData, world: World, cache: PrefixCache, views: Sequence[int], depths: Sequence[int] = ()
) -> None:
    """Stores what the frozen stages of `recipe` make of the training pictures in `views`; heads by the hundred read it.

    View 0, the evaluation's, is stored of the validation pictures as well. What lies behind the shallower `depths` is
    stored in passing, for trials that train the stages behind them.
    """
    model = frozen_model(recipe, data, world)
    precision = resolve_precision(recipe.precision, world.device)
    passed = sorted(depth for depth in depths if model.backbone.splits_at(depth))
    for view in views:
        sets = (data.train, data.val) if view == 0 else (data.train,)
        for pictures in sets:
            store_view(model, recipe, pictures, view, (*passed, recipe.freeze_depth), precision, cache, MANY)


class HeadRuns:
    """Recipes that share an array, and how far each has come."""

    def __init__(self, names: list[str], heads: HeadEpochs, pictures: int) -> None:
        self._names, self._heads, self._pictures = names, heads, pictures

    def epochs(self) -> Iterator[list[HeadEvent]]:
        """The events of each epoch, until no head has one left."""
        epoch = 0
        while self._names:
            epoch += 1
            yield self._epoch(epoch)

    def _epoch(self, epoch: int) -> list[HeadEvent]:
        begin, started_at = time.perf_counter(), datetime.now(UTC)
        trained, broken = self._heads.train(epoch)
        train_seconds = time.perf_counter() - begin
        validated = self._heads.validate()
        figures = validated.figures()
        span = (datetime.now(UTC) - started_at) / len(self._names)
        speed = self._pictures * len(self._names) / train_seconds
        events = []
        for index in range(len(self._names)):
            if index in broken or not math.isfinite(figures[index].val_loss):
                events.append(self._diverged(index, epoch))
                continue
            start = started_at + index * span
            event = self._event(index, epoch, (start, start + span), speed, trained.one(index), figures[index])
            events.append(replace(event, reason=collapse(validated.confusion[index])) if event.ended else event)
        self._keep([index for index, event in enumerate(events) if event.ended is None])
        return events

    def _event(
        self, index: int, epoch: int, times: tuple[datetime, datetime], speed: float, trained: Counts, figures: Figures
    ) -> HeadEvent:
        course = self._heads.courses[index]
        factor = course.schedule.factor(epoch, self._heads.steps - 1)
        is_best = course.note(epoch, figures, dict)
        row = EpochRow(
            trial_id=self._names[index],
            epoch=epoch,
            started_at=times[0],
            ended_at=times[1],
            train_loss=trained.mean_loss,
            train_accuracy=trained.accuracy,
            val_loss=figures.val_loss,
            val_accuracy=figures.val_accuracy,
            val_macro_f1=figures.val_macro_f1,
            lr=course.recipe.lr * factor,
            images_per_second=speed,
            is_best=is_best,
        )
        return HeadEvent(row.trial_id, row, "completed" if course.finished else None)

    def _diverged(self, index: int, epoch: int) -> HeadEvent:
        reason = f"the loss is not finite in epoch {epoch}; lower lr, or set clip_norm or warmup_epochs"
        return HeadEvent(self._names[index], None, "diverged", reason)

    def _keep(self, places: Sequence[int]) -> None:
        if len(places) < len(self._names):
            self._heads.keep(places)
            self._names = [self._names[place] for place in places]


def _check_heads(recipes: Iterable[Recipe]) -> None:
    """Refuses recipes whose stages are trained, or whose pictures are mixed."""
    problems = []
    for recipe in recipes:
        stages = len(facts_of(recipe, 2).stage_names)
        if recipe.freeze_depth < stages or recipe.unfreeze_epoch is not None or recipe.head_epochs:
            problems.append(
                f"freeze_depth={recipe.freeze_depth}, unfreeze_epoch={recipe.unfreeze_epoch}, "
                f"head_epochs={recipe.head_epochs}: a head alone is trained behind all {stages} stages of "
                f"{recipe.backbone} from the first epoch, and stays so"
            )
        if recipe.attention != "none" or recipe.mixup or recipe.cutmix or recipe.aux_loss_weight:
            problems.append(
                "attention, mixup, cutmix and auxiliary heads need more than pooled features; leave them out"
            )
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
