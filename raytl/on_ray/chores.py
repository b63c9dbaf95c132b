"""What workers do for the probe stage: features of frozen backbones stored, sizes compared, heads trained."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raytl.metric import Figures
from raytl.on_ray.job import Job, Workplace
from raytl.recipe import Recipe

if TYPE_CHECKING:
    from raytl.train.probing import HeadEvent

# What a chore computes with is imported when it is done: the driver, which only hands it out, needs none of it.


@dataclass(frozen=True)
class StoreViews:
    """Computes what the recipe's frozen backbone makes of the pictures, view by view, into the machine's cache.

    What lies behind `depths` is stored in passing.
    """

    recipe: Recipe
    views: tuple[int, ...]
    depths: tuple[int, ...] = ()

    @property
    def backbone(self) -> str:
        """The frozen one."""
        return self.recipe.backbone

    def do(self, workplace: Workplace) -> None:
        """Fills the cache."""
        from raytl.on_ray.work import store_views

        store_views(workplace, self.recipe, self.views, self.depths)


@dataclass(frozen=True)
class CompareSizes:
    """Trains one linear probe per size of the pictures."""

    recipes: tuple[Recipe, ...]

    @property
    def backbone(self) -> str:
        """The frozen one."""
        return self.recipes[0].backbone

    def do(self, workplace: Workplace) -> list[float]:
        """The loss of each."""
        from raytl.on_ray.work import head_losses

        return head_losses(workplace, self.recipes)


@dataclass(frozen=True)
class Probed:
    """What a worker says of a backbone's heads."""

    events: tuple[HeadEvent, ...]
    cross_validated: Mapping[str, Figures]
    node: str
    precision: str
    node_id: str = ""


@dataclass(frozen=True)
class TrainHeads:
    """Trains all heads of a backbone together."""

    jobs: tuple[Job, ...]

    @property
    def backbone(self) -> str:
        """The frozen one."""
        return self.jobs[0].backbone

    def do(self, workplace: Workplace) -> Probed:
        """All that happened to them."""
        from raytl.on_ray.fleet import own_node
        from raytl.on_ray.work import train_heads

        precision, events, crossed = train_heads(workplace, self.jobs)
        return Probed(tuple(events), crossed, socket.gethostname(), precision, own_node())
