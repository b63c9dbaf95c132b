"""The fine-tuning loop: plain PyTorch, written once, run by tests, warm actors and groups of DDP workers alike.

`Run(recipe, data, world, metric=..., trial_id=...).epochs()` is a generator of epoch rows, and `fit` the same where
nothing but the rows is wanted. Everything random is keyed by (seed, epoch, picture), so a run can be stopped after any
epoch and continued from its checkpoint with the same results.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from raytl.data.store import FitData
from raytl.metric import METRICS, Metric
from raytl.models.chance import seed_torch
from raytl.models.classifier import Classifier, build_classifier
from raytl.models.stages import set_freeze_depth
from raytl.recipe import Recipe
from raytl.results.schemas import EpochRow
from raytl.train.cache import PrefixCache
from raytl.train.checkpoint import Snapshot
from raytl.train.course import Best, Course, figures_of
from raytl.train.device import memory_format, resolve_precision
from raytl.train.distillation import Teaching
from raytl.train.evaluate import Evaluator
from raytl.train.fronts import Fronts, make_view, open_fronts, train_inputs
from raytl.train.guards import check_finite, check_trainable, claim, collapse
from raytl.train.head_learner import HeadLearner, trains_head_alone
from raytl.train.head_start import train_head_first
from raytl.train.inputs import Inputs
from raytl.train.learner import Learner, Learning, trained_state
from raytl.train.metrics import Counts
from raytl.train.sampling import batches, epoch_order, step_count
from raytl.train.world import World

VAL_ACCURACY = METRICS["val_accuracy"]


def fit(
    recipe: Recipe,
    data: FitData,
    world: World,
    resume: Snapshot | None = None,
    *,
    metric: Metric = VAL_ACCURACY,
    trial_id: str = "",
    cache: PrefixCache | None = None,
) -> Iterator[EpochRow]:
    """Trains by `recipe` and yields one row per epoch, from the epoch after `resume` on.

    With a `cache`, what the frozen stages make of a picture is taken from there, or computed once and left there.

    Raises:
        Diverged: where the loss is no longer a number; the epochs before it have been yielded.
        ConfigError, MachineError: where the recipe does not fit the data, the backbone or the machine.
    """
    yield from Run(recipe, data, world, resume, metric=metric, trial_id=trial_id, cache=cache).epochs()


class Run:
    """One fine-tuning run: a fresh model, what it has learned, and the best of its epochs.

    `notes` are sentences about the run that a person should read: what was left out, what looks wrong. With `teaching`
    it learns from a teacher, too, in all but the epochs in which a head is trained first.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: FitData,
        world: World,
        resume: Snapshot | None = None,
        *,
        metric: Metric,
        trial_id: str,
        cache: PrefixCache | None = None,
        teaching: Teaching | None = None,
    ) -> None:
        seed_torch(recipe.seed)  # what no weights are loaded for
        self.recipe, self.data, self.world, self.trial_id, self.cache = recipe, data, world, trial_id, cache
        self.teaching = teaching
        self.model = build_classifier(recipe, len(data.classes))
        self.model.to(world.device).to(memory_format=memory_format(self.model))
        check_trainable(self.model)
        self.precision = resolve_precision(recipe.precision, world.device)
        self.steps_per_epoch = step_count(len(data.train), recipe.batch_size)
        self.course = Course(recipe, self.steps_per_epoch, metric)
        if recipe.head_epochs and resume is None:
            train_head_first(self.model, recipe, data, world, self.precision, cache)
        self.fronts = open_fronts(self.model, recipe, data, world, self.precision, cache)
        self.learner = self._make_learner(self.fronts.train, lr_scale=1.0)
        view = make_view(recipe, self.model.input, augmented=False)
        self.evaluator = Evaluator(view, world, self.precision, len(data.classes), recipe.loss)
        self.notes = list(self.model.notes)
        if resume is not None:
            self._restore(resume)

    def epochs(self) -> Iterator[EpochRow]:
        """One row per epoch until the recipe's epochs are done or early stopping ends the run."""
        while not self.finished:
            yield self._epoch(self.last_epoch + 1)

    @property
    def finished(self) -> bool:
        """Whether no further epoch follows."""
        return self.course.finished

    @property
    def last_epoch(self) -> int:
        """The epoch that was finished last; 0 at the start."""
        return self.course.last_epoch

    def snapshot(self) -> Snapshot:
        """Everything needed to go on after the last yielded epoch; its tensors are the live ones until it is saved."""
        return Snapshot(
            epoch=self.course.last_epoch,
            best_epoch=self.course.best.epoch,
            best_figures=self.course.best.figures,
            tensors=self.learner.tensors(),
            best=self.course.best.tensors,
            schedule=self.course.schedule.state(),
            stopping=self.course.stopping.state(),
        )

    def load_best(self) -> Classifier:
        """The model as it was after its best epoch, in eval mode."""
        self.model.load_state_dict(self.course.best.tensors, strict=False)
        self.model.eval()
        return self.model

    def _make_learner(self, inputs: Inputs, lr_scale: float) -> Learning:
        claim(self.model, self.trial_id)
        recipe = replace(self.recipe, head_lr_scale=1.0) if self.recipe.head_epochs else self.recipe  # it is no novice
        if trains_head_alone(recipe, self.model) and self.teaching is None:  # an array of heads knows labels alone
            return HeadLearner(recipe, self.model, self.data, self.world, self.precision, inputs, lr_scale)
        return Learner(recipe, self.model, self.data, self.world, self.precision, inputs, lr_scale, self.teaching)

    def _epoch(self, epoch: int) -> EpochRow:
        started_at, begin = datetime.now(UTC), time.perf_counter()
        if epoch == self.recipe.unfreeze_epoch:
            self._unfreeze()
        seed_torch(self.recipe.seed, epoch, self.world.rank)  # dropout and stochastic depth
        order = epoch_order(self.data.train.labels.numpy(), self.recipe.sampler, self.recipe.seed, epoch)
        shares = batches(order, self.recipe.batch_size, self.world.rank, self.world.size)
        trained = self.learner.train_epoch(epoch, shares, self.course.schedule)
        speed = len(order) / (time.perf_counter() - begin)
        with self.learner.averaged():
            self.world.share(self.model)
            validated = self.evaluator.counts(self.model, self.data.val, self.fronts.val)
            check_finite(validated.mean_loss, epoch, self.steps_per_epoch)  # the last step may have blown up
            is_best = self.course.note(epoch, figures_of(validated), lambda: trained_state(self.model, self.recipe))
        finding = collapse(validated.confusion)
        self.notes = [*self.model.notes, *dict.fromkeys(self.fronts.notes), *([finding] if finding else [])]
        return self._row(epoch, started_at, speed, trained, validated, is_best)

    def _unfreeze(self) -> None:
        set_freeze_depth(self.model, 0)
        self.fronts = Fronts(train_inputs(self.recipe, self.model, self.data))
        self.learner = self._make_learner(self.fronts.train, self.recipe.unfreeze_lr_scale)

    def _row(
        self, epoch: int, started_at: datetime, speed: float, trained: Counts, validated: Counts, is_best: bool
    ) -> EpochRow:
        figures = figures_of(validated)
        return EpochRow(
            trial_id=self.trial_id,
            epoch=epoch,
            started_at=started_at,
            ended_at=datetime.now(UTC),
            train_loss=trained.mean_loss,
            train_accuracy=None if self.recipe.mixup or self.recipe.cutmix else trained.accuracy,
            val_loss=figures.val_loss,
            val_accuracy=figures.val_accuracy,
            val_macro_f1=figures.val_macro_f1,
            lr=self.learner.lr,
            images_per_second=speed,
            is_best=is_best,
        )

    def _restore(self, snapshot: Snapshot) -> None:
        if self.recipe.unfreeze_epoch is not None and snapshot.epoch >= self.recipe.unfreeze_epoch:
            self._unfreeze()
        self.learner.load(snapshot.tensors)
        self.course.schedule.load(snapshot.schedule)
        self.course.stopping.load(snapshot.stopping)
        self.course.best = Best(snapshot.best_epoch, snapshot.best_figures, dict(snapshot.best))
        self.course.last_epoch = snapshot.epoch
