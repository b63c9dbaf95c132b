"""From heads to depth: where the search of a backbone begins once its heads have been tried."""

from __future__ import annotations

from raytl.on_ray.plan import BackbonePlan
from raytl.on_ray.probe import ranked_heads
from raytl.on_ray.proposals import Rungs
from raytl.on_ray.shares import fair_trials
from raytl.prices import deepened, rung_depths
from raytl.recipe import Recipe
from raytl.results.recorder import Recorder

DEEPENED = "deepened"  # the role of a recipe that carries the best head on to more trained stages
TOLD = 8  # chosen: how many of the best heads the searcher is told; all of them would drown what follows


def climb(part: BackbonePlan, recorder: Recorder, trials: int) -> Rungs:
    """The backbone's next rungs: the best head behind ever fewer frozen stages, the cheapest first, and the default.

    Without heads to begin with, or without weights worth freezing, they are the plain starts.
    """
    heads = ranked_heads(recorder, part.backbone)
    if not heads:
        return Rungs(part.starts)
    rungs: list[tuple[str, Recipe]] = [
        (DEEPENED, deepened(part.default, heads[0].recipe, depth)) for depth in rung_depths(part.facts.frozen_fractions)
    ]
    before = fair_trials(trials) - 1  # a backbone that falls behind has tried its default by then
    starts = (*rungs[:before], ("default", part.default), *rungs[before:])
    return Rungs(starts, tuple(heads[:TOLD]), heads[0].recipe.image_size)
