"""A study is made concrete: its pictures are found, its recipes settled, and all that is wrong is said at once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from raytl.data.album import Album
from raytl.data.samples import sample_names
from raytl.data.store import PIXELS
from raytl.errors import ConfigError, DataError, MachineError
from raytl.on_ray import plan as plan_module
from raytl.on_ray.cluster import Slots
from raytl.on_ray.plan import (
    Plan,
    build_stores,
    cache_folder,
    check_names,
    locate,
    make_plan,
    open_albums,
    stored_bytes,
)
from raytl.space import Choices, Uniform
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


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYTL_CACHE", "here")
    assert cache_folder() == Path("here")
    monkeypatch.delenv("RAYTL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "there")
    assert cache_folder() == Path("there/raytl")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "raytl"


def test_a_path_is_its_own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert locate("digits", tmp_path / "cache") == tmp_path / "digits"  # a folder goes before a sample of its name
    assert not (tmp_path / "cache").exists()


def write_little(name: str, folder: Path) -> Path:
    return write_classes(folder, {name: 2})


def test_a_sample_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[str] = []

    def counted(name: str, folder: Path) -> Path:
        written.append(name)
        return write_little(name, folder)

    monkeypatch.setattr(plan_module, "write_sample", counted)
    for _ in range(2):
        folder = locate("digits", tmp_path / "cache")
        assert sorted(path.name for path in (folder / "digits").iterdir()) == ["000.png", "001.png"]
    assert written == ["digits"]
    assert [path.name for path in folder.parent.iterdir()] == ["digits"]


def test_a_sample_that_was_cut_short_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def killed(name: str, folder: Path) -> Path:
        write_little(name, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(plan_module, "write_sample", killed)
    with pytest.raises(KeyboardInterrupt):
        locate("digits", tmp_path / "cache")
    monkeypatch.setattr(plan_module, "write_sample", write_little)
    assert len(list(locate("digits", tmp_path / "cache").rglob("*.png"))) == 2


def test_of_two_processes_that_write_a_sample_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "cache" / "samples" / "digits"

    def slow(name: str, folder: Path) -> Path:
        write_classes(target, {"first": 1})
        return write_little(name, folder)

    monkeypatch.setattr(plan_module, "write_sample", slow)
    assert locate("digits", tmp_path / "cache") == target
    assert [path.name for path in target.iterdir()] == ["first"] and len(list(target.parent.iterdir())) == 1


def test_a_misspelt_sample_offers_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        locate("drawn-flower", tmp_path)
    text = str(caught.value)
    assert "'drawn-flower'" in text and "did you mean 'drawn-flowers'" in text
    assert all(name in text for name in sample_names()) and "CSV" in text


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


def test_missing_weights_are_named(album: Album, tmp_path: Path) -> None:
    with pytest.raises((MachineError, ConfigError)) as caught:
        planned(album, weights=str(tmp_path))
    assert "plain_cnn" in str(caught.value) and "tiny_resnet" in str(caught.value)


def test_the_number_format_is_settled_by_measuring_on_processors(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    part = planned(album, settings={}, backbones=("plain_cnn",)).backbones[0]
    assert part.default.precision in ("fp32", "bf16") and part.probe.precision == part.default.precision
    measured: list[tuple[int, int]] = []

    def faster(make: object, batch: int, size: int, device: torch.device) -> str:
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
