"""What a person may ask for of a finished study's models: how many members of an ensemble, what kind of a student."""

from __future__ import annotations

from dataclasses import dataclass

MOST_MEMBERS = 5  # chosen: each picture costs what all members together cost
SEEDS = 3  # chosen: fewer leave wide intervals
BEST, MEAN = "best", "ensemble"  # who may teach


@dataclass(frozen=True)
class Wish:
    """Whose student, of which teacher, and how many of them; `into` None is the study's smallest backbone."""

    into: str | None = None
    teacher: str = BEST
    seeds: int = SEEDS
