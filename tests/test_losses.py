"""Losses against torch's own functions, scikit-learn and hand-written sums, in float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

from raytl.errors import DataError
from raytl.recipe import LOSSES, Recipe
from raytl.train.losses import Loss, evaluation_sums, log_probabilities, make_loss, soft_labels, stack_losses

torch.set_num_threads(1)
COUNTS = [50, 20, 5]


def batch(classes: int = 3, logits: int | None = None, rows: int = 17) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows + classes)
    scores = 3 * torch.randn(rows, logits or classes, dtype=torch.float64, generator=generator)
    return scores, torch.randint(classes, (rows,), generator=generator)


def loss_of(counts: Sequence[int] = COUNTS, **fields: Any) -> Loss:
    return make_loss(Recipe(backbone="resnet18", **fields), counts)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighting", ["none", "balanced", "effective"])
def test_cross_entropy_of_whole_labels_is_torchs(smoothing: float, weighting: str) -> None:
    logits, labels = batch()
    loss = loss_of(label_smoothing=smoothing, class_weights=weighting)
    expected = F.cross_entropy(logits, labels, weight=loss.class_weights, label_smoothing=smoothing)
    torch.testing.assert_close(loss.sums(logits, soft_labels(labels, 3)).mean, expected, rtol=1e-12, atol=0)


def test_cross_entropy_of_soft_labels_is_torchs() -> None:
    logits, _ = batch()
    targets = torch.rand_like(logits).softmax(-1)
    expected = F.cross_entropy(logits, targets, label_smoothing=0.2)
    torch.testing.assert_close(loss_of(label_smoothing=0.2).sums(logits, targets).mean, expected, rtol=1e-12, atol=0)


def test_a_soft_label_weighs_the_mean_weight_of_its_classes() -> None:
    logits, _ = batch(rows=1)
    targets = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64)
    loss = loss_of(class_weights="balanced")
    assert loss.class_weights is not None
    sums = loss.sums(logits, targets)
    by_hand = sum(
        float(w * t * -p) for w, t, p in zip(loss.class_weights, targets[0], logits[0].log_softmax(0), strict=True)
    )
    assert float(sums.total) == pytest.approx(by_hand, rel=1e-12)
    assert float(sums.weight) == pytest.approx(float(0.5 * loss.class_weights[0] + 0.25 * loss.class_weights[1:].sum()))


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_is_its_formula(gamma: float) -> None:
    logits, labels = batch()
    of_true = np.take_along_axis(logits.softmax(-1).numpy(), labels.numpy()[:, None], 1)[:, 0]
    expected = np.mean(-((1 - of_true) ** gamma) * np.log(of_true))
    sums = loss_of(loss="focal", focal_gamma=gamma).sums(logits, soft_labels(labels, 3))
    assert float(sums.mean) == pytest.approx(expected, rel=1e-9)


def test_focal_without_focus_is_cross_entropy() -> None:
    logits, labels = batch()
    fields: dict[str, Any] = {"label_smoothing": 0.1, "class_weights": "balanced"}
    focal = loss_of(loss="focal", focal_gamma=0.0, **fields).sums(logits, soft_labels(labels, 3))
    plain = loss_of(**fields).sums(logits, soft_labels(labels, 3))
    torch.testing.assert_close(focal.mean, plain.mean, rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_focal_gradients_are_finite_where_the_model_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, -200.0], [-200.0, 0.0, 200.0]], requires_grad=True)
    loss_of(loss="focal", focal_gamma=gamma).sums(logits, soft_labels(torch.tensor([0, 0]), 3)).total.backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_one_logit_is_binary_cross_entropy() -> None:
    logits, labels = batch(classes=2, logits=1)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], labels.double())
    sums = loss_of([5, 5], loss="bce").sums(logits, soft_labels(labels, 2))
    torch.testing.assert_close(sums.mean, expected, rtol=1e-12, atol=0)


def test_one_logit_with_class_weights_is_torchs_weighted_form() -> None:
    logits, labels = batch(classes=2, logits=1)
    loss = loss_of([30, 10], loss="bce", class_weights="balanced")
    assert loss.class_weights is not None
    weights = loss.class_weights[labels]
    total = F.binary_cross_entropy_with_logits(logits[:, 0], labels.double(), weight=weights, reduction="sum")
    sums = loss.sums(logits, soft_labels(labels, 2))
    torch.testing.assert_close(sums.mean, total / weights.sum(), rtol=1e-12, atol=0)


def test_one_against_the_rest_is_torchs_mean_over_classes() -> None:
    logits, labels = batch()
    targets = F.one_hot(labels, 3).double()
    smoothed = targets * 0.9 + 0.1 / 3
    expected = F.binary_cross_entropy_with_logits(logits, smoothed)
    sums = loss_of(loss="bce", label_smoothing=0.1).sums(logits, targets)
    torch.testing.assert_close(sums.mean, expected, rtol=1e-12, atol=0)


def test_one_against_the_rest_weighs_whole_samples() -> None:
    logits, labels = batch()
    loss = loss_of(loss="bce", class_weights="balanced")
    assert loss.class_weights is not None
    rows = F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, 3).double(), reduction="none").mean(1)
    expected = np.average(rows, weights=loss.class_weights[labels])
    assert float(loss.sums(logits, soft_labels(labels, 3)).mean) == pytest.approx(expected, rel=1e-12)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat(np.arange(3), COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(loss_of(class_weights="balanced").class_weights, expected)  # type: ignore[arg-type]


def test_effective_weights_are_the_papers() -> None:
    raw = np.array([(1 - 0.999) / (1 - 0.999**count) for count in COUNTS])
    np.testing.assert_allclose(loss_of(class_weights="effective").class_weights, raw / raw.sum() * 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("weighting", ["balanced", "effective"])
def test_a_class_without_pictures_cannot_be_weighted(weighting: str) -> None:
    with pytest.raises(DataError, match="class 1, 3"):
        loss_of([4, 0, 2, 0], class_weights=weighting)


@pytest.mark.parametrize(("fields", "logit_count"), [({}, 1), ({"loss": "focal"}, 4), ({"loss": "bce"}, 1)])
def test_logits_that_do_not_fit_the_classes_are_refused(fields: dict[str, Any], logit_count: int) -> None:
    with pytest.raises(ValueError, match="3 classes"):
        loss_of(**fields).sums(torch.zeros(2, logit_count), torch.eye(3)[:2])


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(LOSSES),
    weighting=st.sampled_from(["none", "balanced", "effective"]),
    cut=st.integers(0, 17),
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_sums_of_shares_add_up_to_the_batch(kind: str, weighting: str, cut: int, smoothing: float) -> None:
    logits, labels = batch()
    targets = soft_labels(labels, 3)
    loss = loss_of(loss=kind, class_weights=weighting, label_smoothing=smoothing)
    whole, first, second = (
        loss.sums(logits[part], targets[part]) for part in (slice(None), slice(cut), slice(cut, None))
    )
    torch.testing.assert_close(first.total + second.total, whole.total, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(first.weight + second.weight, whole.weight, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", LOSSES)
def test_an_empty_share_has_no_weight_and_a_gradient_of_zero(kind: str) -> None:
    weight = torch.randn(4, 3, requires_grad=True)
    sums = loss_of(loss=kind).sums(torch.zeros(0, 4) @ weight, torch.zeros(0, 3))
    sums.total.backward()
    assert float(sums.weight) == 0
    assert weight.grad is not None
    assert not weight.grad.any()


def test_soft_labels_of_no_pictures_have_a_column_per_class() -> None:
    assert soft_labels(torch.zeros(0, dtype=torch.int64), 3).shape == (0, 3)
    assert torch.equal(soft_labels(torch.tensor([2, 0]), 3), torch.tensor([[0.0, 0, 1], [1, 0, 0]]))


def test_bfloat16_logits_are_summed_in_float32() -> None:
    logits, labels = batch()
    sums = loss_of().sums(logits.bfloat16(), soft_labels(labels, 3))
    assert sums.total.dtype == sums.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "classes", "logit_count"), [("cross_entropy", 3, 3), ("focal", 3, 3), ("bce", 2, 1), ("bce", 3, 3)]
)
def test_evaluation_loss_is_scikit_learns_log_loss(kind: str, classes: int, logit_count: int) -> None:
    logits, labels = batch(classes, logit_count)
    probabilities = log_probabilities(logits, kind).exp().numpy()
    sums = evaluation_sums(logits, labels, kind)
    assert float(sums.mean) == pytest.approx(log_loss(labels, probabilities, labels=range(classes)), rel=1e-12)
    assert float(sums.weight) == len(labels)


def test_evaluation_loss_ignores_how_the_recipe_trains() -> None:
    logits, labels = batch()
    expected = F.cross_entropy(logits, labels)
    for kind in ("cross_entropy", "focal"):
        torch.testing.assert_close(evaluation_sums(logits, labels, kind).mean, expected, rtol=1e-12, atol=0)


def test_one_against_the_rest_keeps_finite_probabilities_where_all_sigmoids_vanish() -> None:
    probabilities = log_probabilities(torch.tensor([[-200.0, -201.0, -202.0]]), "bce").exp()
    torch.testing.assert_close(probabilities, torch.tensor([[-0.0, -1.0, -2.0]]).softmax(-1))


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("weightings", [("none", "none"), ("balanced", "none"), ("effective", "balanced")])
@pytest.mark.parametrize("smoothings", [(0.1, 0.1), (0.0, 0.2)])
def test_stacked_losses_are_each_heads_own(
    kind: str, weightings: tuple[str, str], smoothings: tuple[float, float]
) -> None:
    (logits, labels), targets = batch(), soft_labels(batch()[1], 3)
    losses = [
        loss_of(loss=kind, class_weights=weighting, label_smoothing=smoothing, focal_gamma=gamma)
        for weighting, smoothing, gamma in zip(weightings, smoothings, (0.5, 2.0), strict=True)
    ]
    heads = torch.stack([logits, logits.flip(0)])
    found = stack_losses(losses, heads).sums(heads, targets)
    expected = [loss.sums(own, targets) for loss, own in zip(losses, heads, strict=True)]
    torch.testing.assert_close(found.total, torch.stack([sums.total for sums in expected]), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.weight, torch.stack([sums.weight for sums in expected]), rtol=1e-12, atol=0)
    evaluated = evaluation_sums(heads, labels, kind)
    alone = [evaluation_sums(own, labels, kind) for own in heads]
    torch.testing.assert_close(evaluated.total, torch.stack([sums.total for sums in alone]), rtol=1e-12, atol=0)
    assert evaluated.weight.tolist() == [17.0, 17.0]


def test_stacked_losses_of_two_classes_take_one_logit_of_each_head() -> None:
    logits, labels = batch(classes=2, logits=1)
    losses = [loss_of([30, 10], loss="bce", class_weights=weighting) for weighting in ("none", "balanced")]
    heads = torch.stack([logits, 2 * logits])
    found = stack_losses(losses, heads).sums(heads, soft_labels(labels, 2))
    expected = [loss.sums(own, soft_labels(labels, 2)).mean for loss, own in zip(losses, heads, strict=True)]
    torch.testing.assert_close(found.mean, torch.stack(expected), rtol=1e-12, atol=0)
