"""Distillation against its formula written out in float64, against training on labels alone, and on tiny pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from raytl.data.store import FitData
from raytl.train.cache import PrefixCache
from raytl.train.distillation import TaughtLoss, Teaching
from raytl.train.final import read_test_set
from raytl.train.loop import Run
from raytl.train.losses import log_probabilities, make_loss, soft_labels
from raytl.train.world import World
from tests.tiny import ACCURACY, figures, fitted, tiny_data, tiny_recipe

torch.set_num_threads(1)
COUNTS = [9, 4, 2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


def teacher_of(rows: int, classes: int) -> Tensor:
    generator = torch.Generator().manual_seed(rows)
    return (2 * torch.randn(rows, classes, dtype=torch.float64, generator=generator)).softmax(-1)


def softened(probabilities: Sequence[float], temperature: float) -> list[float]:
    powers = [each ** (1 / temperature) for each in probabilities]
    return [power / sum(powers) for power in powers]


def missed_by_hand(taught: Sequence[float], said: Sequence[float], temperature: float) -> float:
    p, q = softened(taught, temperature), softened(said, temperature)
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize(
    ("name", "classes", "logit_count", "weighting"),
    [("cross_entropy", 3, 3, "balanced"), ("focal", 3, 3, "none"), ("bce", 3, 3, "effective"), ("bce", 2, 1, "none")],
)
def test_it_is_the_formula(name: str, classes: int, logit_count: int, weighting: str, temperature: float) -> None:
    recipe = tiny_recipe(loss=name, class_weights=weighting, label_smoothing=0.1)
    own, taught, rows = make_loss(recipe, COUNTS[:classes]), teacher_of(7, classes), np.array([4, 0, 6, 0, 1])
    logits = teacher_of(50, logit_count)[:5].log() if logit_count > 1 else teacher_of(50, 2)[:5].logit()[:, :1]
    labels = torch.tensor([0, 1, classes - 1, 1, 0])
    targets = Teaching(taught, temperature, 0.3).beside(soft_labels(labels, classes).double(), rows)
    sums = TaughtLoss(own, temperature, 0.3).sums(logits, targets)
    label_part = own.sums(logits, soft_labels(labels, classes))
    weights = [1.0 if own.class_weights is None else float(own.class_weights[label]) for label in labels]
    said = log_probabilities(logits, name).exp().tolist()
    missed = [missed_by_hand(taught[row].tolist(), said[place], temperature) for place, row in enumerate(rows)]
    by_hand = 0.7 * float(label_part.total) + 0.3 * sum(a * b for a, b in zip(weights, missed, strict=True))
    assert float(sums.total) == pytest.approx(by_hand, rel=1e-9)
    assert float(sums.weight) == pytest.approx(sum(weights))


def test_a_student_that_says_what_its_teacher_says_misses_nothing() -> None:
    taught = teacher_of(6, 3)
    logits = (taught.log() + 5).requires_grad_()
    targets = Teaching(taught, 4.0, 1.0).beside(soft_labels(torch.zeros(6, dtype=torch.long), 3).double(), np.arange(6))
    total = TaughtLoss(make_loss(tiny_recipe(), COUNTS), 4.0, 1.0).sums(logits, targets).total
    (slope,) = torch.autograd.grad(total, logits)
    assert float(total.detach()) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-12, rtol=0)


def test_a_probability_of_nothing_is_a_finite_loss() -> None:
    targets = Teaching(torch.tensor([[1.0, 0.0, 0.0]]), 1.0, 0.9).beside(
        soft_labels(torch.tensor([0]), 3), np.array([0])
    )
    sums = TaughtLoss(make_loss(tiny_recipe(), COUNTS), 1.0, 0.9).sums(torch.zeros(1, 3), targets)
    assert math.isfinite(float(sums.total))


@pytest.mark.parametrize(("temperature", "weight", "shape"), [(0.0, 0.5, (4, 3)), (1.0, 1.1, (4, 3)), (1.0, 0.5, (4,))])
def test_what_no_teaching_can_be_is_refused(temperature: float, weight: float, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Teaching(torch.ones(shape), temperature, weight)


def taught_run(data: FitData, teaching: Teaching, **values: object) -> Run:
    return Run(tiny_recipe(**values), data, World(), metric=ACCURACY, trial_id="t", teaching=teaching)


@pytest.mark.parametrize("values", [{}, {"mixup": 0.4, "class_weights": "balanced", "unfreeze_epoch": 2}])
def test_without_weight_it_is_training_on_labels_alone(data: FitData, values: dict[str, object]) -> None:
    teaching = Teaching(teacher_of(len(data.train), 3), weight=0.0)
    values = {**values, "freeze_depth": 1} if "unfreeze_epoch" in values else values
    assert figures(taught_run(data, teaching, **values).epochs()) == fitted(tiny_recipe(**values), data)


@pytest.mark.parametrize("values", [{}, {"augment": "crop+flip", "views": 2, "head": "mlp:8"}])
def test_a_head_alone_hears_a_teacher_over_stored_features(
    data: FitData, tmp_path: Path, values: dict[str, object]
) -> None:
    """Heads alone train as an array, which knows no teacher: one that has a teacher takes the steps of other runs."""
    recipe = tiny_recipe(backbone="tiny_resnet", weights="pretrained", lr=0.01, freeze_depth=5, epochs=3, **values)
    cache = PrefixCache(tmp_path / "prefixes", 50_000_000, sharers=100)
    taught = teacher_of(len(data.train), 3)

    def losses(weight: float | None) -> list[tuple[float, float]]:
        teaching = None if weight is None else Teaching(taught, weight=weight)
        run = Run(recipe, data, World(), metric=ACCURACY, trial_id="t", cache=cache, teaching=teaching)
        return [(row.train_loss, row.val_loss) for row in run.epochs()]

    alone = np.array(losses(None))
    np.testing.assert_allclose(losses(0.0), alone, rtol=1e-5)
    assert np.abs(np.array(losses(0.9)) - alone).max() > 0.01
    assert any((tmp_path / "prefixes").iterdir())


def test_a_teacher_is_heard(data: FitData) -> None:
    teaching = Teaching(teacher_of(len(data.train), 3))
    assert figures(taught_run(data, teaching).epochs()) != fitted(tiny_recipe(), data)


@pytest.mark.parametrize(("depth", "lr"), [(0, 0.02), (3, 0.3)])
def test_a_student_learns_the_classes_of_a_perfect_teacher(tmp_path: Path, depth: int, lr: float) -> None:
    """Its own labels are all of class 0: what it knows of the others it has from its teacher, by a head alone, too."""
    true = tiny_data(tmp_path, (60, 30, 30))
    lying = replace(true, train=replace(true.train, labels=torch.zeros_like(true.train.labels)))
    recipe = tiny_recipe(epochs=5, lr=lr, batch_size=4, freeze_depth=depth)
    teaching = Teaching(0.98 * soft_labels(true.train.labels, 3) + 0.01, weight=1.0)
    run, alone = (
        Run(recipe, lying, World(), metric=ACCURACY, trial_id="t", teaching=each) for each in (teaching, None)
    )
    rows = list(run.epochs())
    list(alone.epochs())
    assert rows[-1].train_loss < 0.8 * rows[0].train_loss
    assert read_test_set(run).accuracy > 0.7 and read_test_set(alone).accuracy < 0.6
