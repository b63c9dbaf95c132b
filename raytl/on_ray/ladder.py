"""From heads to depth: where the search of a backbone begins once its heads have been tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from raytl.family import with_views
from raytl.on_ray.plan import BackbonePlan, sort_settings
from raytl.on_ray.probe import ranked_heads
from raytl.on_ray.proposals import Rungs
from raytl.on_ray.shares import fair_trials
from raytl.prices import deepened, rung_depths
from raytl.recipe import Recipe, make_recipe
from raytl.results.recorder import Recorder
from raytl.results.schemas import TrialRow
from raytl.space import Value
from raytl.study import Study

DEEPENED = "deepened"  # the role of a recipe that carries the best head on to more trained stages
# Measured, see results/LOG.md: behind a head that is right so often, three epochs at 0.4 of the family's rate have the
# loss that six have; over weak features (the carried backbones) they lose a tenth of the accuracy to nine at the rate.
STRONG, FEW_EPOCHS, GENTLER = 0.8, 3, 0.4
_BEYOND_POOLS = {"attention", "aux_loss_weight"}
TOLD = 8  # chosen: how many of the best heads the searcher is told; all of them would drown what follows


def climb(part: BackbonePlan, recorder: Recorder, study: Study) -> Rungs:
    """The backbone's next rungs: the best head behind ever fewer frozen stages, the cheapest first, and the default.

    Without heads to begin with, or without weights worth freezing, they are the plain starts. What a person fixed stays
    fixed, and depths that a person ruled out are left out.
    """
    heads = ranked_heads(recorder, part.backbone)
    if not heads:
        return Rungs(part.starts)
    fixed, domains = sort_settings(study.settings_of(part.backbone))
    depths = rung_depths(part.facts.frozen_fractions)
    if "freeze_depth" in domains:
        depths = tuple(depth for depth in depths if domains["freeze_depth"].contains(depth))
    base = _kept(_carried_on(part, heads[0], 0, study), fixed)
    carried = [_kept(_carried_on(part, heads[0], depth, study), fixed) for depth in depths]
    rungs = [(DEEPENED, recipe) for recipe in dict.fromkeys(carried) if recipe != part.default]
    before = fair_trials(study.trials) - 1  # a backbone that falls behind has tried its default by then
    starts = (*rungs[:before], ("default", part.default), *rungs[before:])
    return Rungs(starts, tuple(heads[:TOLD]), base)


def _carried_on(part: BackbonePlan, head: TrialRow, depth: int, study: Study) -> Recipe:
    """The head carried on to `depth`: shortly and gently where there is little left to learn.

    Where more than pooled features are asked for, without its start.
    """
    default = part.default
    if (head.val_accuracy or 0.0) < STRONG or study.epochs is not None:
        epochs, lr = default.epochs, default.lr
    else:
        epochs, lr = FEW_EPOCHS, default.lr * GENTLER
    if _BEYOND_POOLS.isdisjoint(study.settings_of(part.backbone)):
        return deepened(default, head.recipe, depth, epochs, lr)
    return replace(deepened(default, head.recipe, depth, default.epochs, default.lr), head_epochs=0)


def _kept(recipe: Recipe, fixed: Mapping[str, Value]) -> Recipe:
    """The recipe with what a person fixed; views go with the depth unless they are fixed, too."""
    recipe = make_recipe(recipe, fixed)
    return recipe if "views" in fixed else with_views(recipe)
