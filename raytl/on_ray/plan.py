"""A study made concrete on a machine: pictures checked and decoded, and for each backbone its recipes and space."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from raytl.catalog import check_backbone
from raytl.data.album import Album, open_album
from raytl.data.location import locate
from raytl.data.store import store_bytes
from raytl.design import cells_of
from raytl.errors import ConfigError, RaytlError
from raytl.family import at_size, default_recipe, default_space, head_recipe, head_space, probe_recipe
from raytl.limits import size_megabytes
from raytl.models.backbones import create_backbone
from raytl.models.classifier import build_classifier
from raytl.models.cost import BackboneFacts, facts_of
from raytl.models.stages import check_depth
from raytl.models.weights import NONE
from raytl.on_ray.cluster import Slots
from raytl.recipe import Recipe, make_recipe
from raytl.space import Choices, Domain, IntRange, Space, Value
from raytl.study import LADDER, Study
from raytl.train.device import faster_precision
from raytl.train.keeping import Keeping, foresee, keep

Kind = TypeVar("Kind", Value, Domain)


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


def check_depths(study: Study) -> None:
    """Refuses freeze depths that a backbone does not have, before pictures are read or Ray is started.

    Raises:
        ConfigError: one line per backbone.
    """
    problems: list[str] = []
    for name in study.backbones:
        depth = _deepest(study.settings_of(name).get("freeze_depth"))
        if depth == 0:
            continue
        try:
            fixed, _ = sort_settings(study.settings_of(name))
            start = default_recipe(name, study.weights, study.epochs, study.image_size, study.seed)
            recipe = make_recipe(start, {**fixed, "freeze_depth": 0})
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                check_depth(create_backbone(name, pool=recipe.pool, image_size=recipe.image_size), depth)
        except RaytlError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)


def _deepest(setting: Domain | Value) -> int:
    """The largest freeze depth that a setting allows; 0 where there is none."""
    values = setting.values if isinstance(setting, Choices) else (setting,)
    if isinstance(setting, IntRange):
        values = (setting.high,)
    return max((value for value in values if isinstance(value, int)), default=0)


def open_albums(study: Study, cache: Path) -> tuple[Album, ...]:
    """The study's pictures, checked, under each of its splits."""
    album = open_album(
        [locate(data, cache) for data in (study.data, *study.more_data)],
        seed=study.seed,
        drop_suspect=study.drop_suspect,
        allow_bad=study.allow_bad,
        class_map=study.class_map,
    )
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


def check_sizes(plan: Plan) -> None:
    """Refuses backbones that are larger than the answer may be, so that nothing is spent on what cannot win.

    Raises:
        ConfigError: one line per backbone.
    """
    most = plan.study.max_size_mb
    sizes = {part.backbone: size_megabytes(part.facts.parameters) for part in plan.backbones}
    problems = [
        f"{name}: {size:.4g} MB by its {plan.of(name).facts.parameters:,} parameters alone, but max_size_mb={most:g}; "
        "leave it out of --backbones, or raise --max-size-mb"
        for name, size in sizes.items()
        if most is not None and size > most
    ]
    if problems:
        raise ConfigError(*problems)


def build_stores(plan: Plan) -> float:
    """Decodes all pictures once for every size that a backbone evaluates at, as far as there is room for them.

    Returns the seconds it took.
    """
    begin = time.perf_counter()
    for resize in sorted(_resizes(plan)):
        keep(plan.album, resize, plan.cache, plan.study.store_limit_bytes)
    return time.perf_counter() - begin


def keepings(plan: Plan) -> list[Keeping]:
    """What this machine will do with the pictures of each size: store them, or decode them as they are read."""
    return foresee(plan.album, _resizes(plan), plan.cache, plan.study.store_limit_bytes)


def stored_bytes(plan: Plan) -> int:
    """Bytes of all decoded pictures of a study, whether there is room for them or not."""
    return sum(store_bytes(plan.album, resize) for resize in _resizes(plan))


def _resizes(plan: Plan) -> set[int]:
    return {resize for part in plan.backbones for resize in part.resizes}


def _plan_backbone(study: Study, backbone: str, album: Album, slots: Slots, measured: str | None) -> BackbonePlan:
    fixed, domains = sort_settings(study.settings_of(backbone))
    start = default_recipe(backbone, study.weights, study.epochs, study.image_size, study.seed)
    default = make_recipe(start, fixed)
    class_counts = [counts["train"] for counts in album.counts().values()]
    build_classifier(default, len(album.classes))  # its weights are found and fit, or the study does not begin
    facts = facts_of(default, len(album.classes))
    default = replace(default, precision=measured or _precision(default, len(album.classes), slots))
    _check_cells(study, default, len(facts.stage_names))
    probe = make_recipe(probe_recipe(default, len(facts.stage_names)), _kept_by_probe(fixed))
    space = default_space(backbone, len(facts.stage_names), class_counts, study.weights)
    space = space.with_domains(domains).without(*fixed)
    space.check(default)
    heads = head_space(default, class_counts).with_domains(_kept_by_probe(domains)).without(*_kept_by_probe(fixed))
    if study.image_size is not None or study.policy != LADDER:
        heads = heads.without("image_size")
    return BackbonePlan(facts, default, probe, space, heads)


def _check_cells(study: Study, default: Recipe, stage_count: int) -> None:
    """Refuses a design of which a cell cannot be run, or is another cell's run, naming the cell."""
    problems: list[str] = []
    first: dict[Recipe, str] = {}
    for cell in cells_of(study.design):
        try:
            recipe = cell.recipe(default, stage_count)
            if recipe.freeze_depth > stage_count:
                raise ConfigError(f"freeze_depth={recipe.freeze_depth}: {default.backbone} has {stage_count} stages")
            if (other := first.setdefault(recipe, cell.name)) != cell.name:
                raise ConfigError(f"the same recipe as {other}, with {default.backbone}; leave one of the two out")
        except ConfigError as error:
            problems += [f"design, {cell.name}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(*problems)


def _precision(recipe: Recipe, class_count: int, slots: Slots) -> str:
    """Measured on the processors; on GPUs `auto` stays, since the workers decide by what their device can do."""
    if recipe.precision != "auto" or slots.use_gpu:
        return recipe.precision
    before = torch.get_num_threads()
    torch.set_num_threads(slots.cpus_per_worker)
    try:
        make = partial(build_classifier, recipe, class_count)
        return faster_precision(make, recipe.image_size)
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
