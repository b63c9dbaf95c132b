"""What was made of a study's final models after they had been tested: ensembles and distillates, none the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from raytl.limits import NO_LIMITS, Limits
from raytl.results.distillates import Distillate, distillate_sentence, find_distillates
from raytl.results.ensembles import Ensemble, ensemble_models, ensemble_sentence, find_ensembles
from raytl.results.facts import FinalModel
from raytl.results.tables import Tables


@dataclass(frozen=True)
class Afterwards:
    """All of them, in the order in which they are told: after the final models, ensembles first."""

    ensembles: tuple[Ensemble, ...] = ()
    distillates: tuple[Distillate, ...] = ()

    @property
    def models(self) -> tuple[FinalModel, ...]:
        """Each as a final model."""
        return (*ensemble_models(self.ensembles), *(each.model for each in self.distillates))

    @property
    def sentences(self) -> list[str]:
        """One on each, in the same order."""
        return [
            *(ensemble_sentence(each) for each in self.ensembles),
            *(distillate_sentence(each) for each in self.distillates),
        ]


def find_afterwards(tables: Tables, models: Sequence[FinalModel], limits: Limits = NO_LIMITS) -> Afterwards:
    """What a study's tables hold of them; `models` as `final_models` gives them."""
    ensembles = find_ensembles(tables, models, limits)
    return Afterwards(ensembles, find_distillates(tables, models, ensembles, limits))
