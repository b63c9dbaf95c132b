"""A finished study of tiny final models, trained for a moment in this process and recorded as a study records them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from raytl.data.album import open_album
from raytl.data.store import build_store, open_data
from raytl.identity import recipe_hash, trial_id
from raytl.metric import METRICS
from raytl.on_ray import publication
from raytl.on_ray.confirm import record_test
from raytl.on_ray.plan import Plan
from raytl.recipe import Recipe
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Ending, Recorder
from raytl.study import Study, study_of_values
from raytl.train.checkpoint import save_snapshot
from raytl.train.final import read_test_set
from raytl.use.finals import Drawn
from tests import rows
from tests.pictures import noise
from tests.tiny import start, tiny_recipe

PICTURES = 40
TINTS = {"a": (230, 60, 60), "b": (60, 230, 60), "c": (60, 60, 230)}
# By role: one size and normalization each, so that an ensemble has to respect them.
RECIPES = {
    "best": tiny_recipe(epochs=4, lr=0.1),
    "head": tiny_recipe(epochs=4, lr=0.1, eval_resize=30, image_size=24, normalize="half"),
    "probe": tiny_recipe(epochs=4, lr=0.1, eval_resize=24, loss="bce"),
}


@dataclass(frozen=True)
class Wish:
    """The roles, how many seeds of each, and whether checkpoints of all are kept, or of the saved one alone."""

    roles: tuple[str, ...] = tuple(RECIPES)
    seeds: int = 1
    keep: bool = True
    metric: str = "val_accuracy"


def write_finished(root: Path, wish: Wish = Wish()) -> StudyFolder:
    """Trains, tests and publishes final models on noisy pictures of three classes; the chosen one is saved."""
    pictures = write_tinted(root / "pictures")
    folder = StudyFolder(root / "study")
    folder.create()
    study = Study(
        name="study",
        data=str(pictures),
        backbones=("plain_cnn",),
        weights="none",
        metric=wish.metric,
        keep_finals=wish.keep,
    )
    plan = _plan(study, root / "cache")
    folder.write_study({"spec": study.values(), "classes": list(plan.album.classes), "backbones": {}})
    recipes = [(role, replace(RECIPES[role], seed=seed)) for role in wish.roles for seed in range(wish.seeds)]
    with closing(Recorder(folder, METRICS[wish.metric])) as recorder:
        recorder.pictures(plan.album.pictures)
        for role, recipe in recipes:
            _train(plan, recorder, folder, role, recipe, root / "cache")
        _publish(plan, recorder, folder)
    return folder


def write_tinted(root: Path) -> Path:
    """Noise under a weak tint for each class: what three models get wrong differs."""
    for place, (name, tint) in enumerate(TINTS.items()):
        (root / name).mkdir(parents=True)
        for index in range(PICTURES):
            picture = noise(PICTURES * place + index, 40 + index % 7)
            tinted = Image.blend(picture, Image.new("RGB", picture.size, tint), 0.2 * (index % 4))
            tinted.save(root / name / f"{index:03d}.png")
    return root


def _train(plan: Plan, recorder: Recorder, folder: StudyFolder, role: str, recipe: Recipe, cache: Path) -> None:
    data = open_data(plan.album, build_store(plan.album, recipe.eval_resize, cache))
    name = trial_id(recipe, plan.album.fingerprint, "confirm")
    run = start(recipe, data, trial_id=name)
    trial = rows.trial_row(
        study="study",
        trial_id=name,
        recipe_hash=recipe_hash(recipe, plan.album.fingerprint),
        stage="confirm",
        backbone=recipe.backbone,
        freeze_depth=recipe.freeze_depth,
        parameters=sum(value.numel() for value in run.model.parameters()),
        origin=role,
        recipe=recipe,
    )
    recorder.start(trial)
    for row in run.epochs():
        recorder.epoch(row)
        save_snapshot(folder.checkpoints / name, run.snapshot())
    ended = recorder.end(name, Ending("completed"))
    report: Any = SimpleNamespace(test=read_test_set(run))
    record_test(plan, recorder, ended, report)


def publish_again(folder: StudyFolder, cache: Path) -> None:
    """What a study does at its end when it is gone on with."""
    spec = folder.read_study()["spec"]
    assert isinstance(spec, dict)
    study = study_of_values(spec)
    with closing(Recorder(folder, METRICS[study.metric])) as recorder:
        _publish(_plan(study, cache), recorder, folder)


def _plan(study: Study, cache: Path) -> Plan:
    album, parts = open_album(Path(study.data)), tuple(SimpleNamespace(backbone=name) for name in study.backbones)
    return cast(Plan, SimpleNamespace(album=album, albums=(album,), study=study, cache=cache, backbones=parts))


def _publish(plan: Plan, recorder: Recorder, folder: StudyFolder) -> None:
    """As a study does, but for what it draws."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publication, "save_heat", lambda *_: b"")
        patch.setattr(publication, "draw_final", lambda *_: Drawn({}, ()))
        publication.publish(plan, recorder, folder)
