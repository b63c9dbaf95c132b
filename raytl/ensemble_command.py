"""What `raytl ensemble` does: makes the best mean of a finished study's final models, and records what it reached.

Torch takes seconds to import on a slow machine: what needs it imports it when called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from raytl.errors import ConfigError
from raytl.finished_study import check_pictures, finals_of, pictures_of, recorded_study
from raytl.limits import size_megabytes
from raytl.machine import cache_folder
from raytl.noise import shown
from raytl.redaction import redacted
from raytl.results.ensembles import Ensemble, find_ensembles, runs_text
from raytl.results.loaded import LoadedStudy, load_study
from raytl.results.lock import check_free, locked
from raytl.results.outcomes import compare
from raytl.results.recorder import Recorder
from raytl.results.report import write_report
from raytl.results.schemas import ENSEMBLE, ConfirmedRow
from raytl.results.selection import Selection, figures_of, select
from raytl.results.tables import compact, confirmed_rows, load_tables
from raytl.results.wording import metric_text, percent_interval, points, running_cost
from raytl.study import Study
from raytl.wish import MOST_MEMBERS

if TYPE_CHECKING:
    from raytl.data.album import Album
    from raytl.use.finals import Final
    from raytl.use.library import Library
    from raytl.use.mixture import Mixture, Weighted

LEAST = 2  # members of an ensemble


@dataclass(frozen=True)
class Made:
    """An ensemble that is to be kept: its members, heaviest first, its rows, and its best member's accuracy alone."""

    members: tuple[Weighted, ...]
    mixture: Mixture
    best: float


def ensemble(root: Path, most_members: int = MOST_MEMBERS, data: str | None = None) -> int:
    """Makes, tells and saves the ensemble of a study; `data` is where its pictures are now.

    Raises:
        ConfigError: the study is unfinished, or fewer than two of its final models can be used.
        DataError: its pictures are not there, or have changed.
        StorageError: another process writes to the study, or something cannot be read or written.
    """
    if most_members < LEAST:
        raise ConfigError(f"--max-members {most_members}: an ensemble has at least {LEAST}; give {LEAST} or more")
    loaded = load_study(root)
    study = recorded_study(loaded, data)
    finals = _finals(loaded)
    check_free(loaded.folder)
    with shown(False):
        from raytl.on_ray.plan import open_albums

        album = open_albums(study, cache_folder())[finals[0].row.split]
        library = _library(loaded, finals, album, study)
        print("\n".join(library.lines), flush=True)
        if len(library.candidates) < LEAST:
            raise ConfigError(
                f"{root}: {len(library.candidates)} of {library.count} final models can be used, and an ensemble needs "
                f"{LEAST}; search more backbones, or keep the weights of all final models with --keep-finals"
            )
        made = _made(loaded, library, album, most_members)
        if made is None:
            return 0
        _record(loaded, made, partial(_save, loaded, made, album, redacted(study.data)))
    _tell(load_study(root), made)
    return 0


def _finals(loaded: LoadedStudy) -> list[Final]:
    """The final models of the first split, best on validation first.

    Raises:
        ConfigError: the study is unfinished, or has only one.
    """
    finals = finals_of(loaded, "an ensemble is made of a finished study's models")
    if len(finals) < LEAST:
        raise ConfigError(
            f"{loaded.folder.root}: has 1 final model, and an ensemble needs {LEAST}; search more backbones, or "
            "confirm under more seeds with --keep-finals"
        )
    return finals


def _library(loaded: LoadedStudy, finals: Sequence[Final], album: Album, study: Study) -> Library:
    from raytl.use.library import Source, open_library

    check_pictures(loaded, finals, album)
    tested = set(loaded.predictions["trial_id"].unique().to_pylist())
    source = Source(loaded.folder.root, album.classes, album.fingerprint, tested)
    pictures = pictures_of(album, study)
    return open_library(finals, source, lambda side: pictures(side).val)


def _made(loaded: LoadedStudy, library: Library, album: Album, most_members: int) -> Made | None:
    """The ensemble that is best on validation pictures, told; None where that is a single model."""
    import numpy as np

    from raytl.use.mixture import Weighted, mix

    candidates, metric = library.candidates, loaded.metric
    labels = np.array([album.classes.index(row.label) for row in album.part("val")])
    chosen = select(np.stack([each.probabilities for each in candidates]), labels, metric, most_members)
    alone = [figures_of(each.probabilities, labels) for each in candidates]
    best = min(range(len(alone)), key=lambda place: metric.key(alone[place]))
    members = tuple(Weighted(candidates[place].final, chosen.weights[place]) for place in chosen.taken)
    if len(members) < LEAST:
        print(f"no mean of them is better on validation than {_named(members[0])}, alone; nothing was recorded")
        return None
    print("\n".join(_member_lines(members, metric.name)))
    print(f"validation: {_against_alone(chosen, getattr(alone[best], metric.name), metric.name)}", flush=True)
    mixture = mix(members, chosen.figures, loaded.predictions, album.classes)
    return Made(members, mixture, alone[best].val_accuracy)


