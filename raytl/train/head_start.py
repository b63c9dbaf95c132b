"""A head trained alone before the stages behind the frozen ones are.

A head with random values sends large and useless gradients into pretrained stages; one that has been trained over the
frozen backbone does not (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", who call it LP-FT). Over stored features it costs next to nothing.
"""

from __future__ import annotations

from dataclasses import replace

from raytl.data.store import FitData
from raytl.models.classifier import Classifier
from raytl.models.stages import set_freeze_depth
from raytl.recipe import Recipe
from raytl.train.cache import PrefixCache
from raytl.train.device import Precision
from raytl.train.fronts import open_fronts
from raytl.train.head_learner import HeadLearner
from raytl.train.sampling import batches, epoch_order, step_count
from raytl.train.schedule import make_schedule
from raytl.train.world import World


def train_head_first(
    model: Classifier, recipe: Recipe, data: FitData, world: World, precision: Precision, cache: PrefixCache | None
) -> None:
    """Trains the model's head for `recipe.head_epochs` epochs over its frozen backbone; freeze depth stays as it was.

    The head sees the recipe's stored views or, where the recipe draws its augmentation afresh, the pictures as they are
    evaluated, so that what the backbone makes of them can be stored. Where weights are averaged, the average goes on.
    """
    depth, alone = model.freeze_depth, _head_alone(recipe, len(model.stages))
    set_freeze_depth(model, alone.freeze_depth)
    inputs = open_fronts(model, alone, data, world, precision, cache).train
    learner = HeadLearner(alone, model, data, world, precision, inputs)
    schedule = make_schedule(alone, step_count(len(data.train), alone.batch_size))
    for epoch in range(1, alone.epochs + 1):
        order = epoch_order(data.train.labels.numpy(), alone.sampler, alone.seed, epoch)
        learner.train_epoch(epoch, batches(order, alone.batch_size, world.rank, world.size), schedule)
    with learner.averaged():
        trained = {name: value.clone() for name, value in model.head.state_dict().items()}
    model.head.load_state_dict(trained)
    set_freeze_depth(model, depth)


def _head_alone(recipe: Recipe, stage_count: int) -> Recipe:
    return replace(
        recipe,
        freeze_depth=stage_count,
        unfreeze_epoch=None,
        epochs=recipe.head_epochs,
        head_epochs=0,
        warmup_epochs=0.0,
        augment=recipe.augment if recipe.views else "none",
        mixup=0.0,
        cutmix=0.0,
    )
