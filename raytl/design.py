"""Factorial designs: every combination of some choices, each under the same seeds, in the place of a search.

`{"strategy": {"all trained": {"freeze_depth": 0}, "extractor": {"freeze_depth": "all"}}, "loss": {...}}` names factors,
their levels, and the recipe fields that a level sets. What a choice does, and what two do together, is then told from
the spread between seeds (`raytl/results/effects.py`).
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from itertools import combinations, product

from raytl.choice import nearest
from raytl.recipe import FIELD_NAMES, Recipe, make_recipe
from raytl.space import Value

ALL_STAGES = re.compile(r"all(?:-(\d+))?")  # a freeze depth: as many stages as the backbone has, or some fewer
JOIN = " + "  # between the levels in a cell's name
NOT_A_CHOICE = {"backbone": "every backbone of the study runs the whole design", "seed": "every cell has all seeds"}

Level = Mapping[str, Value]
Design = Mapping[str, Mapping[str, Level]]


@dataclass(frozen=True)
class Cell:
    """One combination: a level of each factor, and the recipe fields that they set."""

    levels: tuple[str, ...]
    settings: Level

    @property
    def name(self) -> str:
        """Under which its runs stand in the tables, as their role."""
        return JOIN.join(self.levels)

    def recipe(self, default: Recipe, stage_count: int) -> Recipe:
        """The backbone's default recipe with what the levels set.

        Raises:
            ConfigError: where that cannot be run.
        """
        settings = dict(self.settings)
        if said := ALL_STAGES.fullmatch(str(settings.get("freeze_depth"))):
            settings["freeze_depth"] = stage_count - int(said[1] or 0)
        return make_recipe(default, settings)


def cells_of(design: Design) -> tuple[Cell, ...]:
    """All combinations, the last factor's levels changing fastest; none of an empty design."""
    if not design:
        return ()
    return tuple(_cell(chosen) for chosen in product(*(factor.items() for factor in design.values())))


def design_problems(design: Design, settings: Container[str]) -> list[str]:
    """What cannot be used, a line each; `settings` are the fields that the study itself sets."""
    problems = [
        f"design: factor {factor!r} has {len(levels)} level{'s' * (len(levels) != 1)}; give it two or more"
        for factor, levels in design.items()
        if len(levels) < 2
    ]
    problems += [
        f"design: level {level!r} of {factor!r}: names of levels are joined with {JOIN.strip()!r}; leave it out"
        for factor, levels in design.items()
        for level in levels
        if JOIN.strip() in level
    ]
    fields = {factor: _fields(levels) for factor, levels in design.items()}
    for factor, names in fields.items():
        problems += [
            f"design: {factor!r} sets recipe field {name!r}, which does not exist{nearest(name, FIELD_NAMES)}"
            for name in sorted(names - set(FIELD_NAMES))
        ]
        problems += [f"design: {factor!r} sets {name}: {why}" for name, why in NOT_A_CHOICE.items() if name in names]
        problems += [
            f"design: {factor!r} and the study's settings both set {name}; leave one out"
            for name in sorted(names)
            if name in settings
        ]
    for a, b in combinations(design, 2):
        problems += [
            f"design: {a!r} and {b!r} both set {name}; a field belongs to one factor"
            for name in sorted(fields[a] & fields[b])
        ]
    return problems


def _cell(chosen: tuple[tuple[str, Level], ...]) -> Cell:
    settings = {name: value for _, level in chosen for name, value in level.items()}
    return Cell(tuple(name for name, _ in chosen), settings)


def _fields(levels: Mapping[str, Level]) -> set[str]:
    return {name for level in levels.values() for name in level}
