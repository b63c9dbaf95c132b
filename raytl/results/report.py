"""The report of a study: one page to read, keep and send, made from its tables and `study.json` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from raytl.results.confusion import confusion
from raytl.results.facts import (
    BackboneSearch,
    FinalModel,
    backbone_searches,
    final_models,
    find_answer,
    study_metric,
)
from raytl.results.folder import StudyFolder, write_atomically
from raytl.results.health import Health, check_health
from raytl.results.history import freeze_points, incidents, overfitting, trial_curves
from raytl.results.model_sections import (
    answer_section,
    curves_section,
    finals_section,
    freeze_section,
    ladder_section,
    searches_section,
)
from raytl.results.page import document
from raytl.results.picture_sections import (
    Matrix,
    classes_section,
    confusion_section,
    health_section,
    incidents_section,
    run_section,
)
from raytl.results.rungs import rungs
from raytl.results.tables import Tables
from raytl.results.wording import small_set_sentence

SMALL_SET = 1000  # pictures; below it a set's size decides what can be concluded
CONTENTS = (
    ("answer", "Answer"),
    ("finals", "Final models"),
    ("search", "Search"),
    ("ladder", "Depth by depth"),
    ("curves", "Learning curves"),
    ("freeze", "Freeze depth"),
    ("confusion", "Confusion"),
    ("classes", "Classes"),
    ("data", "Data"),
    ("incidents", "What went wrong"),
    ("run", "How it was run"),
)


def write_report(folder: StudyFolder, tables: Tables) -> Path:
    """Writes `report.html`, also of a study that was killed, and returns its path.

    Raises:
        ConfigError: there is no such folder.
        StorageError: `study.json` cannot be read or the page not written.
    """
    page = report_page(folder.root, folder.read_study(), tables)
    write_atomically(folder.report, page.encode())
    return folder.report


def report_page(root: Path, study: Mapping[str, object], tables: Tables) -> str:
    """The page as HTML; `study` is the content of `study.json`."""
    metric = study_metric(study)
    models, searches, health = (
        final_models(tables, metric),
        backbone_searches(tables, metric),
        check_health(tables.data),
    )
    matrices: list[Matrix] = [
        (model, confusion(tables.predictions, model.trial_ids)) for model in _best_by_backbone(models)
    ]
    sections = [
        answer_section(find_answer(tables, models, searches), searches, metric, _sizes(models, health)),
        finals_section(models, overfitting(tables, models), metric),
        searches_section(searches, metric),
        ladder_section(rungs(tables, searches, metric), metric),
        curves_section(trial_curves(tables, searches, metric), metric),
        freeze_section(freeze_points(tables, metric), metric),
        confusion_section(matrices),
        classes_section(*(matrices[0] if matrices else (None, None))),
        health_section(health),
        incidents_section(incidents(tables), tables.problems),
        run_section(study, str(root)),
    ]
    return document(root.resolve().name, _subtitle(tables, searches, health), sections, CONTENTS)


def _best_by_backbone(models: Sequence[FinalModel]) -> list[FinalModel]:
    """Models come best first, so the first of each backbone is its best."""
    best: dict[str, FinalModel] = {}
    for model in models:
        best.setdefault(model.backbone, model)
    return list(best.values())


def _sizes(models: Sequence[FinalModel], health: Health) -> list[str]:
    """What the validation and test sets can show, where they are small."""
    if not models:
        return []
    best = models[0]
    sets = (("validation", health.total("val"), best.val_accuracy), ("test", best.test_count, best.test.value))
    return [small_set_sentence(name, size, accuracy) for name, size, accuracy in sets if 0 < size < SMALL_SET]


def _subtitle(tables: Tables, searches: Sequence[BackboneSearch], health: Health) -> str:
    pictures = sum(health.total(split) for split in health.splits)
    trials = sum(search.trials + search.probes for search in searches)
    return (
        f"{len(searches):,} backbones, {trials:,} trials, {len(tables.confirmed):,} final models, "
        f"{pictures:,} pictures in {len(health.counts):,} classes."
    )
