"""One study from start to end: check, decode, search, confirm, and leave a folder that explains itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raytl.data.album import Album
from raytl.data.store import build_store, open_data
from raytl.metric import find_metric
from raytl.on_ray.cluster import Slots, divide, joined
from raytl.on_ray.confirm import confirm
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.job import Workplace
from raytl.on_ray.plan import (
    Plan,
    build_stores,
    cache_folder,
    check_names,
    make_plan,
    open_albums,
    stored_bytes,
)
from raytl.on_ray.probe import HEADS, probe
from raytl.on_ray.provenance import known_precisions, write_provenance
from raytl.on_ray.search import search
from raytl.results.folder import StudyFolder
from raytl.results.lock import locked
from raytl.results.recorder import Recorder, Watcher
from raytl.results.report import write_report
from raytl.results.tables import compact, confirmed_rows, load_tables, prediction_rows
from raytl.study import LADDER, Study
from raytl.train.cache import PrefixCache
from raytl.use.card import ModelCard
from raytl.use.finals import Final, choose_final, confusion_picture, mistakes_picture, prune, save_final

Say = Callable[[str], None]
SHARERS = 4  # chosen: runs that read an entry behind one freeze depth: trials of the search, seeds of the confirmation
FREE_SHARE = 0.1  # of the disk's free space, for what frozen stages make of pictures
CONFIRM_SHARE = 0.4  # chosen: of `--time`, kept back for confirming, testing and writing the report


@dataclass(frozen=True)
class Outcome:
    """How a study ended: how many trials there are, final models included, and how many of them have no figure."""

    folder: StudyFolder
    trials: int
    without_figure: int

    @property
    def exit_code(self) -> int:
        """0, or 5 where trials failed or diverged."""
        return 5 if self.without_figure else 0


def run_study(
    study: Study, out: Path, say: Say, watcher: Watcher, dry_run: bool = False, changed_data: bool = False
) -> Outcome:
    """Runs `study` into the folder `out`, or checks all and says what would happen.

    What an earlier run left there is gone on from; with `changed_data` also where its pictures have changed.

    Raises:
        RaytlError: before anything expensive starts, with all that is wrong and what to do.
    """
    begin = time.monotonic()
    check_names(study)
    folder = StudyFolder(out)
    cache = cache_folder()
    albums = open_albums(study, cache)
    _say_data(albums[0], say)
    with joined(study.address) as resources:
        slots = divide(resources, study.workers_per_trial, study.trials * len(study.backbones))
        plan = make_plan(study, albums, slots, cache, known_precisions(folder))
        _say_plan(plan, slots, say)
        if dry_run:
            return Outcome(folder, 0, 0)
        folder.create()
        with locked(folder):
            write_provenance(plan, folder, resources, changed_data)
            recorder = Recorder(folder, find_metric(study.metric), [watcher])
            _say_known(recorder, say)
            recorder.pictures(albums[0].pictures)
            say(f"pictures decoded once in {build_stores(plan):.1f} s")
            try:
                _train(plan, recorder, folder, slots, begin, say)
            finally:
                recorder.close()
    return _outcome(recorder, folder)


def _train(plan: Plan, recorder: Recorder, folder: StudyFolder, slots: Slots, begin: float, say: Say) -> None:
    workplace = Workplace(
        albums=plan.albums,
        metric=plan.study.metric,
        checkpoints=folder.checkpoints.resolve(),
        cache=plan.cache,
        threads=slots.cpus_per_worker,
        use_gpu=slots.use_gpu,
        prefixes=PrefixCache(plan.cache / "prefixes", _cache_bytes(plan), SHARERS),
    )
    deadline = _deadline(plan.study, begin)
    if plan.study.policy == LADDER:
        say(f"probing: what each frozen backbone makes of the pictures, and {HEADS} heads over it")
        probe(plan, recorder, workplace, slots, deadline, say)
    search(plan, recorder, folder, workplace, slots, deadline)
    say("confirming: best recipes and linear probe of each backbone, trained again and tested once")
    confirm(plan, recorder, folder, workplace, _confirm_slots(slots, plan))
    _finish(plan, recorder, folder)


def _cache_bytes(plan: Plan) -> int:
    given = plan.study.cache_gb
    plan.cache.mkdir(parents=True, exist_ok=True)
    return int(given * 1e9) if given is not None else int(shutil.disk_usage(plan.cache).free * FREE_SHARE)


def _deadline(study: Study, begin: float) -> Deadline:
    if study.time_limit_seconds is None:
        return Deadline(None)
    spent = time.monotonic() - begin
    return Deadline(max(0.0, study.time_limit_seconds * (1 - CONFIRM_SHARE) - spent))


def _confirm_slots(slots: Slots, plan: Plan) -> Slots:
    finals = len(plan.backbones) * plan.study.confirm_seeds
    return replace(slots, count=min(slots.count, finals))


def _finish(plan: Plan, recorder: Recorder, folder: StudyFolder) -> None:
    """Saves the chosen models, draws their results, compacts the tables and writes the report."""
    tables = load_tables(folder)
    rows = confirmed_rows(tables.confirmed)
    finals = [Final(row, recorder.trials[row.trial_id].recipe, folder.checkpoints / row.trial_id) for row in rows]
    for part in plan.backbones:
        own = [final for final in finals if final.row.backbone == part.backbone]
        if own:
            _publish(plan, recorder, folder, own)
    compact(folder)
    write_report(folder, load_tables(folder))


def _publish(plan: Plan, recorder: Recorder, folder: StudyFolder, finals: Sequence[Final]) -> None:
    chosen = choose_final(finals, recorder.metric)
    path = folder.models / chosen.row.backbone
    save_final(chosen, plan.album.classes, path, _card(plan, finals, chosen))
    recorder.published(replace(chosen.row, model_path=str(path.relative_to(folder.root))))
    predictions = [
        row for row in prediction_rows(load_tables(folder).predictions) if row.trial_id == chosen.row.trial_id
    ]
    resize = chosen.recipe.eval_resize
    test = open_data(plan.album, build_store(plan.album, resize, plan.cache)).test
    board, name = recorder.board, chosen.row.trial_id
    board.picture(name, "test/confusion", confusion_picture(predictions, plan.album.classes), 0)
    board.picture(name, "test/worst_mistakes", mistakes_picture(predictions, test, plan.album.classes), 0)
    for final in finals:
        if final is not chosen:
            prune(final)


def _card(plan: Plan, finals: Sequence[Final], chosen: Final) -> ModelCard:
    alike = [final.row for final in finals if final.row.role == chosen.row.role and final.row.split == chosen.row.split]
    mean = sum(row.test_accuracy for row in alike) / len(alike)
    counts = {split: len(plan.album.part(split)) for split in ("train", "val", "test")}
    data = f"{plan.study.data}: " + ", ".join(f"{count} pictures in {split}" for split, count in counts.items())
    return ModelCard(
        data=data,
        figures=(
            ("validation accuracy (the reason for choosing this seed)", f"{chosen.row.val_accuracy:.4f}"),
            ("test accuracy", f"{chosen.row.test_accuracy:.4f}"),
            (f"mean test accuracy of the recipe over {len(alike)} seeds", f"{mean:.4f}"),
            ("test macro F1", f"{chosen.row.test_macro_f1:.4f}"),
        ),
        remarks=("Trained on the train split only; test figures carry over to pictures of the same kind.",),
    )


def _outcome(recorder: Recorder, folder: StudyFolder) -> Outcome:
    trials = recorder.trials.values()
    return Outcome(folder, len(trials), sum(row.status in ("diverged", "failed") for row in trials))


def _say_data(album: Album, say: Say) -> None:
    counts = {split: len(album.part(split)) for split in ("train", "val", "test")}
    shares = ", ".join(f"{count} {split}" for split, count in counts.items())
    say(f"data: {len(album.used)} pictures in {len(album.classes)} classes ({shares})")
    for row in album.pictures:
        if row.status != "ok":
            say(f"  {row.status}: {row.path}: {row.reason}")


def _say_known(recorder: Recorder, say: Say) -> None:
    """What an earlier run left, and what becomes of it."""
    ledger = recorder.ledger
    for problem in ledger.problems:
        say(f"  {problem}")
    if ledger.removed_files:
        say(f"  {ledger.removed_files} files that an interrupted write left were removed")
    if not recorder.trials:
        return
    begun = [name for name, row in recorder.trials.items() if row.status == "running"]
    continued = sum(bool(recorder.epochs[name]) for name in begun)
    say(
        f"going on: {len(recorder.trials) - len(begun)} trials kept, {continued} continued from their checkpoints, "
        f"{len(begun) - continued} begun again"
    )


def _say_plan(plan: Plan, slots: Slots, say: Say) -> None:
    for part in plan.backbones:
        recipe = part.default
        say(
            f"{part.backbone}: {part.facts.parameters / 1e6:.2f}M parameters, {part.stage_count} stages, "
            f"{recipe.image_size} pixels, {recipe.precision}"
        )
    say(
        f"search: {plan.trial_count} trials ({plan.study.trials} per backbone) of up to {_longest(plan)} epochs; "
        f"then {plan.study.confirm_seeds} seeds of the best; {slots.describe()}; "
        f"{stored_bytes(plan) / 1e6:.0f} MB of decoded pictures"
    )


def _longest(plan: Plan) -> int:
    return max(part.default.epochs for part in plan.backbones)
