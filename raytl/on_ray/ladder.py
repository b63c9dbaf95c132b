"""From heads to depth: where the search of a backbone begins once its heads have been tried."""

from __future__ import annotations

from raytl.family import deepened, rung_depths
from raytl.on_ray.plan import BackbonePlan
from raytl.on_ray.probe import ranked_heads
from raytl.on_ray.proposals import Rungs
from raytl.recipe import Recipe
from raytl.results.recorder import Recorder

DEEPENED = "deepened"  # the role of a recipe that carries the best head on to more trained stages
TOLD = 8  # chosen: how many of the best heads the searcher is told; all of them would drown what follows


def climb(part: BackbonePlan, recorder: Recorder, trials: int) -> Rungs:
    """The backbone's next rungs: the best head behind ever fewer frozen stages, the cheapest first, then the default.

    Without heads to begin with, or without weights worth freezing, they are the plain starts.
    """
    heads = ranked_heads(recorder, part.backbone)
    if not heads:
        return Rungs(part.starts)
    rungs: list[tuple[str, Recipe]] = [
        (DEEPENED, deepened(part.default, heads[0].recipe, depth)) for depth in rung_depths(part.facts.frozen_fractions)
    ]
    return Rungs(
        (*rungs[: max(0, trials - 1)], ("default", part.default)), tuple(heads[:TOLD]), heads[0].recipe.image_size
    )
