"""The loop: a run against one written by hand, its phases, what it keeps, and what ends it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from raytl.data.store import FitData, PictureSet
from raytl.data.views import train_batch
from raytl.errors import ConfigError
from raytl.metric import METRICS, Figures
from raytl.models.classifier import Classifier, build_classifier
from raytl.recipe import Recipe
from raytl.train.guards import Diverged, SharedModelError
from raytl.train.loop import fit
from raytl.train.sampling import epoch_order
from raytl.train.world import World
from tests.tiny import counted, figures, fitted, learner, start, tiny_data, tiny_recipe, weights_of


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


def by_hand(model: Classifier, recipe: Recipe, data: FitData) -> list[float]:
    """The epochs' training losses by plain PyTorch; only the order of the pictures is taken from the project."""
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=True)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (model.input.mean, model.input.std))
    pictures = torch.stack([torch.from_numpy(data.train.picture(i).copy()) for i in range(len(data.train))])
    x = (pictures.permute(0, 3, 1, 2)[:, :, 2:18, 2:18] / 255 - mean) / std
    losses = []
    for epoch in range(1, recipe.epochs + 1):
        total = 0.0
        order = torch.from_numpy(epoch_order(data.train.labels.numpy(), "uniform", recipe.seed, epoch))
        for batch in order.split(recipe.batch_size):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x[batch]), data.train.labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(order))
    return losses


def test_a_run_is_the_loop_one_would_write_by_hand(data: FitData) -> None:
    recipe = tiny_recipe(augment="none", schedule="constant", weight_decay=0.0, epochs=4)
    run = start(recipe, data)
    expected = by_hand(copy.deepcopy(run.model).train(), recipe, data)
    losses = [row.train_loss for row in run.epochs()]
    assert losses == pytest.approx(expected, abs=1e-6)
    assert losses[-1] < losses[0]


def test_rows_hold_what_was_measured(data: FitData) -> None:
    run = start(tiny_recipe(), data)
    row = list(run.epochs())[-1]
    run.model.eval()
    logits = run.evaluator.logits(run.model, data.val)
    assert row.val_accuracy == pytest.approx((logits.argmax(1) == data.val.labels).double().mean().item())
    assert row.val_loss == pytest.approx(functional.cross_entropy(logits, data.val.labels).item(), rel=1e-6)
    assert row.images_per_second > 0 and row.ended_at > row.started_at and row.trial_id == "t"


def test_fit_yields_the_rows_of_a_run(data: FitData) -> None:
    rows = fit(tiny_recipe(), data, World(), metric=METRICS["val_accuracy"], trial_id="t")
    assert figures(rows) == fitted(tiny_recipe(), data)


def test_frozen_stages_stay_as_they_are_to_the_last_bit(data: FitData) -> None:
    run = start(tiny_recipe(backbone="tiny_resnet", freeze_depth=5, optimizer="adamw", weight_decay=1.0), data)
    before = weights_of(run.model)
    list(run.epochs())
    changed = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.out.weight", "head.out.bias"}


def test_a_rate_of_next_to_nothing_changes_next_to_nothing(data: FitData) -> None:
    run = start(tiny_recipe(lr=1e-9, weight_decay=0.0), data)
    before = weights_of(run.model)
    list(run.epochs())
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6)