def _against_alone(chosen: Selection, alone: float, name: str) -> str:
    return (
        f"{metric_text(name, getattr(chosen.figures, name))} {name}, the figure that it was chosen on, so it flatters; "
        f"its best member alone: {metric_text(name, alone)}"
    )


def _named(member: Weighted) -> str:
    row = member.final.row
    return f"{row.backbone}, {row.role}, seed {row.seed}"


def _member_lines(members: Sequence[Weighted], name: str) -> list[str]:
    lines = [f"members, chosen on the validation pictures ({name}):"]
    for member in members:
        row, speed = member.final.row, member.final.row.predict_images_per_second
        time = f"{1000 / speed:.2g} ms" if speed > 0 else "time unknown"
        size = f"{size_megabytes(member.final.parameters or 0):.1f} MB"
        figure = metric_text(name, getattr(row, name))
        lines.append(f"  {member.weight:.2f}  {_named(member)}: {figure}, {time} a picture, {size}")
    return lines


def _record(loaded: LoadedStudy, made: Made, save: Callable[[Ensemble], str]) -> None:
    """Records the figures first, then the saved folder: killed between, the same command ends what was begun."""
    folder, row = loaded.folder, made.mixture.row
    with locked(folder):
        folder.sweep()
        with closing(Recorder(folder, loaded.metric)) as recorder:
            if row.trial_id not in recorder.confirmed_ids:
                recorder.confirmed(row, made.mixture.predictions)
            path = save(_found(load_study(folder.root), row.trial_id))
            for known in confirmed_rows(load_tables(folder).confirmed):
                wanted = path if known.trial_id == row.trial_id else None
                if known.role == ENSEMBLE and known.model_path != wanted:
                    recorder.published(replace(known, model_path=wanted))
        compact(folder)
        write_report(folder, load_tables(folder))


def _found(loaded: LoadedStudy, trial_id: str) -> Ensemble:
    found = find_ensembles(loaded.tables, loaded.final_models, loaded.limits)
    return next(each for each in found if trial_id in each.model.trial_ids)


def _save(loaded: LoadedStudy, made: Made, album: Album, source: str, found: Ensemble) -> str:
    """Writes models/ensemble and returns where that is, seen from the study's folder."""
    from raytl.use.ensemble import SavedMember, save_ensemble
    from raytl.use.ensemble_card import CardFacts, ensemble_card
    from raytl.use.member import write_member
    from raytl.use.study_card import data_sentence

    folder = loaded.folder
    facts = CardFacts(data_sentence(source, album), album.classes, found, made.best)
    members = [
        SavedMember(
            each.final.row.trial_id,
            each.weight,
            partial(write_member, each.final, folder.root, source, album, loaded.predictions),
        )
        for each in made.members
    ]
    path = folder.models / ENSEMBLE
    save_ensemble(path, members, album.classes, ensemble_card(facts, made.members))
    return path.relative_to(folder.root).as_posix()


def _tell(loaded: LoadedStudy, made: Made) -> None:
    found = _found(loaded, made.mixture.row.trial_id)
    model, rival, folder = found.model, found.rival, loaded.folder
    over = f"; over the limit: {model.over}" if model.over else ""
    less = points(found.difference) if found.difference else f"not known: {found.problem}"
    lines = [
        f"test: {percent_interval(model.test)} accuracy over {model.test_count:,} pictures [95%]",
        f"  less the study's answer ({rival.backbone}, {rival.role}, {runs_text(rival)}): {less}",
        *_against_saved(loaded.predictions, rival.model_path, confirmed_rows(loaded.confirmed), made.mixture.row),
        f"cost: {running_cost(model.milliseconds, model.size_bytes)}{over}",
        f"model:  {folder.models / ENSEMBLE}",
        f"report: {folder.report}",
    ]
    print("\n".join(lines))


def _against_saved(
    predictions: pa.Table, path: str | None, rows: Sequence[ConfirmedRow], own: ConfirmedRow
) -> list[str]:
    """Against the one run of the answer that is saved, since that is what would be used in its place."""
    saved = [row for row in rows if path and row.model_path == path and row.split == own.split]
    return [
        f"  less the model in {path} (seed {row.seed}): {points(compare(predictions, [own.trial_id], [row.trial_id]))}"
        for row in saved[:1]
    ]
