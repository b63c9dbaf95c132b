"""Evaluation: each picture once, in order, in eval mode, whatever the size of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

from raytl.data.store import FitData
from raytl.data.views import eval_batch
from raytl.train import evaluate
from raytl.train.loop import Run
from tests.tiny import first, start, tiny_data, tiny_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def run(data: FitData) -> Run:
    """A model that has learned something but not all."""
    run = start(tiny_recipe(lr=0.1, epochs=3, backbone="tiny_resnet", dropout=0.5), data)
    list(run.epochs())
    return run


def test_figures_are_those_of_scikit_learn(run: Run, data: FitData) -> None:
    counts = run.evaluator.counts(run.model, data.val)
    logits = run.evaluator.logits(run.model, data.val)
    labels, predicted = data.val.labels.numpy(), logits.argmax(1).numpy()
    assert counts.confusion.tolist() == confusion_matrix(labels, predicted, labels=range(3)).tolist()
    assert counts.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert counts.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro", labels=range(3)))
    probabilities = logits.double().softmax(1).numpy()
    assert counts.mean_loss == pytest.approx(log_loss(labels, probabilities, labels=range(3)), rel=1e-5)


def test_logits_are_the_models_own_in_the_order_of_the_pictures(run: Run, data: FitData) -> None:
    with torch.no_grad():
        expected = run.model.eval()(eval_batch(data.val, np.arange(13), run.evaluator.view))
    torch.testing.assert_close(run.evaluator.logits(run.model, data.val), expected)


@pytest.mark.parametrize("batch", [1, 4, 13, 100])
def test_the_size_of_a_batch_changes_nothing(
    batch: int, run: Run, data: FitData, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run.evaluator.counts(run.model, data.val)
    logits = run.evaluator.logits(run.model, data.val)
    monkeypatch.setattr(evaluate, "BATCH", batch)
    found = run.evaluator.counts(run.model, data.val)
    assert torch.equal(found.confusion, expected.confusion)
    assert found.mean_loss == pytest.approx(expected.mean_loss, abs=1e-6)
    torch.testing.assert_close(run.evaluator.logits(run.model, data.val), logits, rtol=1e-4, atol=1e-5)


def test_evaluation_changes_no_tensor_and_shows_no_augmentation(run: Run, data: FitData) -> None:
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.model.train()
    once, again = (run.evaluator.logits(run.model, data.val) for _ in range(2))
    assert torch.equal(once, again)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
    assert run.evaluator.view.augment == ()


def test_one_picture_is_enough(run: Run, data: FitData) -> None:
    counts = run.evaluator.counts(run.model, first(data.val, 1))
    assert counts.count == 1 and counts.weight == 1
