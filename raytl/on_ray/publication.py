"""What a study gives away at its end: the chosen model of each backbone, its card, and its results for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from raytl.data.album import Album
from raytl.on_ray.plan import Plan
from raytl.redaction import redacted
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Recorder
from raytl.results.schemas import AFTERWARDS, ConfirmedRow
from raytl.results.tables import confirmed_rows, load_tables, prediction_rows
from raytl.results.tensorboard import BoardWriter
from raytl.train.keeping import keep
from raytl.use.finals import Final, choose_published, draw_final, prune, save_final, save_heat, show_final
from raytl.use.study_card import study_card


def publish(plan: Plan, recorder: Recorder, folder: StudyFolder) -> None:
    """Saves the chosen model of each backbone and draws its results.

    Checkpoints of the others are removed, unless the study is to keep them.
    """
    tables = load_tables(folder)
    rows = [row for row in confirmed_rows(tables.confirmed) if row.role not in AFTERWARDS]
    finals = [_final(row, recorder, folder) for row in rows if row.trial_id in recorder.trials]
    for part in plan.backbones:
        own = [final for final in finals if final.row.backbone == part.backbone]
        if own:
            _publish(plan, recorder, folder, own)


def _final(row: ConfirmedRow, recorder: Recorder, folder: StudyFolder) -> Final:
    trial = recorder.trials[row.trial_id]
    return Final(row, trial.recipe, folder.checkpoints / row.trial_id, trial.parameters)


def _album_of(plan: Plan, final: Final) -> Album:
    """The pictures under the split of a final model; those that are searched where the study has that split no more."""
    return plan.albums[final.row.split] if final.row.split < len(plan.albums) else plan.album


def _publish(plan: Plan, recorder: Recorder, folder: StudyFolder, finals: Sequence[Final]) -> None:
    chosen = choose_published(finals, recorder.metric, plan.study.limits)
    path = folder.models / chosen.row.backbone
    table = load_tables(folder).predictions
    album = _album_of(plan, chosen)
    card = study_card(redacted(plan.study.data), album, finals, chosen, table, plan.study.limits)
    save_final(chosen, album.classes, path, card)
    for final in finals:  # what the folder held before
        if final is not chosen and final.row.model_path:
            recorder.published(replace(final.row, model_path=None))
    recorder.published(replace(chosen.row, model_path=str(path.relative_to(folder.root))))
    predictions = [row for row in prediction_rows(table) if row.trial_id == chosen.row.trial_id]
    resize = chosen.recipe.eval_resize
    test = keep(album, resize, plan.cache, plan.study.store_limit_bytes).test
    drawn = draw_final(predictions, test, album.classes, save_heat(path, predictions, test))
    show_final(recorder.board, chosen.row.trial_id, drawn)
    gallery, name = BoardWriter(folder.tensorboard_finals), chosen.row.backbone
    trial, epochs = recorder.trials[chosen.row.trial_id], recorder.epochs[chosen.row.trial_id]
    gallery.start(replace(trial, trial_id=name), [replace(row, trial_id=name) for row in epochs])
    show_final(gallery, name, drawn)
    gallery.end(replace(trial, trial_id=name))
    for final in finals:
        if final is not chosen and not plan.study.keep_finals:
            prune(final)
