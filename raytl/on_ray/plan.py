"""A study made concrete on a machine: pictures checked and decoded, and for each backbone its recipes and space."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from raytl.catalog import check_backbone
from raytl.choice import nearest
from raytl.data.album import Album, open_album
from raytl.data.samples import sample_names, write_sample
from raytl.data.store import build_store, store_bytes
from raytl.errors import ConfigError, DataError, RaytlError
from raytl.family import at_size, default_recipe, default_space, head_recipe, head_space, probe_recipe
from raytl.models.classifier import build_classifier
from raytl.models.cost import BackboneFacts, facts_of
from raytl.models.weights import NONE
from raytl.on_ray.cluster import Slots
from raytl.recipe import Recipe, make_recipe
from raytl.space import Choices, Domain, Space, Value
from raytl.study import LADDER, Study
from raytl.train.device import faster_precision

Kind = TypeVar("Kind", Value, Domain)
MEASURE_BATCH = 8  # chosen: enough pictures to compare number formats, few enough to take seconds


@dataclass(frozen=True)
class BackbonePlan:
    """One backbone's part of a study: where its search starts, what it may change, and what heads alone may."""

    facts: BackboneFacts
    default: Recipe
    probe: Recipe
    space: Space
    heads: Space

    @property
    def backbone(self) -> str:
        """The backbone's name."""
        return self.facts.name

    @property
    def starts(self) -> tuple[tuple[str, Recipe], ...]:
        """The recipes that are tried first, by role; without weights there is nothing to leave frozen."""
        starts = (("default", self.default), ("probe", self.probe))
        return starts if self.default.weights == NONE else (*starts, ("head", head_recipe(self.probe, self.default)))

    @property
    def head_sizes(self) -> tuple[int, ...]:
        """Sizes in pixels at which heads are tried, that of the default first; none without weights worth freezing."""
        if self.default.weights == NONE:
            return ()
        domain = self.heads.domains.get("image_size")
        others = domain.values if isinstance(domain, Choices) else ()
        return tuple(dict.fromkeys((self.default.image_size, *(int(size) for size in others if size))))

    @property
    def resizes(self) -> tuple[int, ...]:
        """The shorter sides in pixels at which pictures are stored for it."""
        return tuple(at_size(self.default, size).eval_resize for size in self.head_sizes or (self.default.image_size,))

    @property
    def stage_count(self) -> int:
        """How many stages can be frozen."""
        return len(self.facts.stage_names)


@dataclass(frozen=True)
class Plan:
    """A study that can be run: its pictures under each split and its backbones."""

    study: Study
    albums: tuple[Album, ...]
    backbones: tuple[BackbonePlan, ...]
    cache: Path

    @property
    def album(self) -> Album:
        """The pictures under the split that is searched."""
        return self.albums[0]

    @property
    def trial_count(self) -> int:
        """Search trials in all; a small space may end earlier."""
        return self.study.trials * len(self.backbones)

    def of(self, backbone: str) -> BackbonePlan:
        """The part of one backbone."""
        return next(part for part in self.backbones if part.backbone == backbone)


