"""The names of recipes and trials: hashes of what decides a run, so that the same work has the same name anywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from raytl.recipe import Recipe

_LATER: dict[str, object] = {"head_epochs": 0}  # fields that the first studies on disk did not have, when not used


def recipe_hash(recipe: Recipe, data_fingerprint: str) -> str:
    """What makes two runs the same work but for chance: 16 hex digits over data and recipe without seed."""
    values = {name: value for name, value in recipe.values().items() if name != "seed" and _counts(name, value)}
    return _digest({"data": data_fingerprint, "recipe": values}, 16)


def _counts(name: str, value: object) -> bool:
    """Whether a field is part of a recipe's name: a later one is where it is used, so that earlier names stay."""
    return name not in _LATER or value != _LATER[name]


def trial_id(recipe: Recipe, data_fingerprint: str, stage: str) -> str:
    """The name of one run: 12 hex digits over the recipe's hash, its seed and the stage of the study."""
    identity = {"recipe": recipe_hash(recipe, data_fingerprint), "seed": recipe.seed, "stage": stage}
    return _digest(identity, 12)


def _digest(value: object, digits: int) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:digits]


def ensemble_id(weights: Mapping[str, float]) -> str:
    """The name of a mean of runs: 12 hex digits over their trial ids and weights, in whatever order."""
    return _digest({"ensemble": {name: round(weight, 9) for name, weight in weights.items()}}, 12)


def distilled_hash(recipe: Recipe, data_fingerprint: str, teacher: str, temperature: float, weight: float) -> str:
    """What makes two students the same work but for chance: 16 hex digits over recipe, data and teacher."""
    values = {"teacher": teacher, "temperature": round(temperature, 9), "weight": round(weight, 9)}
    return _digest({"recipe": recipe_hash(recipe, data_fingerprint), "distilled": values}, 16)


def distilled_id(student: str, seed: int) -> str:
    """The name of one student's run: 12 hex digits over its `distilled_hash` and its seed."""
    return _digest({"student": student, "seed": seed}, 12)
