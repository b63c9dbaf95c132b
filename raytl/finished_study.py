"""A finished study as those commands open it that make something of its final models.

Torch takes seconds to import on a slow machine: what needs it imports it when called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from raytl.commands import check_whole
from raytl.errors import ConfigError, DataError
from raytl.machine import cache_folder
from raytl.results.loaded import LoadedStudy
from raytl.results.schemas import AFTERWARDS, DISTILL
from raytl.results.tables import confirmed_rows, picture_rows, trial_rows
from raytl.study import Study, study_of_values

if TYPE_CHECKING:
    from raytl.data.album import Album
    from raytl.data.store import FitData
    from raytl.use.finals import Final


def recorded_study(loaded: LoadedStudy, data: str | None) -> Study:
    """The study as it was run; `data` is where its pictures are now, where they have moved.

    Raises:
        ConfigError: what it names holds secrets, which are not kept.
    """
    study = study_of_values(loaded.folder.read_spec())
    study = replace(study, data=data) if data else study
    check_whole(replace(study, address=None, storage=None))
    return study


def finals_of(loaded: LoadedStudy, why: str) -> list[Final]:
    """The final models of the first split, best on validation first; `why` a finished study is needed, for the error.

    Raises:
        ConfigError: the study is unfinished.
    """
    from raytl.use.finals import Final

    root, go_on = loaded.folder.root, f"`raytl resume {loaded.folder.root}` goes on with the study"
    trials = {row.trial_id: row for row in trial_rows(loaded.trials)}
    running = sum(row.status == "running" and row.stage != DISTILL for row in trials.values())
    rows = [row for row in confirmed_rows(loaded.confirmed) if row.role not in AFTERWARDS]
    if running or not any(row.model_path for row in rows):
        unfinished = f"{running} of its trials have not ended" if running else "it has saved no final model yet"
        raise ConfigError(f"{root}: {unfinished}, and {why}; {go_on}")
    split = min(row.split for row in rows)
    own = sorted((row for row in rows if row.split == split), key=lambda row: (loaded.metric.key(row), row.trial_id))
    checkpoints = loaded.folder.checkpoints
    return [
        Final(row, trials[row.trial_id].recipe, checkpoints / row.trial_id, trials[row.trial_id].parameters)
        for row in own
    ]


def check_pictures(loaded: LoadedStudy, finals: Sequence[Final], album: Album) -> None:
    """Refuses pictures that none of the final models was trained on.

    Raises:
        DataError: how they have changed.
    """
    from raytl.data.changes import picture_changes
    from raytl.identity import recipe_hash

    if not any(recipe_hash(final.recipe, album.fingerprint) == final.row.recipe_hash for final in finals):
        raise DataError(
            *picture_changes(picture_rows(loaded.data), album.pictures),
            f"{loaded.folder.root}: the pictures or their split are not those that its final models were trained on; "
            "put them back, or say with --data where they are now",
        )


def pictures_of(album: Album, study: Study) -> Callable[[int], FitData]:
    """The splits by the shorter side of pictures, in pixels: stored where the study may store them, else over files."""
    from raytl.train.keeping import keep

    @cache
    def opened(side: int) -> FitData:
        return keep(album, side, cache_folder(), study.store_limit_bytes)

    return opened
