"""One step of a learner, against gradients taken by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from raytl.data.store import FitData
from raytl.data.views import train_batch
from raytl.models.classifier import Classifier
from raytl.train.guards import NoGradientError
from raytl.train.learner import trained_state
from raytl.train.loop import Run
from raytl.train.metrics import Counts
from raytl.train.world import World
from tests.tiny import learner, start, tiny_data, tiny_recipe, view_of, weights_of

STILL = {"lr": 1e-9, "weight_decay": 0.0, "augment": "none", "schedule": "constant"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


def steps(run: Run, *shares: list[int]) -> Counts:
    """One epoch of the given batches."""
    return learner(run).train_epoch(1, [np.array(share, dtype=np.int64) for share in shares], run.course.schedule)


def pictures(run: Run, data: FitData, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """What a learner sees of the training pictures in its first epoch."""
    x = train_batch(data.train, np.array(rows), view_of(run), run.recipe.seed, 1)
    return x, data.train.labels[torch.tensor(rows)]


def gradients(model: Classifier) -> dict[str, torch.Tensor]:
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def by_hand(model: Classifier, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradients of `loss`, taken before the step that is compared with them."""
    loss.backward()
    found = gradients(model)
    model.zero_grad(set_to_none=True)
    return found


def assert_gradients(model: Classifier, expected: dict[str, torch.Tensor], scale: float = 1.0) -> None:
    """The model's gradients are the expected ones, times `scale`."""
    found = gradients(model)
    assert found.keys() == expected.keys() and found
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name] * scale, rtol=1e-4, atol=1e-6)


def test_a_steps_gradient_is_that_of_the_weighted_mean_loss(data: FitData) -> None:
    run = start(tiny_recipe(**STILL, class_weights="balanced", label_smoothing=0.1), data)
    rows = [3, 1, 4, 15, 9]
    x, labels = pictures(run, data, rows)
    frequency = torch.bincount(data.train.labels)
    weights = len(data.train) / (3 * frequency.float())
    loss = functional.cross_entropy(run.model(x), labels, weight=weights, label_smoothing=0.1, reduction="mean")
    expected = by_hand(run.model, loss)
    counts = steps(run, rows)
    assert counts.mean_loss == pytest.approx(loss.item(), abs=1e-6)
    assert float(counts.weight) == pytest.approx(weights[labels].sum().item())
    assert counts.count == 5
    assert_gradients(run.model, expected)


def test_auxiliary_losses_are_added_by_their_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_data(tmp_path, sizes=(4, 2, 2))
    values = {"backbone": "googlenet", "image_size": 64, "eval_resize": 64}
    run = start(tiny_recipe(**STILL, **values, aux_loss_weight=0.3), data)
    run.model.eval()  # and so it stays: dropout and batch statistics would differ between the two passes
    monkeypatch.setattr(Classifier, "train", lambda self, mode=True: self)
    x, labels = pictures(run, data, [0, 1, 2, 3])
    logits, auxiliary = run.model.suffix_with_auxiliary(x, 0)
    assert len(auxiliary) == 2
    main, *others = (functional.cross_entropy(each, labels) for each in (logits, *auxiliary))
    expected = by_hand(run.model, main + 0.3 * sum(others))
    counts = steps(run, [0, 1, 2, 3])
    assert counts.mean_loss == pytest.approx(main.item(), abs=1e-5), "the rows' loss is the main head's"
    assert_gradients(run.model, expected)


def test_gradients_are_clipped_to_the_given_norm(data: FitData) -> None:
    run = start(tiny_recipe(**STILL, clip_norm=0.01), data)
    x, labels = pictures(run, data, [0, 1, 2])
    expected = by_hand(run.model, functional.cross_entropy(run.model(x), labels))
    norm = torch.cat([value.flatten() for value in expected.values()]).norm().item()
    assert norm > 0.02
    steps(run, [0, 1, 2])
    assert_gradients(run.model, expected, scale=0.01 / norm)


@pytest.mark.parametrize("values", [{}, {"mixup": 0.4}, {"class_weights": "balanced"}])
def test_a_batch_of_one_picture_counts_once_though_batch_norm_needs_two(values: dict[str, Any], data: FitData) -> None:
    run = start(tiny_recipe(backbone="tiny_resnet", image_size=16, **values), data)
    counts = steps(run, [0, 1, 2, 3], [4])
    assert counts.count == 5
    assert all(value.isfinite().all() for value in run.model.state_dict().values())


def test_rates_are_those_of_the_schedule(data: FitData) -> None:
    run = start(tiny_recipe(lr=0.1, head_lr_scale=3.0, schedule="cosine", epochs=1), data)
    steps(run, [0], [1])
    expected = 0.1 * run.course.schedule.factor(1, 1)
    assert learner(run).lr == pytest.approx(expected)
    rates = {group["name"]: group["lr"] for group in learner(run).optimizer.param_groups}
    assert (rates["block3"], rates["head"]) == pytest.approx((expected, 3 * expected))


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "rmsprop"])
def test_moments_come_back_in_the_layout_of_their_parameters(optimizer: str, data: FitData) -> None:
    """Fused optimizers walk through parameter and moment in storage order and never compare their strides."""
    recipe = tiny_recipe(optimizer=optimizer, lr=1e-3, ema_decay=0.9)
    one, other = start(recipe, data), start(replace(recipe, seed=3), data)
    steps(one, [0, 1, 2, 3])
    saved = {name: value.clone().contiguous() for name, value in learner(one).tensors().items()}
    learner(other).load(saved)
    moments = learner(other).optimizer.state
    assert moments
    for parameter, state in moments.items():
        for value in state.values():
            assert value.ndim == 0 or value.stride() == parameter.stride()
    found = learner(other).tensors()
    assert found.keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in found.items())


def test_a_stage_that_no_gradient_reaches_is_named(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tiny_recipe(), data)
    monkeypatch.setattr(type(run.model.backbone), "pooled", lambda self, x: x.mean((2, 3)).detach())
    with pytest.raises(NoGradientError, match="'block1'") as caught:
        steps(run, [0, 1])
    assert len(caught.value.problems) == 3


def test_the_trained_state_is_what_a_run_may_change(data: FitData) -> None:
    recipe = tiny_recipe(backbone="tiny_resnet", freeze_depth=3, head="mlp:8", attention="se:8", ema_decay=0.5)
    run = start(recipe, data)
    before = weights_of(run.model)
    list(run.epochs())
    changed = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    kept = set(trained_state(run.model, recipe))
    assert changed <= kept
    assert kept - changed == set()
    assert set(trained_state(run.model, replace(recipe, unfreeze_epoch=2))) == set(before)


@pytest.mark.parametrize("parts", [2, 3, 50])
@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(parts: int, clip_norm: float | None, data: FitData) -> None:
    values: dict[str, Any] = {"class_weights": "balanced", "label_smoothing": 0.1, "clip_norm": clip_norm}
    recipe = tiny_recipe(backbone="tiny_vit", augment="none", lr=0.01, **values)  # batch-norm would see parts alone
    runs = [start(recipe, data, world=World(micro_batches=each)) for each in (1, parts)]
    whole, divided = (steps(run, [3, 1, 4, 15, 9], [2, 6, 5], [8]) for run in runs)
    torch.testing.assert_close(divided.loss_total, whole.loss_total, rtol=1e-5, atol=1e-5)
    assert torch.equal(divided.confusion, whole.confusion)
    for one, other in zip(*(run.model.state_dict().values() for run in runs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
