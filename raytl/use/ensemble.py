"""Ensembles on disk: a folder with a saved model for each member, their weights, and a card.

Every member is a whole saved model of its own, so that the folder goes on working whatever becomes of the study.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raytl import __version__
from raytl.errors import StorageError
from raytl.results.schemas import ENSEMBLE
from raytl.steps import reached
from raytl.use.export import (
    CARD_FILE,
    CONFIG_FILE,
    FORMAT_VERSION,
    LoadedModel,
    drafted_folder,
    load_model,
    own_config,
)

Sizes = tuple[np.ndarray, ...]
"""One picture, (H, W, 3) uint8, once for each of a model's `sides` and in their order."""
MOST_ERROR = 1e-6  # chosen: by which written weights may miss 1 together


@dataclass(frozen=True)
class LoadedEnsemble:
    """Saved models of the same classes, in eval mode on the CPU; its probabilities are theirs, by `weights`.

    Weights are fractions, together 1.
    """

    members: tuple[LoadedModel, ...]
    weights: tuple[float, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the members' probabilities."""
        return self.members[0].classes

    @property
    def sides(self) -> tuple[int, ...]:
        """Shorter sides in pixels to which a picture is resized, each from the picture itself, for its members."""
        return tuple(sorted({member.eval_resize for member in self.members}))


@dataclass(frozen=True)
class SavedMember:
    """One member as it is to be saved: its weight, what names its run, and who writes it to a folder."""

    trial_id: str
    weight: float
    write: Callable[[Path], object]


def save_ensemble(folder: Path, members: Sequence[SavedMember], classes: tuple[str, ...], card: str) -> None:
    """Writes an ensemble to `folder`, whole or not at all; one that is there already is replaced.

    Members lie in `member-1`, `member-2` and so on, in their order.

    Raises:
        StorageError: where the folder cannot be written.
    """
    named = [(member_name(place), member) for place, member in enumerate(members)]
    listed = [{"folder": name, "weight": member.weight, "trial_id": member.trial_id} for name, member in named]
    own = {"version": __version__, "format_version": FORMAT_VERSION, "format": ENSEMBLE}
    config = {"raytl": {**own, "classes": list(classes), "members": listed}}
    with drafted_folder(folder, "ensemble") as draft:
        for name, member in named:
            member.write(draft / name)
            reached("member drafted")
        (draft / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        (draft / CARD_FILE).write_text(card, "utf-8")


def member_name(place: int) -> str:
    """The folder of the member at that place, from 0, within its ensemble's."""
    return f"member-{place + 1}"


def open_model(folder: Path) -> LoadedModel | LoadedEnsemble:
    """Opens a folder that `save_model` or `save_ensemble` wrote.

    Raises:
        StorageError: where files are missing, damaged, or do not fit each other.
    """
    own = own_config(folder)
    if own.get("format") != ENSEMBLE:
        return load_model(folder)
    try:
        places = [str(member["folder"]) for member in own["members"]]
        weights = tuple(float(member["weight"]) for member in own["members"])
        classes = tuple(own["classes"])
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{folder}: the ensemble cannot be read ({error!r}); save it again") from error
    members = tuple(load_model(folder / Path(place).name) for place in places)
    fit = all(member.classes == classes for member in members) and min(weights, default=0.0) > 0
    if not fit or abs(sum(weights) - 1) > MOST_ERROR:
        raise StorageError(
            f"{folder}: members and weights {list(weights)} do not fit: classes must be the same, weights above 0 and "
            "together 1; save it again"
        )
    return LoadedEnsemble(members, weights)
