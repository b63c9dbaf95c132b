"""What `raytl distill` does: teaches a small backbone what a finished study's answer knows, and records how it went.

Torch takes seconds to import on a slow machine: what needs it imports it when called.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from raytl.catalog import check_backbone
from raytl.errors import ConfigError
from raytl.finished_study import check_pictures, finals_of, pictures_of, recorded_study
from raytl.machine import cache_folder
from raytl.noise import shown
from raytl.recipe import Recipe, make_recipe
from raytl.redaction import redacted
from raytl.results.distillates import Distillate, Rival, distillate_sentence, teacher_text
from raytl.results.ensembles import runs_text
from raytl.results.loaded import LoadedStudy, load_study
from raytl.results.lock import check_free, locked
from raytl.results.recorder import Recorder
from raytl.results.report import write_report
from raytl.results.schemas import DISTILLED, TrialRow
from raytl.results.tables import compact, confirmed_rows, load_tables
from raytl.results.wording import metric_text, percent_interval, points, running_cost
from raytl.study import Study
from raytl.wish import BEST, MEAN, Wish

if TYPE_CHECKING:
    import torch

    from raytl.data.album import Album
    from raytl.use.finals import Final
    from raytl.use.student import Lesson
    from raytl.use.teacher import Teacher


def distill(root: Path, wish: Wish, data: str | None = None) -> int:
    """Teaches, tests, tells and saves a student; `data` is where the study's pictures are now.

    Exit code 5 where no student has a figure.

    Raises:
        ConfigError: the study is unfinished, has no such teacher, or the student is not to be had.
        DataError: its pictures are not there, or have changed.
        StorageError: another process writes to the study, or something cannot be read or written.
    """
    loaded = load_study(root)
    study = recorded_study(loaded, data)
    finals = finals_of(loaded, "a finished study's model is what teaches")
    backbone = _student_backbone(loaded, wish)
    check_free(loaded.folder)
    with shown(False):
        from raytl.on_ray.plan import open_albums

        album = open_albums(study, cache_folder())[finals[0].row.split]
        check_pictures(loaded, finals, album)
        recipes = _recipes(loaded, study, backbone, wish.seeds, album)
        lesson = _lesson(loaded, study, _teacher(loaded, study, finals, album, wish), album, recipes)
        chosen = _record(loaded, lesson, recipes, lambda own: _save(loaded, album, redacted(study.data), own, study))
    if chosen is None:
        print(f"no student of {len(recipes)} has a figure, so none was saved; {loaded.folder.report} says why")
        return 5
    _tell(load_study(root), chosen)
    return 0


def _student_backbone(loaded: LoadedStudy, wish: Wish) -> str:
    """Whom to teach.

    A backbone may learn from itself (Furlanello et al. 2018, "Born-Again Neural Networks"), but only where that is
    asked for: who wants a smaller model is not helped by one of the same size.

    Raises:
        ConfigError: no such backbone, no number of seeds, or nothing smaller than the teacher.
    """
    if wish.seeds < 1:
        raise ConfigError(f"--seeds {wish.seeds}: at least one student must be trained; give 1 or more")
    if wish.into is not None:
        check_backbone(wish.into)
        return wish.into
    models, root = loaded.final_models, loaded.folder.root
    smallest = min(models, key=lambda model: (model.parameters is None, model.parameters))
    if wish.teacher == BEST and smallest.backbone == models[0].backbone:
        raise ConfigError(
            f"{root}: the answer, {models[0].backbone}, is of the study's smallest backbone already; name another one "
            f"with --into (or {models[0].backbone} itself, to have it learn from itself), or take --teacher ensemble"
        )
    return smallest.backbone


def _recipes(loaded: LoadedStudy, study: Study, backbone: str, seeds: int, album: Album) -> list[Recipe]:
    """The recipe of the backbone's best final model, else its default, under each seed; its weights are there.

    Raises:
        ConfigError, MachineError: it cannot be built, or has no weights.
    """
    from raytl.models.classifier import build_classifier

    known = next((each.recipe for each in loaded.final_models if each.backbone == backbone and each.recipe), None)
    recipe = known or _default(study, backbone)
    build_classifier(recipe, len(album.classes))
    whose = "of its best final model" if known else "its default: the study has no final model of it"
    print(f"student: {backbone}, recipe {whose}; {recipe.epochs} epochs, lr {recipe.lr:.2g}", flush=True)
    return [recipe.with_seed(study.seed + index) for index in range(seeds)]


def _default(study: Study, backbone: str) -> Recipe:
    from raytl.family import default_recipe
    from raytl.on_ray.plan import sort_settings

    fixed, _ = sort_settings(study.settings_of(backbone))
    epochs = study.confirm_epochs or study.epochs
    return make_recipe(default_recipe(backbone, study.weights, epochs, study.image_size, study.seed), fixed)


def _teacher(loaded: LoadedStudy, study: Study, finals: Sequence[Final], album: Album, wish: Wish) -> Teacher:
    from raytl.use.library import Source
    from raytl.use.teacher import open_answer, open_mean

    tested = set(loaded.predictions["trial_id"].unique().to_pylist())
    source = Source(loaded.folder.root, album.classes, album.fingerprint, tested)
    if wish.teacher == MEAN:
        return open_mean(loaded.ensembles, source)
    own = [final for final in finals if final.row.trial_id in loaded.final_models[0].trial_ids]
    pictures = pictures_of(album, study)
    saved_first = sorted(own, key=lambda final: final.row.model_path is None)
    return open_answer(saved_first, source, lambda side: pictures(side).val)


def _lesson(loaded: LoadedStudy, study: Study, teacher: Teacher, album: Album, recipes: Sequence[Recipe]) -> Lesson:
    """Asks the teacher, once for each training picture."""
    from raytl.on_ray.driver import cache_bytes
    from raytl.train.cache import PrefixCache
    from raytl.train.distillation import Teaching
    from raytl.train.world import World
    from raytl.use.student import Lesson
    from raytl.use.teacher import ask

    pictures = pictures_of(album, study)
    begin, device = time.perf_counter(), _device()
    teaching = Teaching(ask(teacher, lambda side: pictures(side).train, device))
    row = next(row for row in confirmed_rows(loaded.confirmed) if row.trial_id == teacher.trial_id)
    print(
        f"teacher: {row.backbone}, {row.role}, seed {row.seed}; asked about {len(teaching.probabilities):,} training "
        f"pictures in {time.perf_counter() - begin:.1f} s; temperature {teaching.temperature:g}, its share of the loss "
        f"{teaching.weight:g}",
        flush=True,
    )
    return Lesson(
        study=study.name,
        teacher=teacher.trial_id,
        teaching=teaching,
        data=pictures(recipes[0].eval_resize),
        world=World(device=device),
        metric=loaded.metric,
        checkpoints=loaded.folder.checkpoints,
        split=row.split,
        cache=PrefixCache(cache_folder() / "prefixes", cache_bytes(study, cache_folder()), len(recipes)),
    )


def _device() -> torch.device:
    import torch

    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def _record(
    loaded: LoadedStudy, lesson: Lesson, recipes: Sequence[Recipe], save: Callable[[list[str]], tuple[str, str]]
) -> str | None:
    """Trains the students that are not there yet, saves the chosen one, and returns the name of its run.

    Each epoch is recorded when it is over: killed at any moment, the same command goes on from there.
    """
    from raytl.use.student import student_row, teach

    folder = loaded.folder
    with locked(folder):
        folder.sweep()
        with closing(Recorder(folder, loaded.metric)) as recorder:
            trials = [student_row(lesson, recipe) for recipe in recipes]
            for trial in trials:
                if trial.trial_id not in recorder.confirmed_ids:
                    print(_trained_line(teach(lesson, trial, recorder), loaded.metric.name), flush=True)
            rows = confirmed_rows(load_tables(folder).confirmed)
            own = [row.trial_id for row in rows if row.recipe_hash == trials[0].recipe_hash]
            chosen, path = save(own) if own else (None, "")
            for row in rows if chosen else ():
                wanted = path if row.trial_id == chosen else None
                if row.role == DISTILLED and row.backbone == recipes[0].backbone and row.model_path != wanted:
                    recorder.published(replace(row, model_path=wanted))
        compact(folder)
        write_report(folder, load_tables(folder))
    return chosen


def _trained_line(trial: TrialRow, metric: str) -> str:
    if trial.status != "completed":
        return f"  seed {trial.recipe.seed}: {trial.status}: {trial.reason}"
    figure = metric_text(metric, getattr(trial, metric))
    return f"  seed {trial.recipe.seed}: {figure} {metric} after {trial.epochs_run} epochs, {trial.seconds or 0:.0f} s"


def _save(loaded: LoadedStudy, album: Album, source: str, own: Sequence[str], study: Study) -> tuple[str, str]:
    """Writes models/<backbone>-distilled; returns the chosen run and where it is, seen from the study's folder.

    Checkpoints of the others are removed, unless the study is to keep them.
    """
    from raytl.results.tables import trial_rows
    from raytl.use.finals import Final, choose_published, prune, save_final
    from raytl.use.study_card import study_card

    after, root = load_study(loaded.folder.root), loaded.folder.root
    trials = {row.trial_id: row for row in trial_rows(after.trials)}
    finals = [
        Final(
            row, trials[row.trial_id].recipe, loaded.folder.checkpoints / row.trial_id, trials[row.trial_id].parameters
        )
        for row in confirmed_rows(after.confirmed)
        if row.trial_id in own
    ]
    chosen = choose_published(finals, loaded.metric, loaded.limits)
    card = study_card(source, album, finals, chosen, after.predictions, loaded.limits)
    said = distillate_sentence(_found(after, chosen.row.trial_id, saved=False))
    path = loaded.folder.models / f"{chosen.row.backbone}-{DISTILLED}"
    save_final(chosen, album.classes, path, replace(card, remarks=(said, *_method(), *card.remarks)))
    for final in finals:
        if final is not chosen and not study.keep_finals:
            prune(final)
    return chosen.row.trial_id, path.relative_to(root).as_posix()


def _method() -> tuple[str, ...]:
    from raytl.train.distillation import TEMPERATURE, WEIGHT

    return (
        "It learned its teacher's probabilities on the training pictures, softened by a temperature of "
        f"{TEMPERATURE:g}, beside the labels; the teacher's share of the loss is {WEIGHT:g} (Hinton et al., 2015).",
    )


def _found(loaded: LoadedStudy, trial_id: str, saved: bool = True) -> Distillate:
    found = next(each for each in loaded.distillates if trial_id in each.model.trial_ids)
    return found if saved else replace(found, model=replace(found.model, model_path=None))


def _tell(loaded: LoadedStudy, trial_id: str) -> None:
    found, folder = _found(loaded, trial_id), loaded.folder
    model = found.model
    teachers = [found.teacher.model] if found.teacher else []
    over = f"; over the limit: {model.over}" if model.over else ""
    seconds = f"{model.train_seconds:.0f} s of training each"
    lines = [
        f"test: {percent_interval(model.test)} accuracy over {model.test_count:,} pictures, {runs_text(model)} [95%]; "
        f"{seconds}",
        *_less(found.teacher, f"its teacher, {teacher_text(found)}"),
        *_less(found.peer, f"{model.backbone} without a teacher"),
        f"cost: {running_cost(model.milliseconds, model.size_bytes)}{over}",
        *(f"  its teacher, when tested: {running_cost(each.milliseconds, each.size_bytes)}" for each in teachers),
        f"model:  {folder.root / (model.model_path or '')}",
        f"report: {folder.report}",
    ]
    print("\n".join(lines))


def _less(rival: Rival | None, name: str) -> list[str]:
    if rival is None:
        return []
    less = points(rival.difference) if rival.difference else f"not known: {rival.problem}"
    return [f"  less {name}: {less}"]
