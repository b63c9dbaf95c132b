"""The one reading of the test set, against scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from raytl.data.store import FitData, PictureSet
from raytl.results.final_figures import FinalFigures
from raytl.train.checkpoint import load_snapshot, save_snapshot
from raytl.train.evaluate import Evaluator
from raytl.train.final import read_test_set
from raytl.train.loop import Run
from tests.tiny import start, tiny_data, tiny_recipe


def trained(data: FitData, **values: Any) -> Run:
    run = start(tiny_recipe(lr=0.1, epochs=3, **values), data)
    list(run.epochs())
    return run


def assert_figures(figures: FinalFigures, classes: int) -> None:
    """The figures follow from labels and probabilities."""
    labels, places = figures.labels, range(classes)
    assert figures.predicted == tuple(figures.probabilities.argmax(1))
    assert figures.accuracy == pytest.approx(accuracy_score(labels, figures.predicted))
    assert figures.macro_f1 == pytest.approx(f1_score(labels, figures.predicted, average="macro", labels=places))
    np.testing.assert_allclose(figures.probabilities.sum(1), 1, rtol=1e-6)
    probabilities = figures.probabilities / figures.probabilities.sum(1, keepdims=True, dtype=np.float64)
    assert figures.loss == pytest.approx(log_loss(labels, probabilities, labels=places), rel=1e-5)
    assert figures.correct == accuracy_score(labels, figures.predicted, normalize=False)


@pytest.mark.parametrize("loss", ["cross_entropy", "bce", "focal"])
def test_figures_of_three_classes(loss: str, tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    figures = read_test_set(trained(data, loss=loss))
    assert figures.auc is None
    assert figures.paths == data.test.paths
    assert figures.labels == tuple(data.test.labels.tolist())
    assert figures.probabilities.shape == (11, 3) and figures.probabilities.dtype == np.float32
    assert figures.images_per_second > 0
    assert_figures(figures, 3)


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_two_classes_have_an_area_under_the_curve(loss: str, tmp_path: Path) -> None:
    figures = read_test_set(trained(tiny_data(tmp_path, classes=2), loss=loss))
    assert figures.probabilities.shape == (11, 2)
    assert figures.auc == pytest.approx(roc_auc_score(figures.labels, figures.probabilities[:, 1]))
    assert_figures(figures, 2)


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_sure_answers_keep_their_order(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probabilities of such logits are all 1 in float32; their order is not lost."""
    data = tiny_data(tmp_path, classes=2)
    run = trained(data, loss=loss)
    sure = 40 + 5.0 * data.test.labels + torch.arange(11) / 11
    logits = sure[:, None] if loss == "bce" else torch.stack([torch.zeros(11), sure], 1)
    monkeypatch.setattr(Evaluator, "logits", lambda *_: logits.float())
    assert read_test_set(run).auc == 1.0


def test_the_test_set_is_read_once_by_the_best_epochs_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny_data(tmp_path)
    run = trained(data, schedule="constant")
    expected = run.evaluator.logits(run.load_best(), data.test).softmax(1)
    read: list[int] = []
    picture = PictureSet.picture

    def noted(pictures: PictureSet, index: int) -> np.ndarray:
        read.append(index)
        return picture(pictures, index)

    monkeypatch.setattr(PictureSet, "picture", noted)
    figures = read_test_set(run)
    assert sorted(read) == list(range(11))
    np.testing.assert_allclose(figures.probabilities, expected.numpy(), rtol=1e-6)


def test_a_finished_run_is_tested_alike_from_its_checkpoint(tmp_path: Path) -> None:
    data = tiny_data(tmp_path)
    run = trained(data)
    save_snapshot(tmp_path / "t", run.snapshot())
    again = start(run.recipe, data, load_snapshot(tmp_path / "t"))
    assert again.finished
    one, other = read_test_set(run), read_test_set(again)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert (one.loss, one.predicted) == (other.loss, other.predicted)
