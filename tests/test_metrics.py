"""Metrics against scikit-learn, and sums that may be split anywhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score
from torch import Tensor

from raytl.train.losses import evaluation_sums
from raytl.train.metrics import Counts, auc, predicted_classes, predictions_from_logits

torch.set_num_threads(1)


def batch(rows: int, classes: int, seed: int, logits: int | None = None) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, logits or classes, generator=generator), torch.randint(
        classes, (rows,), generator=generator
    )


def counts_of(logits: Tensor, labels: Tensor, classes: int) -> Counts:
    return Counts.of(logits, labels, classes, evaluation_sums(logits, labels, "cross_entropy"))


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 60), classes=st.integers(2, 9), seed=st.integers(0, 1000))
def test_figures_are_scikit_learns(rows: int, classes: int, seed: int) -> None:
    logits, labels = batch(rows, classes, seed)
    predicted = logits.argmax(1)
    counts = counts_of(logits, labels, classes)
    names = list(range(classes))
    np.testing.assert_array_equal(counts.confusion, confusion_matrix(labels, predicted, labels=names))
    assert counts.count == rows
    assert counts.accuracy == pytest.approx(accuracy_score(labels, predicted), rel=1e-12)
    expected = f1_score(labels, predicted, labels=names, average="macro", zero_division=0)
    assert counts.macro_f1 == pytest.approx(expected, rel=1e-12)
    assert counts.mean_loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 60), cut=st.integers(0, 60), seed=st.integers(0, 1000))
def test_parts_packed_and_added_are_the_whole(rows: int, cut: int, seed: int) -> None:
    logits, labels = batch(rows, 4, seed)
    whole = counts_of(logits, labels, 4)
    parts = [counts_of(logits[part], labels[part], 4) for part in (slice(cut), slice(cut, None))]
    reduced = Counts.unpack(parts[0].pack() + parts[1].pack(), 4)
    for added in (reduced, Counts.zeros(4) + parts[0] + parts[1]):
        assert torch.equal(added.confusion, whole.confusion)
        assert added.accuracy == whole.accuracy
        assert added.mean_loss == pytest.approx(whole.mean_loss, rel=1e-6)


def test_a_pack_is_one_flat_float64_tensor_that_keeps_large_counts() -> None:
    large = Counts(torch.tensor([[2**52, 1], [0, 2**52 - 1]]), torch.tensor(0.5).double(), torch.tensor(2.0).double())
    flat = large.pack()
    assert flat.dtype == torch.float64
    assert flat.shape == (6,)
    assert torch.equal(Counts.unpack(flat, 2).confusion, large.confusion)


def test_nothing_counted_is_not_a_number() -> None:
    empty = Counts.zeros(3)
    assert empty.count == 0
    assert np.isnan(empty.accuracy)
    assert np.isnan(empty.mean_loss)


def test_counting_leaves_no_graph() -> None:
    logits, labels = batch(5, 3, 0)
    logits.requires_grad_()
    assert not counts_of(logits, labels, 3).pack().requires_grad


@settings(max_examples=80, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=2, max_size=60),
)
def test_auc_is_scikit_learns_also_with_ties(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([int(positive) for positive, _ in pairs])
    scores = np.array([score / 12 for _, score in pairs])
    if len(set(labels.tolist())) < 2:
        assert auc(labels, scores) is None
    else:
        assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("loss", "classes", "logit_count"), [("cross_entropy", 4, 4), ("focal", 4, 4), ("bce", 2, 1), ("bce", 4, 4)]
)
def test_probabilities_add_up_and_agree_with_the_predicted_class(loss: str, classes: int, logit_count: int) -> None:
    logits, _ = batch(50, classes, 1, logit_count)
    probabilities = predictions_from_logits(logits, loss)
    assert probabilities.shape == (50, classes)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(50))
    assert torch.equal(probabilities.argmax(1), predicted_classes(logits))


def test_probabilities_are_softmax_sigmoid_and_shared_out_sigmoids() -> None:
    logits, _ = batch(20, 3, 2)
    torch.testing.assert_close(predictions_from_logits(logits, "cross_entropy"), logits.softmax(1))
    sigmoids = logits.sigmoid()
    torch.testing.assert_close(predictions_from_logits(logits, "bce"), sigmoids / sigmoids.sum(1, keepdim=True))
    one = logits[:, :1]
    torch.testing.assert_close(predictions_from_logits(one, "bce"), torch.cat([1 - one.sigmoid(), one.sigmoid()], 1))