def cache_folder() -> Path:
    """Where decoded pictures and written samples are kept between studies; `RAYTL_CACHE` overrides."""
    base = os.environ.get("RAYTL_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "raytl"


def locate(data: str, cache: Path) -> Path:
    """The pictures that `data` names: a folder, a table, or an embedded sample, which is written once.

    Raises:
        DataError: where it is neither; a near sample name is offered.
    """
    if Path(data).exists():
        return Path(data).resolve()
    if data in sample_names():
        folder = cache / "samples" / data
        return folder if folder.is_dir() else _write_whole(data, folder)
    samples = ", ".join(sample_names())
    raise DataError(
        f"data {data!r}: no such folder, table or sample{nearest(data, sample_names())}; "
        f"give a folder of class folders, a CSV or Parquet file of path and label, or one of {samples}"
    )


def _write_whole(sample: str, folder: Path) -> Path:
    """Writes a sample so that, killed at any moment, `folder` holds all of it or does not exist."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder.parent))
    try:
        write_sample(sample, draft)
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster; its pictures are the same
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def check_names(study: Study) -> None:
    """Refuses misspelt backbones before anything is read or imported.

    Raises:
        ConfigError: one line per name.
    """
    problems: list[str] = []
    for name in study.backbones:
        try:
            check_backbone(name)
        except RaytlError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)


def open_albums(study: Study, cache: Path) -> tuple[Album, ...]:
    """The study's pictures, checked, under each of its splits."""
    album = open_album(locate(study.data, cache), seed=study.seed, drop_suspect=study.drop_suspect)
    return (album, *(album.resplit(index) for index in range(1, study.splits)))


def make_plan(
    study: Study, albums: tuple[Album, ...], slots: Slots, cache: Path, measured: Mapping[str, str] | None = None
) -> Plan:
    """Recipes and spaces for every backbone; all that cannot be used is reported together.

    `measured` are number formats by backbone that an earlier run of the study has settled: another measurement may
    come out differently, and would make other recipes of them.

    Raises:
        ConfigError, MachineError: naming each backbone, field or weights file.
    """
    parts: list[BackbonePlan] = []
    problems: list[RaytlError] = []
    for backbone in study.backbones:
        try:
            parts.append(_plan_backbone(study, backbone, albums[0], slots, (measured or {}).get(backbone)))
        except RaytlError as error:
            problems.append(error)
    if problems:
        raise type(problems[0])(*dict.fromkeys(line for problem in problems for line in problem.problems))
    return Plan(study, albums, tuple(parts), cache)


def build_stores(plan: Plan) -> float:
    """Decodes all pictures once for every size that a backbone evaluates at; returns the seconds it took."""
    begin = time.perf_counter()
    for resize in sorted({resize for part in plan.backbones for resize in part.resizes}):
        build_store(plan.album, resize, plan.cache)
    return time.perf_counter() - begin


def stored_bytes(plan: Plan) -> int:
    """Bytes of decoded pictures that the study needs on every node."""
    resizes = {resize for part in plan.backbones for resize in part.resizes}
    return sum(store_bytes(plan.album, resize) for resize in resizes)


def _plan_backbone(study: Study, backbone: str, album: Album, slots: Slots, measured: str | None) -> BackbonePlan:
    fixed, domains = sort_settings(study.settings)
    start = default_recipe(backbone, study.weights, study.epochs, study.image_size, study.seed)
    default = make_recipe(start, fixed)
    class_counts = [counts["train"] for counts in album.counts().values()]
    build_classifier(default, len(album.classes))  # its weights are found and fit, or the study does not begin
    facts = facts_of(default, len(album.classes))
    default = replace(default, precision=measured or _precision(default, len(album.classes), slots))
    probe = make_recipe(probe_recipe(default, len(facts.stage_names)), _kept_by_probe(fixed))
    space = default_space(backbone, len(facts.stage_names), class_counts, study.weights)
    space = space.with_domains(domains).without(*fixed)
    space.check(default)
    heads = head_space(default, class_counts).with_domains(_kept_by_probe(domains)).without(*_kept_by_probe(fixed))
    if study.image_size is not None or study.policy != LADDER:
        heads = heads.without("image_size")
    return BackbonePlan(facts, default, probe, space, heads)


def _precision(recipe: Recipe, class_count: int, slots: Slots) -> str:
    """Measured on the processors; on GPUs `auto` stays, since the workers decide by what their device can do."""
    if recipe.precision != "auto" or slots.use_gpu:
        return recipe.precision
    before = torch.get_num_threads()
    torch.set_num_threads(slots.cpus_per_worker)
    try:
        make = partial(build_classifier, recipe, class_count)
        return faster_precision(make, MEASURE_BATCH, recipe.image_size, torch.device("cpu"))
    finally:
        torch.set_num_threads(before)


def _kept_by_probe(settings: Mapping[str, Kind]) -> dict[str, Kind]:
    """Settings that a person made and that do not contradict what a linear probe is."""
    shaping = {"freeze_depth", "unfreeze_epoch", "head_epochs", "head", "attention", "aux_loss_weight"}
    shaping |= {"augment", "mixup", "cutmix"}
    tuned = {"lr", "head_lr_scale", "label_smoothing", "views", "warmup_epochs"}
    return {name: value for name, value in settings.items() if name not in shaping | tuned}


def sort_settings(settings: Mapping[str, Domain | Value]) -> tuple[dict[str, Value], dict[str, Domain]]:
    """What a person fixed, and what a person gave another domain, by recipe field."""
    fixed: dict[str, Value] = {}
    domains: dict[str, Domain] = {}
    for name, value in settings.items():
        if isinstance(value, (str, int, float, type(None))):
            fixed[name] = value
        else:
            domains[name] = value
    return fixed, domains
