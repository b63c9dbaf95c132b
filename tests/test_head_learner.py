"""A head alone, against a hand-written loop over frozen features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from raytl.data.store import FitData
from raytl.data.views import eval_batch, train_batch
from raytl.models.classifier import build_classifier
from raytl.models.heads import feature_count
from raytl.train.guards import Diverged
from raytl.train.head_learner import HeadLearner, noise_of, trains_head_alone
from raytl.train.learner import Learner
from raytl.train.sampling import batches, epoch_order
from raytl.train.world import World
from tests.tiny import figures, start, tiny_data, tiny_recipe, view_of, weights_of

FROZEN: dict[str, Any] = {"freeze_depth": 3, "optimizer": "adamw", "lr": 0.01, "epochs": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


def by_hand(data: FitData, **values: Any) -> list[tuple[float, float]]:
    """Train and validation loss of each epoch: one linear layer, torch's AdamW, pictures shown anew each time."""
    recipe = tiny_recipe(**{**FROZEN, **values})
    run = start(recipe, data)
    model, view = run.model.eval(), view_of(run)
    head = torch.nn.Linear(feature_count(model.head), 3)
    head.load_state_dict(model.head.get_submodule("out").state_dict())
    optimizer = torch.optim.AdamW(
        [{"params": [head.weight], "weight_decay": recipe.weight_decay}, {"params": [head.bias], "weight_decay": 0.0}],
        lr=recipe.lr,
    )
    losses = []
    for epoch in range(1, recipe.epochs + 1):
        order = epoch_order(data.train.labels.numpy(), "uniform", recipe.seed, epoch)
        total = 0.0
        for step, rows in enumerate(batches(order, recipe.batch_size, 0, 1)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * run.course.schedule.factor(epoch, step)
            with torch.no_grad():
                features = model.prefix(train_batch(data.train, rows, view, recipe.seed, epoch), 3)
            labels = data.train.labels[torch.from_numpy(rows)]
            loss = functional.cross_entropy(head(features), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            features = model.prefix(eval_batch(data.val, np.arange(len(data.val)), view), 3)
            val = functional.cross_entropy(head(features), data.val.labels).item()
        losses.append((total / len(data.train), val))
    return losses


@pytest.mark.parametrize("values", [{}, {"label_smoothing": 0.1, "weight_decay": 0.3}, {"augment": "none"}])
def test_a_head_learns_as_by_hand(values: dict[str, Any], data: FitData) -> None:
    rows = list(start(tiny_recipe(**{**FROZEN, **values}), data).epochs())
    expected = by_hand(data, **values)
    assert [(row.train_loss, row.val_loss) for row in rows] == [pytest.approx(pair, abs=1e-4) for pair in expected]


def test_who_takes_the_steps(data: FitData) -> None:
    assert isinstance(start(tiny_recipe(**FROZEN), data).learner, HeadLearner)
    for values in ({"freeze_depth": 2}, {"attention": "se:8"}, {"mixup": 0.2}, {"cutmix": 1.0}):
        recipe = tiny_recipe(**{**FROZEN, **values})
        assert isinstance(start(recipe, data).learner, Learner)
        assert not trains_head_alone(recipe, build_classifier(recipe, 3))


def test_the_model_holds_the_average_only_while_it_is_evaluated(data: FitData) -> None:
    run = start(tiny_recipe(**FROZEN, ema_decay=0.9), data)
    next(run.epochs())
    own = weights_of(run.model)
    with run.learner.averaged():
        averaged = weights_of(run.model)
    assert not torch.equal(own["head.out.weight"], averaged["head.out.weight"])
    assert all(torch.equal(value, own[name]) for name, value in run.model.state_dict().items())


def test_frozen_stages_are_not_touched(data: FitData) -> None:
    run = start(tiny_recipe(**FROZEN), data)
    before = weights_of(run.model)
    list(run.epochs())
    changed = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.out.weight", "head.out.bias"}


def test_a_checkpoint_goes_on_as_if_never_stopped(data: FitData) -> None:
    recipe = tiny_recipe(**FROZEN, ema_decay=0.9, dropout=0.3)
    whole = figures(start(recipe, data).epochs())
    first, second = start(recipe, data), start(recipe, data)
    next(first.epochs())
    second.learner.load({name: value.clone() for name, value in first.learner.tensors().items()})
    second.course.last_epoch = 1
    assert figures([next(second.epochs())])[0]["train_loss"] == whole[1]["train_loss"]


def test_a_loss_that_breaks_ends_the_run(data: FitData) -> None:
    run = start(tiny_recipe(**{**FROZEN, "optimizer": "sgd", "lr": 100.0}, head_lr_scale=1e4, weight_decay=10.0), data)
    with pytest.raises(Diverged, match="loss=nan in epoch"):
        list(run.epochs())


def test_noise_is_that_of_seed_epoch_and_rank() -> None:
    recipe = tiny_recipe()
    draws = [
        torch.rand(3, generator=noise_of(each, epoch, World(rank=rank))).tolist()
        for each, epoch, rank in ((recipe, 1, 0), (recipe.with_seed(1), 1, 0), (recipe, 2, 0), (recipe, 1, 1))
    ]
    assert len({tuple(draw) for draw in draws}) == 4
    assert draws[0] == torch.rand(3, generator=noise_of(recipe, 1, World())).tolist()