def test_at_unfreeze_epoch_all_stages_open_and_every_rate_is_scaled(data: FitData) -> None:
    recipe = tiny_recipe(
        freeze_depth=2, unfreeze_epoch=3, unfreeze_lr_scale=0.5, schedule="constant", epochs=4, head_lr_scale=2.0
    )
    run = start(recipe, data)
    before, epochs = weights_of(run.model), run.epochs()
    rows = [next(epochs), next(epochs)]
    changed = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    outside = {name for name in changed if not name.startswith("backbone.net.block3")}
    assert outside == {"head.out.weight", "head.out.bias"} and outside < changed
    rates = {group["name"]: group["lr"] for group in learner(run).optimizer.param_groups}
    assert rates == {"block3": 0.05, "head": 0.1}
    rows += list(epochs)
    assert [row.lr for row in rows] == [0.05, 0.05, 0.025, 0.025]
    rates = {group["name"]: group["lr"] for group in learner(run).optimizer.param_groups}
    assert rates == {"block1": 0.025, "block2": 0.025, "block3": 0.025, "head": 0.05}
    assert not any(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_early_stopping_ends_a_run_before_its_last_epoch(data: FitData) -> None:
    rows = fitted(tiny_recipe(epochs=9, lr=1e-9, early_stop="patience:2,0.1"), data)
    assert len(rows) == 3


def test_the_average_is_for_evaluation_alone(data: FitData) -> None:
    plain, averaged = fitted(tiny_recipe(), data), fitted(tiny_recipe(ema_decay=0.9), data)
    assert [row["train_loss"] for row in plain] == [row["train_loss"] for row in averaged]
    assert [row["val_loss"] for row in plain] != [row["val_loss"] for row in averaged]


def shown(recipe: Recipe, data: FitData, monkeypatch: pytest.MonkeyPatch) -> list[dict[bytes, bytes]]:
    """For each epoch, what was shown of each picture; keys are those of the pictures."""
    epochs: list[dict[bytes, bytes]] = []

    def note(pictures: PictureSet, rows: np.ndarray, *others: Any) -> torch.Tensor:
        batch = train_batch(pictures, rows, *others)
        epochs[-1] |= {
            pictures.keys[row].tobytes(): part.numpy().tobytes() for row, part in zip(rows, batch, strict=True)
        }
        return batch

    monkeypatch.setattr("raytl.train.inputs.train_batch", note)
    run = start(recipe, data)
    for _ in range(recipe.epochs):
        epochs.append({})
        next(run.epochs())
    return epochs


def test_stored_views_come_again_after_so_many_epochs(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = shown(tiny_recipe(views=2, epochs=3), data, monkeypatch)
    assert first == third
    assert len(first) == len(data.train)
    assert all(first[key] != second[key] for key in first)


def test_without_views_every_epoch_shows_something_new(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = shown(tiny_recipe(epochs=3), data, monkeypatch)
    assert all(len({first[key], second[key], third[key]}) == 3 for key in first)


@pytest.mark.parametrize(("batch_size", "steps"), [(8, 3), (11, 2), (22, 1), (64, 1), (1, 22)])
def test_batches_cover_the_epoch(batch_size: int, steps: int, data: FitData) -> None:
    run = start(tiny_recipe(batch_size=batch_size, optimizer="adam", lr=1e-4, epochs=1), data)
    list(run.epochs())
    state = learner(run).optimizer.state_dict()["state"][0]
    assert int(state["step"]) == steps == run.steps_per_epoch


def test_rows_hold_the_rate_of_the_epochs_last_step(data: FitData) -> None:
    rows = fitted(tiny_recipe(schedule="step:2,0.5", epochs=5), data)
    assert [row["lr"] for row in rows] == [0.05, 0.05, 0.025, 0.025, 0.0125]
    rows = fitted(tiny_recipe(schedule="cosine", epochs=3), data)
    steps = np.array([3, 6, 9]) - 1
    assert [row["lr"] for row in rows] == pytest.approx(list(0.05 * (1 + np.cos(np.pi * steps / 9)) / 2))


@pytest.mark.parametrize("mixing", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_mixed_labels_have_no_accuracy(mixing: dict[str, float], data: FitData) -> None:
    assert [row["train_accuracy"] for row in fitted(tiny_recipe(**mixing), data)] == [None, None]


def test_two_classes_under_bce_are_one_logit(tmp_path: Path) -> None:
    data = tiny_data(tmp_path, classes=2)
    run = start(tiny_recipe(loss="bce", epochs=8), data)
    rows = list(run.epochs())
    assert run.evaluator.logits(run.model, data.val).shape == (13, 1)
    assert rows[-1].train_loss < rows[0].train_loss


def test_a_diverged_run_keeps_the_epochs_before(data: FitData) -> None:
    rows = []
    with pytest.raises(Diverged) as caught:
        for row in start(tiny_recipe(lr=100.0, epochs=9, schedule="step:1,1.0"), data).epochs():
            rows.append(row)  # noqa: PERF402 - what was yielded before the error is the point
    assert 0 <= caught.value.step <= 3
    assert len(rows) == caught.value.epoch - 1
    assert all(math.isfinite(row.train_loss) and math.isfinite(row.val_loss) for row in rows)


def test_a_loss_is_named_by_the_step_in_which_it_broke(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tiny_recipe(), data)
    poisoned = epoch_order(data.train.labels.numpy(), "uniform", 0, 2)[9]  # in the second batch of epoch 2

    def poison(pictures: PictureSet, rows: np.ndarray, view: Any, seed: int, epoch: int) -> torch.Tensor:
        batch = train_batch(pictures, rows, view, seed, epoch)
        batch[torch.from_numpy(rows == poisoned) & (epoch == 2)] = math.nan
        return batch

    monkeypatch.setattr("raytl.train.inputs.train_batch", poison)
    epochs = run.epochs()
    assert next(epochs).epoch == 1
    with pytest.raises(Diverged, match="epoch 2, step 1"):
        next(epochs)


def test_weights_that_break_in_the_last_step_are_no_score(data: FitData) -> None:
    run = start(tiny_recipe(batch_size=22, epochs=1), data)
    step = learner(run).optimizer.step

    def broken_step() -> None:
        step()
        torch.nn.init.constant_(next(run.model.head.parameters()), math.inf)

    learner(run).optimizer.step = broken_step  # type: ignore[method-assign,assignment]
    with pytest.raises(Diverged, match="epoch 1, step 1"):
        list(run.epochs())


def test_the_first_of_equally_good_epochs_is_kept(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tiny_recipe(epochs=4, freeze_depth=2, unfreeze_epoch=3), data)
    right = iter((4, 7, 7, 6))
    monkeypatch.setattr(type(run.evaluator), "counts", lambda *_: counted(next(right)))
    rows, kept = [], {}
    for row in run.epochs():
        rows.append(row)
        kept[row.epoch] = weights_of(run.model)
    assert [row.is_best for row in rows] == [True, True, False, False]
    best = run.load_best()
    assert not best.training
    assert all(torch.equal(value, kept[2][name]) for name, value in best.state_dict().items())


def test_of_tied_epochs_the_one_with_the_lowest_loss_is_best(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tiny_recipe(epochs=5), data)
    seen = iter(((4, 0.1), (7, 1.0), (7, 0.5), (7, 0.5), (6, 0.1)))
    monkeypatch.setattr(type(run.evaluator), "counts", lambda *_: counted(*next(seen)))
    assert [row.is_best for row in run.epochs()] == [True, True, True, False, False]
    assert run.course.best.epoch == 3


@pytest.mark.parametrize("name", METRICS)
def test_the_studys_metric_decides_which_epoch_is_best(name: str, data: FitData) -> None:
    run = start(tiny_recipe(epochs=6, lr=0.3, schedule="constant"), data, metric=METRICS[name])
    rows = list(run.epochs())
    values = [(getattr(row, name) * (1 if METRICS[name].maximize else -1), -row.val_loss) for row in rows]
    best = rows[max(range(len(rows)), key=lambda index: (values[index], -index))]
    assert run.course.best.epoch == best.epoch
    assert run.course.best.figures == Figures(best.val_accuracy, best.val_macro_f1, best.val_loss)
    flags = [value > max(values[:index], default=(-math.inf, -math.inf)) for index, value in enumerate(values)]
    assert [row.is_best for row in rows] == flags


def test_one_model_for_two_trials_is_refused(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = build_classifier(tiny_recipe(), 3)
    monkeypatch.setattr("raytl.train.loop.build_classifier", lambda recipe, classes: shared)
    start(tiny_recipe(), data, trial_id="one")
    with pytest.raises(SharedModelError, match=r"trial two .* trial one"):
        start(tiny_recipe(), data, trial_id="two")


def test_stages_that_a_second_trial_opens_later_are_claimed_too(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start(tiny_recipe(freeze_depth=3, unfreeze_epoch=1), data, trial_id="one")
    list(first.epochs())
    second = build_classifier(tiny_recipe(freeze_depth=3), 3)
    second.backbone = first.model.backbone
    monkeypatch.setattr("raytl.train.loop.build_classifier", lambda recipe, classes: second)
    with pytest.raises(SharedModelError, match="trial two"):
        list(start(tiny_recipe(freeze_depth=3, unfreeze_epoch=1), data, trial_id="two").epochs())


def test_a_parameter_outside_every_stage_is_refused(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_classifier(tiny_recipe(), 3)
    model.backbone.net.register_parameter("stray", torch.nn.Parameter(torch.zeros(1)))
    monkeypatch.setattr("raytl.train.loop.build_classifier", lambda recipe, classes: model)
    with pytest.raises(ConfigError, match="stray"):
        start(tiny_recipe(), data)


def test_a_collapsed_prediction_is_noted(data: FitData, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tiny_recipe(epochs=1), data)
    monkeypatch.setattr(type(run.evaluator), "counts", lambda *_: counted(0))
    list(run.epochs())
    assert len(run.notes) == 1 and "predicted as class 1" in run.notes[0]
