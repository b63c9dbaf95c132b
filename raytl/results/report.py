"""The report of a study: one page to read, keep and send, made from its tables, `study.json` and models' heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from raytl.metric import Metric
from raytl.results.afterwards import Afterwards, find_afterwards
from raytl.results.calibration import calibration
from raytl.results.calibration_section import calibration_section
from raytl.results.confusion import confusion
from raytl.results.costs import run_costs
from raytl.results.designed import design_effects, design_of
from raytl.results.effect_section import effects_section
from raytl.results.facts import (
    BackboneSearch,
    FinalModel,
    backbone_searches,
    behind_first,
    final_models,
    find_answer,
    study_limits,
    study_metric,
)
from raytl.results.folder import HEAT_FILE, StudyFolder, write_atomically
from raytl.results.health import Health, check_health
from raytl.results.history import freeze_points, incidents, overfitting, trial_curves
from raytl.results.importance import find_importances
from raytl.results.model_sections import answer_section, costs_section, finals_section
from raytl.results.page import Html, document
from raytl.results.picture_sections import (
    Heat,
    classes_section,
    confusion_section,
    health_section,
    heat_section,
    incidents_section,
    run_section,
)
from raytl.results.quality import picture_quality
from raytl.results.quality_section import quality_section
from raytl.results.rarest import rarest_class
from raytl.results.rungs import rungs
from raytl.results.schemas import AFTERWARDS
from raytl.results.search_sections import (
    curves_section,
    freeze_section,
    importance_section,
    ladder_section,
    lines_section,
    searches_section,
)
from raytl.results.tables import Tables
from raytl.results.usage import bill_of
from raytl.results.varied import trial_groups
from raytl.results.wording import small_set_sentence

SMALL_SET = 1000  # pictures; below it a set's size decides what can be concluded
CONTENTS = (
    ("answer", "Answer"),
    ("finals", "Final models"),
    ("effects", "Effects"),
    ("importance", "What mattered"),
    ("freeze", "Freeze depth"),
    ("costs", "Accuracy and cost"),
    ("curves", "Learning curves"),
    ("search", "Search"),
    ("ladder", "Depth by depth"),
    ("lines", "Trial by trial"),
    ("confusion", "Confusion"),
    ("classes", "Classes"),
    ("calibration", "Calibration"),
    ("heat", "Where the models look"),
    ("data", "Data"),
    ("quality", "Picture quality"),
    ("incidents", "What went wrong"),
    ("run", "How it was run"),
)
OF_SEARCHES = ("importance", "freeze", "curves", "search", "ladder", "lines")  # a study with a design has none


def write_report(folder: StudyFolder, tables: Tables) -> Path:
    """Writes `report.html`, also of a study that was killed, and returns its path.

    Raises:
        ConfigError: there is no such folder.
        StorageError: `study.json` cannot be read or the page not written.
    """
    page = report_page(folder.root, folder.read_study(), tables)
    write_atomically(folder.report, page.encode(), "report")
    return folder.report


def report_page(root: Path, study: Mapping[str, object], tables: Tables, address: str | None = None) -> str:
    """The page as HTML; `study` is the content of `study.json`, `root` the study's folder.

    `address` is where a person finds the study, where `root` is but a passing copy.
    """
    metric = study_metric(study)
    limits = study_limits(study)
    models, searches, health = (
        final_models(tables, metric, limits),
        backbone_searches(tables, metric),
        check_health(tables.data),
    )
    later = find_afterwards(tables, models, limits)
    shown = (*models, *later.models)
    design = design_of(study)
    found = design_effects(design, tables, metric)
    sections = {
        **_of_models(root, tables, metric, models, later, searches, health),
        "costs": costs_section(shown, limits, run_costs(tables, shown), bill_of(tables.trials)),
        **_of_search(tables, metric, searches),
        **({"effects": effects_section(found, models, run_costs(tables, models))} if found else {}),
        "data": health_section(health),
        "quality": quality_section(picture_quality(tables.data)),
        "incidents": incidents_section(incidents(tables), tables.problems),
        "run": run_section(study, address or str(root)),
    }
    left_out = OF_SEARCHES if design else ()
    contents = [(anchor, title) for anchor, title in CONTENTS if anchor in sections and anchor not in left_out]
    subtitle = _subtitle(tables, models, searches, health)
    return document(root.resolve().name, subtitle, [sections[anchor] for anchor, _ in contents], contents)


def _of_models(
    root: Path,
    tables: Tables,
    metric: Metric,
    models: Sequence[FinalModel],
    later: Afterwards,
    searches: Sequence[BackboneSearch],
    health: Health,
) -> dict[str, Html]:
    """Sections about final models, by anchor; what was later made of them is shown after them."""
    shown = (*models, *later.models)
    best = _best_by_backbone(shown)
    matrices = [(model, confusion(tables.predictions, model.trial_ids)) for model in best]
    calibrated = [(model, calibration(tables.predictions, model.trial_ids)) for model in best]
    behind, gaps = behind_first(tables, shown), overfitting(tables, shown)
    answer = find_answer(tables, models, searches, metric)
    return {
        "answer": answer_section(answer, searches, metric, _sizes(models, health), later.sentences),
        "finals": finals_section(shown, gaps, behind, metric, rarest_class(tables, shown)),
        "confusion": confusion_section(matrices),
        "classes": classes_section(*(matrices[0] if matrices else (None, None))),
        "calibration": calibration_section([(model, each) for model, each in calibrated if each]),
        "heat": heat_section(_heat(root, models)),
    }


def _of_search(tables: Tables, metric: Metric, searches: Sequence[BackboneSearch]) -> dict[str, Html]:
    """Sections about the search, by anchor."""
    groups = trial_groups(tables, metric)
    return {
        "importance": importance_section(find_importances(groups), metric),
        "freeze": freeze_section(freeze_points(tables, metric), metric),
        "curves": curves_section(trial_curves(tables, searches, metric), metric),
        "search": searches_section(searches, metric),
        "ladder": ladder_section(rungs(tables, searches, metric), metric),
        "lines": lines_section(groups, metric),
    }


def _best_by_backbone(models: Sequence[FinalModel]) -> list[FinalModel]:
    """Models come best first, so the first of each backbone is its best."""
    best: dict[str, FinalModel] = {}
    for model in models:
        best.setdefault(model.backbone, model)
    return list(best.values())


def _heat(root: Path, models: Sequence[FinalModel]) -> list[Heat]:
    """The heat maps that lie beside the published models."""
    places = [(model.backbone, root / model.model_path / HEAT_FILE) for model in models if model.model_path]
    return [(name, path.read_bytes()) for name, path in places if path.is_file()]


def _sizes(models: Sequence[FinalModel], health: Health) -> list[str]:
    """What the validation and test sets can show, where they are small."""
    if not models:
        return []
    best = models[0]
    sets = (("validation", health.total("val"), best.val_accuracy), ("test", best.test_count, best.test.value))
    return [small_set_sentence(name, size, accuracy) for name, size, accuracy in sets if 0 < size < SMALL_SET]


def _subtitle(tables: Tables, models: Sequence[FinalModel], searches: Sequence[BackboneSearch], health: Health) -> str:
    pictures = sum(health.total(split) for split in health.splits)
    trials = sum(search.trials + search.probes for search in searches)
    finals = sum(role not in AFTERWARDS for role in tables.confirmed["role"].to_pylist())
    backbones = {model.backbone for model in models} | {search.backbone for search in searches}
    return (
        f"{len(backbones):,} backbones, {trials:,} trials, {finals:,} final models, "
        f"{pictures:,} pictures in {len(health.counts):,} classes."
    )
