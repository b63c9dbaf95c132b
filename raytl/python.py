"""What Python code calls in the place of a command; `raytl.search` and `raytl.load_model` are these.

Torch and Ray take ten seconds to import on a slow machine: what needs them imports them when called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from raytl.design import Design
from raytl.errors import ConfigError
from raytl.options import OWN_PICTURES, name_of, recipe_problems
from raytl.output import LINES, QUIET, Output
from raytl.results.loaded import LoadedStudy, load_study
from raytl.space import Domain, Value
from raytl.study import LADDER, Study

if TYPE_CHECKING:
    from raytl.use.ensemble import LoadedEnsemble
    from raytl.use.export import LoadedModel

NOTHING_SET: Mapping[str, Domain | Value] = {}
NOTHING_OWN: Mapping[str, Mapping[str, Domain | Value]] = {}
NO_MAP: Mapping[str, str] = {}
NO_DESIGN: Design = {}
NO_PRICES: Mapping[str, float] = {}


def search(
    data: str | Path,
    *,
    out: str | Path | None = None,
    name: str | None = None,
    more_data: tuple[str, ...] = (),
    class_map: Mapping[str, str] = NO_MAP,
    backbones: tuple[str, ...] = OWN_PICTURES.backbones,
    weights: str = "pretrained",
    trials: int = 8,
    epochs: int | None = None,
    confirm_epochs: int | None = None,
    image_size: int | None = None,
    settings: Mapping[str, Domain | Value] = NOTHING_SET,
    backbone_settings: Mapping[str, Mapping[str, Domain | Value]] = NOTHING_OWN,
    design: Design = NO_DESIGN,
    searcher: str = "hyperopt",
    scheduler: str = "asha",
    policy: str = LADDER,
    rungs_per_backbone: bool = True,
    brackets: int = 1,
    metric: str = "val_accuracy",
    workers_per_trial: int = 1,
    trials_per_gpu: int = 1,
    confirm_seeds: int = 5,
    splits: int = 1,
    seed: int = 0,
    time_limit_seconds: float | None = None,
    budget_hours: float | None = None,
    prices: Mapping[str, float] = NO_PRICES,
    weight_histograms: bool = False,
    keep_finals: bool = False,
    drop_suspect: bool = False,
    allow_bad: bool = False,
    cache_gb: float | None = None,
    store_gb: float | None = None,
    address: str | None = None,
    storage: str | None = None,
    peer_timeout_seconds: float = 300.0,
    max_latency_ms: float | None = None,
    max_size_mb: float | None = None,
    changed_data: bool = False,
    quiet: bool = False,
) -> LoadedStudy:
    """Runs a study as `raytl search` does, or goes on with the one in `out`, and returns it loaded.

    `data` is a folder of classes, a table, an archive or a sample's name; `out` the study's folder (default:
    results/<name of the data>). `quiet` prints the result alone; `changed_data` goes on although the pictures have
    changed. All else are the fields of `raytl.Study`, with its defaults. Failed trials are no error: `trials` tells
    them.

    Raises:
        RaytlError: before anything expensive starts, with all that is wrong and what to do.
    """
    given = locals()
    from raytl.commands import search as run

    values = {item.name: given[item.name] for item in fields(Study)}
    study = Study(**{**values, "name": name or name_of(str(data)), "data": str(data)})
    _check(study)
    folder = Path(out) if out is not None else Path("results") / study.name
    run(study, folder, changed_data=changed_data, output=Output(QUIET if quiet else LINES))
    return load_study(folder)


def load_model(folder: str | Path) -> LoadedModel | LoadedEnsemble:
    """Opens a final model, such as results/<study>/models/<backbone>; it is in eval mode, on the CPU.

    Of an ensemble (models/ensemble) its members and their weights; `raytl.use.predict.predict` takes both.

    Raises:
        StorageError: where files are missing, damaged, or do not fit each other.
    """
    from raytl.use.ensemble import open_model as load

    return load(Path(folder))


def _check(study: Study) -> None:
    problems = recipe_problems(study)
    if problems:
        raise ConfigError(*problems)
