"""A study is made concrete: its pictures are found, its recipes settled, and all that is wrong is said at once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from raytl.data.album import Album
from raytl.data.store import PIXELS
from raytl.errors import ConfigError, MachineError
from raytl.on_ray import plan as plan_module
from raytl.on_ray.cluster import Slots
from raytl.on_ray.plan import (
    Plan,
    build_stores,
    check_depths,
    check_names,
    check_sizes,
    make_plan,
    open_albums,
    stored_bytes,
)
from raytl.space import Choices, Domain, IntRange, Uniform, Value
from raytl.study import Study
from tests.pictures import write_classes
from tests.plans import make_album, make_part

SLOTS = Slots(1, 1, 1, use_gpu=False)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"), classes=3)


def study(**values: Any) -> Study:
    return Study(
        **{
            "name": "made-up",
            "data": "pictures",
            "backbones": ("plain_cnn", "tiny_resnet"),
            "weights": "none",
            "image_size": 16,
            "settings": {"precision": "fp32"},
            **values,
        }
    )


def planned(album: Album, **values: Any) -> Plan:
    return make_plan(study(**values), (album,), SLOTS, Path("unused"))


@pytest.mark.parametrize(
    ("depth", "said"),
    [
        (99, "freeze_depth=99: tiny_resnet has 5 stages"),
        (IntRange(0, 6), "freeze_depth=6: tiny_resnet has 5 stages"),
        (Choices((0, 8)), "freeze_depth=8: tiny_resnet has 5 stages"),
        (5, None),
        (IntRange(0, 5), None),
        (0, None),
    ],
)
def test_freeze_depths_that_a_backbone_does_not_have_are_refused_from_its_name_alone(
    depth: Domain | Value, said: str | None
) -> None:
    asked = study(backbones=("tiny_resnet",), settings={"freeze_depth": depth})
    if said is None:
        check_depths(asked)
        return
    with pytest.raises(ConfigError) as caught:
        check_depths(asked)
    assert said in str(caught.value)


def test_all_misspelt_backbones_are_named_at_once() -> None:
    check_names(study())
    with pytest.raises(ConfigError) as caught:
        check_names(study(backbones=("tiny_resnt", "plain_cnn", "tiny_vitt")))
    assert len(caught.value.problems) == 2
    assert "tiny_resnet" in caught.value.problems[0] and "tiny_vit" in caught.value.problems[1]


def test_albums_are_the_same_pictures_under_each_split(tmp_path: Path) -> None:
    data = str(write_classes(tmp_path / "pictures", {"a": 20, "b": 20}))
    albums = open_albums(study(data=data, splits=3, seed=5), tmp_path)
    assert [album.split_index for album in albums] == [0, 1, 2] and {album.seed for album in albums} == {5}
    assert len({album.fingerprint for album in albums}) == 3
    assert len({tuple(row.path for row in album.used) for album in albums}) == 1


def test_each_backbone_has_its_recipes_inside_its_space(album: Album) -> None:
    plan = planned(album, trials=3, weights="none", seed=4, epochs=2)
    assert plan.trial_count == 6 and plan.album is album
    for part in plan.backbones:
        assert plan.of(part.backbone) is part
        assert (part.default.backbone, part.default.epochs, part.default.seed) == (part.backbone, 2, 4)
        assert part.default.image_size == 16 and part.facts.image_size == 16
        assert part.probe.freeze_depth == part.stage_count == len(part.facts.frozen_fractions) - 1
        assert part.space.contains(part.default.values())
        assert "precision" not in part.space.domains


def test_settings_fix_a_field_and_give_another_domain(album: Album) -> None:
    settings = {"precision": "fp32", "lr": 0.004, "batch_size": 16, "augment": "medium", "dropout": Uniform(0.0, 0.5)}
    part = planned(album, settings=settings).backbones[0]
    assert (part.default.lr, part.default.batch_size, part.default.augment) == (0.004, 16, "medium")
    assert not {"lr", "batch_size", "augment", "precision"} & part.space.domains.keys()
    assert part.space.domains["dropout"] == Uniform(0.0, 0.5)
    free = planned(album).backbones[0]
    assert {"lr", "augment"} <= free.space.domains.keys() and "dropout" not in free.space.domains
    # a probe is a linear head on a frozen backbone and the pictures as they are, at a rate of its own
    assert part.probe == replace(free.probe, batch_size=16)


@pytest.mark.parametrize(
    "settings",
    [{"freeze_depth": 1}, {"head": "mlp:8"}, {"attention": "se:8"}, {"mixup": 0.2}, {"cutmix": 0.5}, {"views": 2}],
)
def test_no_setting_makes_a_probe_another_thing(album: Album, settings: dict[str, Any]) -> None:
    backbones = ("plain_cnn",)
    part = planned(album, settings={"precision": "fp32", **settings}, backbones=backbones).backbones[0]
    assert part.default.values() == {**planned(album, backbones=backbones).backbones[0].default.values(), **settings}
    assert part.probe == planned(album, backbones=backbones).backbones[0].probe


def test_the_problems_of_all_backbones_are_reported_at_once(album: Album) -> None:
    settings = {"precision": "fp32", "eval_resize": 12, "image_size": 14}
    with pytest.raises(ConfigError) as caught:
        planned(album, settings=settings)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["plain_cnn", "tiny_resnet"]


def test_a_problem_of_all_backbones_is_reported_once(album: Album) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(album, settings={"precision": "fp32", "batch_size": 0})
    (problem,) = caught.value.problems
    assert "batch_size=0" in problem


def test_a_domain_that_does_not_go_with_the_recipe_is_refused(album: Album) -> None:
    with pytest.raises(ConfigError, match="warmup_epochs"):
        planned(album, settings={"precision": "fp32", "warmup_epochs": Choices((0.5, 50.0))}, epochs=3)


def test_cells_of_a_design_that_cannot_be_run_are_named_before_anything_starts(album: Album) -> None:
    design = {"depth": {"own": {}, "far": {"freeze_depth": 99}}, "rate": {"own": {}, "wrong": {"lr": -1.0}}}
    with pytest.raises(ConfigError) as caught:
        planned(album, backbones=("plain_cnn",), design=design)
    said = "\n".join(caught.value.problems)
    assert "design, own + wrong: lr=-1" in said and "design, far + own: freeze_depth=99: plain_cnn has" in said
    assert planned(album, backbones=("plain_cnn",), design={"rate": {"own": {}, "low": {"lr": 0.01}}}).study.design


def test_cells_of_a_design_that_are_the_same_run_are_refused(album: Album) -> None:
    lr = planned(album, backbones=("plain_cnn",)).backbones[0].default.lr
    design = {"rate": {"own": {}, "low": {"lr": lr}, "high": {"lr": 2 * lr}}}
    with pytest.raises(ConfigError) as caught:
        planned(album, backbones=("plain_cnn",), design=design)
    assert caught.value.problems == ("design, low: the same recipe as own, with plain_cnn; leave one of the two out",)


def test_missing_weights_are_named(album: Album, tmp_path: Path) -> None:
    with pytest.raises((MachineError, ConfigError)) as caught:
        planned(album, weights=str(tmp_path))
    assert "plain_cnn" in str(caught.value) and "tiny_resnet" in str(caught.value)


def test_the_number_format_is_settled_by_measuring_on_processors(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    part = planned(album, settings={}, backbones=("plain_cnn",)).backbones[0]
    assert part.default.precision in ("fp32", "bf16") and part.probe.precision == part.default.precision
    measured: list[tuple[int, int]] = []

    def faster(make: object, size: int) -> str:
        measured.append((size, torch.get_num_threads()))
        return "bf16"

    monkeypatch.setattr(plan_module, "faster_precision", faster)
    before = torch.get_num_threads()
    given = study(settings={}, backbones=("plain_cnn",))
    slots = replace(SLOTS, cpus_per_worker=2)
    assert make_plan(given, (album,), slots, Path("unused")).backbones[0].default.precision == "bf16"
    assert measured == [(16, 2)] and torch.get_num_threads() == before
    on_gpu = replace(SLOTS, use_gpu=True)
    assert make_plan(given, (album,), on_gpu, Path("unused")).backbones[0].default.precision == "auto"
    known = {"plain_cnn": "fp32", "tiny_vit": "bf16"}  # a study that goes on measures nothing again
    assert make_plan(given, (album,), slots, Path("unused"), known).backbones[0].default.precision == "fp32"
    assert len(measured) == 1


def test_the_bytes_of_decoded_pictures_are_told_before_they_are_written(album: Album, tmp_path: Path) -> None:
    settings = {"precision": "fp32", "eval_resize": 24}
    plans = [replace(planned(album, **values), cache=tmp_path / name) for name, values in (
        ("one", {"settings": settings}),
        ("two", {"image_size": None}),
    )]  # fmt: skip
    for plan in plans:
        sizes = {part.default.eval_resize for part in plan.backbones}
        assert build_stores(plan) > 0
        stores = list(plan.cache.iterdir())
        assert len(stores) == len(sizes)
        assert stored_bytes(plan) == sum(os.path.getsize(store / PIXELS) for store in stores)  # noqa: PTH202


def test_a_search_starts_with_default_probe_and_head_and_without_weights_leaves_the_head_out() -> None:
    part = make_part("tiny_resnet")
    pretrained = replace(part, default=replace(part.default, weights="pretrained"))
    assert [role for role, _ in pretrained.starts] == ["default", "probe", "head"]
    scratch = replace(part, default=replace(part.default, weights="none"))
    assert [role for role, _ in scratch.starts] == ["default", "probe"]


def test_a_backbone_that_cannot_win_for_its_size_is_refused(album: Album) -> None:
    plan = planned(album)
    sizes = {part.backbone: 4 * part.facts.parameters / 1e6 for part in plan.backbones}
    small, large = sorted(sizes, key=lambda name: sizes[name])
    check_sizes(plan)
    check_sizes(replace(plan, study=replace(plan.study, max_size_mb=sizes[large])))
    with pytest.raises(ConfigError) as caught:
        check_sizes(replace(plan, study=replace(plan.study, max_size_mb=(sizes[small] + sizes[large]) / 2)))
    (problem,) = caught.value.problems
    assert problem.startswith(f"{large}: {sizes[large]:.4g} MB by its ") and "max_size_mb=" in problem
    assert "--backbones" in problem and "--max-size-mb" in problem
