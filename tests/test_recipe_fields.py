"""Every field of a recipe is read, and does something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytl.data.album import open_album
from raytl.data.store import FitData
from raytl.on_ray.job import Job, Workplace
from raytl.on_ray.work import work
from raytl.recipe import FIELD_NAMES, Recipe
from raytl.train.world import World
from tests.pictures import write_classes
from tests.plans import make_workplace
from tests.tiny import fitted, tiny_data, tiny_recipe

SEEN: set[str] = set()


class Watched(Recipe):
    """A recipe that notes in `SEEN` which of its attributes are read."""

    def __getattribute__(self, name: str) -> Any:
        SEEN.add(name.removeprefix("parsed_"))
        return super().__getattribute__(name)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Pictures in files, read as a worker reads them."""
    root = tmp_path_factory.mktemp("files")
    albums = (open_album(write_classes(root / "pictures", {"a": 8, "b": 8}), workers=1),)
    return make_workplace(albums, root)


def test_every_field_of_a_recipe_is_read(workplace: Workplace) -> None:
    recipe = Watched(**(tiny_recipe(unfreeze_epoch=2, early_stop="patience:1,0.0").values()))  # type: ignore[arg-type]
    SEEN.clear()
    reports = work(Job("t", "search", "searcher", recipe), workplace, World())
    next(reports)
    assert set(FIELD_NAMES) - SEEN == {"unfreeze_lr_scale"}, "nothing has been unfrozen yet"
    assert len(list(reports)) == 1
    assert set(FIELD_NAMES) - SEEN == set()
    assert "values" not in SEEN, "reading all fields at once would make this test say nothing"


# For each field: values that both runs share, and the two values that must lead to different runs.
CHANGES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "backbone": ({}, "plain_cnn", "tiny_vit"),
    "weights": ({"backbone": "tiny_vit"}, "none", "pretrained"),
    "image_size": ({}, 16, 20),
    "normalize": ({}, "imagenet", "half"),
    "pool": ({}, "avg", "flatten"),
    "freeze_depth": ({}, 1, 2),
    "unfreeze_epoch": ({"freeze_depth": 3}, None, 2),
    "unfreeze_lr_scale": ({"freeze_depth": 3, "unfreeze_epoch": 2}, 0.1, 0.5),
    "head_epochs": ({}, 0, 2),
    "head": ({}, "linear", "mlp:8"),
    "dropout": ({}, 0.0, 0.5),
    "attention": ({}, "none", "se:8"),
    "aux_loss_weight": ({"backbone": "googlenet", "image_size": 64, "eval_resize": 64, "batch_size": 2}, 0.1, 0.5),
    "optimizer": ({}, "sgd", "rmsprop"),
    "lr": ({}, 0.05, 0.01),
    "head_lr_scale": ({}, 1.0, 2.0),
    "layer_decay": ({}, 1.0, 0.5),
    "weight_decay": ({}, 0.0, 0.1),
    "momentum": ({}, 0.0, 0.9),
    "clip_norm": ({}, None, 0.01),
    "ema_decay": ({}, 0.0, 0.9),
    "schedule": ({}, "cosine", "onecycle"),
    "warmup_epochs": ({}, 0.0, 1.0),
    "epochs": ({}, 2, 3),
    "early_stop": ({"epochs": 4, "lr": 1e-9}, "none", "patience:1,0.1"),
    "batch_size": ({}, 8, 11),
    "precision": ({}, "fp32", "bf16"),
    "loss": ({}, "cross_entropy", "focal"),
    "label_smoothing": ({}, 0.0, 0.1),
    "focal_gamma": ({"loss": "focal"}, 1.0, 2.0),
    "class_weights": ({}, "none", "balanced"),
    "sampler": ({}, "uniform", "balanced"),
    "augment": ({}, "none", "light"),
    "mixup": ({}, 0.0, 0.4),
    "cutmix": ({}, 0.0, 1.0),
    "views": ({}, 0, 1),
    "seed": ({}, 0, 1),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_field_changes_the_run(field: str, data: FitData, tmp_path: Path) -> None:
    shared, one, other = CHANGES[field]
    if field == "aux_loss_weight":
        data = tiny_data(tmp_path, sizes=(4, 2, 2))
    first, again, second = (fitted(tiny_recipe(**shared, **{field: value}), data) for value in (one, one, other))
    assert first == again
    assert first != second


def test_eval_resize_changes_the_pictures_of_a_run(workplace: Workplace) -> None:
    losses = []
    for resize in (16, 24, 24):
        job = Job(f"{resize}", "search", "searcher", tiny_recipe(eval_resize=resize))
        losses.append([report.row.val_loss for report in work(job, workplace, World()) if report.row])
    assert losses[0] != losses[1] == losses[2]
    assert {path.name.split("-")[1] for path in workplace.cache.iterdir()} >= {"16", "24"}


def test_all_fields_are_tried() -> None:
    assert {*CHANGES, "eval_resize"} == set(FIELD_NAMES)


def test_a_field_that_another_choice_leaves_out_changes_nothing(data: FitData) -> None:
    assert fitted(tiny_recipe(focal_gamma=1.0), data) == fitted(tiny_recipe(focal_gamma=2.0), data)
    assert fitted(tiny_recipe(optimizer="adamw", momentum=0.0), data) == fitted(tiny_recipe(optimizer="adamw"), data)
