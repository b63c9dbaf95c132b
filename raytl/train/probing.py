"""Many head-only recipes of one backbone, trained together over shared features."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import torch
from torch import Tensor

from raytl.data.store import FitData
from raytl.errors import ConfigError
from raytl.metric import Metric
from raytl.models.chance import seed_torch
from raytl.models.classifier import Classifier, build_classifier, fresh_head, output_count
from raytl.models.cost import facts_of
from raytl.models.heads import feature_count
from raytl.recipe import Recipe
from raytl.results.schemas import EpochRow
from raytl.train.cache import PrefixCache
from raytl.train.course import Course, figures_of
from raytl.train.device import Precision, memory_format, resolve_precision
from raytl.train.evaluate import BATCH
from raytl.train.fronts import Fronts, make_view, open_fronts, store_view
from raytl.train.guards import check_weights_in_use, collapse
from raytl.train.head_array import HeadArray, bucket_of
from raytl.train.head_counts import ArrayCounts
from raytl.train.head_learner import features_of, noise_of
from raytl.train.inputs import FixedView, Inputs, ahead
from raytl.train.losses import evaluation_sums
from raytl.train.metrics import Counts
from raytl.train.sampling import batches, epoch_order, eval_shares, step_count
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
        view = make_view(frozen.recipe, frozen.model.input, augmented=False)
        held = frozen.fronts.val or FixedView(data.val, view)
        split = Split(frozen.fronts.train, data.train.labels, held, data.val.labels)
        yield from HeadRuns(group, frozen, split, metric).epochs()


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
    model = _frozen_model(recipe, data, world)
    precision = resolve_precision(recipe.precision, world.device)
    passed = sorted(depth for depth in depths if model.backbone.splits_at(depth))
    for view in views:
        sets = (data.train, data.val) if view == 0 else (data.train,)
        for pictures in sets:
            store_view(model, recipe, pictures, view, (*passed, recipe.freeze_depth), precision, cache, MANY)


@dataclass(frozen=True, eq=False)
class Split:
    """What heads are trained on and what they are measured on: inputs of pictures, and their labels (N,)."""

    train: Inputs
    train_labels: Tensor
    held: Inputs
    held_labels: Tensor


@dataclass(frozen=True, eq=False)
class Frozen:
    """A frozen backbone with a head's shape, what it sees, and where."""

    model: Classifier
    recipe: Recipe
    precision: Precision
    world: World
    class_count: int
    fronts: Fronts

    def features(self, inputs: Inputs, rows: np.ndarray, epoch: int) -> Tensor:
        """Pooled features (B, F) of the pictures at `rows`."""
        return features_of(self.model, inputs, rows, epoch, self.precision, self.world.device)


def freeze(recipes: Sequence[Recipe], data: FitData, world: World, cache: PrefixCache | None) -> Frozen:
    """The backbone that recipes of one bucket share, over inputs for the longest of them."""
    longest = max(recipes, key=lambda recipe: recipe.epochs)
    model = _frozen_model(longest, data, world)
    precision = resolve_precision(longest.precision, world.device)
    shared = cache and replace(cache, sharers=cache.sharers * len(recipes))
    fronts = open_fronts(model, longest, data, world, precision, shared)
    return Frozen(model, longest, precision, world, len(data.classes), fronts)


