"""The mistakes of an earlier comparison of six backbones, made again on purpose: each is caught and named.

Its trials shared one model object, the first of them at a rate of 0.05; running figures were never set back between
epochs; one search space served all backbones; nothing saw whether pretrained weights were in use, whether gradients
flowed, or that three of six models gave every picture the largest class.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from raytl.data.store import FitData
from raytl.errors import MachineError
from raytl.experiment_file import load_study_file
from raytl.family import default_space
from raytl.models.classifier import Classifier, build_classifier
from raytl.recipe import Recipe
from raytl.train import loop
from raytl.train.guards import NoGradientError, SharedModelError
from tests.tiny import start, tiny_data, tiny_recipe

STUDY = Path(__file__).parents[1] / "experiments" / "flowers_backbones.py"
FIRST = {"optimizer": "adam", "lr": 0.05, "head_lr_scale": 1.0, "weight_decay": 0.0, "schedule": "constant"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"), sizes=(64, 24, 24))


def pretrained(**values: object) -> Recipe:
    """A carried backbone with its weights, all stages trained."""
    return tiny_recipe(backbone="tiny_resnet", weights="pretrained", **values)


@pytest.fixture
def shared_model(data: FitData, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """Every run gets the same object, as every trial of that search did."""
    model = build_classifier(pretrained(), len(data.classes))
    monkeypatch.setattr(loop, "build_classifier", lambda recipe, classes: model)
    return model


def test_a_model_that_two_trials_share_is_named_with_the_trial_that_spoilt_it(
    data: FitData, shared_model: Classifier
) -> None:
    first = start(pretrained(**FIRST), data, trial_id="rate-0.05")
    list(first.epochs())
    with pytest.raises(SharedModelError, match=r"trial rate-1e-4 was given .*, which trial rate-0\.05 has trained"):
        start(pretrained(lr=1e-4), data, trial_id="rate-1e-4")


def test_what_the_guard_prevents_is_real(data: FitData, shared_model: Classifier) -> None:
    fresh = {name: value.clone() for name, value in shared_model.state_dict().items()}
    list(start(pretrained(**FIRST), data, trial_id="rate-0.05").epochs())
    spoilt = max((value - fresh[name]).abs().max().item() for name, value in shared_model.state_dict().items())
    assert spoilt > 0.1, "one trial at this rate leaves nothing of the weights that the next one begins with"


def test_a_model_that_knows_one_class_only_is_named(data: FitData) -> None:
    run = start(pretrained(**{**FIRST, "lr": 50.0}), data)
    rows = list(run.epochs())
    largest = torch.bincount(data.val.labels).max().item() / len(data.val)
    assert rows[-1].val_accuracy <= largest
    [finding] = [note for note in run.notes if "validation pictures were predicted as class" in note]
    assert re.search(r"all 24 .* the model has learned nothing from the pictures; lower lr", finding)


def test_the_rate_that_did_it_is_in_no_familys_space() -> None:
    study = load_study_file(STUDY)
    spaces = {name: default_space(name, 5, (300,) * 5).domains["lr"] for name in study.backbones}
    assert not [name for name, domain in spaces.items() if domain.contains(0.05)]
    assert len({str(domain) for domain in spaces.values()}) > 1, "one space does not serve all backbones"
    published = load_study_file(STUDY, "AS_PUBLISHED")
    assert published.settings["lr"].contains(0.05)  # type: ignore[union-attr]  # it is a domain


def test_figures_begin_anew_with_every_epoch(data: FitData) -> None:
    recipe = tiny_recipe(lr=1e-9, weight_decay=0.0, augment="none", epochs=3)  # nothing changes but what is counted
    rows = list(start(recipe, data).epochs())
    assert [row.train_loss for row in rows] == pytest.approx([rows[0].train_loss] * 3, abs=1e-5)
    assert all(0 <= (row.train_accuracy or 0) <= 1 for row in rows)


def test_weights_that_are_not_in_use_are_named(data: FitData, tmp_path: Path) -> None:
    model = build_classifier(pretrained(), len(data.classes))
    held = {name: value for name, value in model.backbone.net.state_dict().items() if "layer4" not in name}
    save_file(held, tmp_path / f"{model.backbone.name}.safetensors")
    with pytest.raises(MachineError, match=r"% of its weights are in .*, at least 95% must be"):
        start(tiny_recipe(backbone="tiny_resnet", weights=str(tmp_path)), data)


def test_stages_that_no_gradient_reaches_are_named(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_classifier(pretrained(), len(data.classes))
    monkeypatch.setattr(model.backbone, "to_map", lambda features: features.detach())
    monkeypatch.setattr(loop, "build_classifier", lambda recipe, classes: model)
    with pytest.raises(NoGradientError, match=r"no gradient reaches any of its \d+ trainable parameters"):
        list(start(pretrained(lr=1e-4), data).epochs())