class HeadRuns:
    """Recipes that share an array, and how far each has come."""

    def __init__(self, recipes: Mapping[str, Recipe], frozen: Frozen, split: Split, metric: Metric) -> None:
        self._names, self._first = list(recipes), frozen.recipe
        self._frozen, self._split, self._world = frozen, split, frozen.world
        counts = torch.bincount(split.train_labels, minlength=frozen.class_count).tolist()
        features, outputs = feature_count(frozen.model.head), output_count(frozen.recipe, frozen.class_count)
        chosen = list(recipes.values())
        self._array = HeadArray(chosen, features, counts, self._world.device)
        self._array.load_heads([fresh_head(recipe, features, outputs) for recipe in chosen])
        self._steps = step_count(len(split.train_labels), self._first.batch_size)
        self._courses = [Course(recipe, self._steps, metric) for recipe in chosen]

    def epochs(self) -> Iterator[list[HeadEvent]]:
        """The events of each epoch, until no head has one left."""
        epoch = 0
        while self._names:
            epoch += 1
            yield self._epoch(epoch)

    def _epoch(self, epoch: int) -> list[HeadEvent]:
        begin, started_at = time.perf_counter(), datetime.now(UTC)
        trained, broken = self._train(epoch)
        train_seconds = time.perf_counter() - begin
        validated = self._validate()
        span = (datetime.now(UTC) - started_at) / len(self._names)
        speed = len(self._split.train_labels) * len(self._names) / train_seconds
        events = []
        for index in range(len(self._names)):
            counts = validated.one(index)
            if index in broken or not np.isfinite(counts.mean_loss):
                events.append(self._diverged(index, epoch))
                continue
            start = started_at + index * span
            events.append(self._event(index, epoch, (start, start + span), speed, trained.one(index), counts))
        self._keep([index for index, event in enumerate(events) if event.ended is None])
        return events

    def _train(self, epoch: int) -> tuple[ArrayCounts, set[int]]:
        """Sums over the epoch, and the heads whose loss stopped being a number."""
        labels = self._split.train_labels
        order = epoch_order(labels.numpy(), self._first.sampler, self._first.seed, epoch)
        noise = noise_of(self._first, epoch, self._world)
        total = ArrayCounts.zeros(len(self._names), self._array.class_count, self._world.device)
        finite = torch.ones(len(self._names), dtype=torch.bool, device=self._world.device)
        with ahead(self._split.train, batches(order, self._first.batch_size, 0, 1), epoch) as coming:
            for step, rows in enumerate(coming):
                factors = [course.schedule.factor(epoch, step) for course in self._courses]
                expected = labels[torch.from_numpy(rows)].to(self._world.device)
                features = self._frozen.features(self._split.train, rows, epoch)
                taken = self._array.step(features, expected, factors, noise, self._world)
                finite &= taken.finite
                total = total + taken.counts(expected, self._array.class_count)
        return total, set((~finite).nonzero().flatten().tolist())

    def _validate(self) -> ArrayCounts:
        total = ArrayCounts.zeros(len(self._names), self._array.class_count, self._world.device)
        with ahead(self._split.held, eval_shares(len(self._split.held_labels), BATCH, 0, 1), 1) as coming:
            for rows in coming:
                features = self._frozen.features(self._split.held, rows, 1)
                logits = self._array.logits(features)
                labels = self._split.held_labels[torch.from_numpy(rows)].to(logits.device)
                sums = [evaluation_sums(each, labels, self._first.loss) for each in logits]
                totals, weights = (torch.stack(values) for values in zip(*sums, strict=True))
                total = total + ArrayCounts.of(logits, labels, self._array.class_count, totals, weights)
        return total

    def _event(
        self, index: int, epoch: int, times: tuple[datetime, datetime], speed: float, trained: Counts, validated: Counts
    ) -> HeadEvent:
        course, figures = self._courses[index], figures_of(validated)
        factor = course.schedule.factor(epoch, self._steps - 1)
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
        ended = "completed" if course.finished else None
        return HeadEvent(row.trial_id, row, ended, collapse(validated.confusion) if ended else None)

    def _diverged(self, index: int, epoch: int) -> HeadEvent:
        reason = f"the loss is not finite in epoch {epoch}; lower lr, or set clip_norm or warmup_epochs"
        return HeadEvent(self._names[index], None, "diverged", reason)

    def _keep(self, places: Sequence[int]) -> None:
        if len(places) < len(self._names):
            self._array.keep(places)
            self._names = [self._names[place] for place in places]
            self._courses = [self._courses[place] for place in places]


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


def _frozen_model(recipe: Recipe, data: FitData, world: World) -> Classifier:
    seed_torch(recipe.seed)
    model = build_classifier(recipe, len(data.classes))
    model.to(world.device).to(memory_format=memory_format(model)).eval()
    check_weights_in_use(recipe.weights, model.weights.matched)
    return model
