"""Counts of many heads against the counts of one."""

from dataclasses import astuple

import pytest
import torch
from torch import Tensor

from raytl.train.head_counts import ArrayCounts
from raytl.train.losses import LossSums, evaluation_sums
from raytl.train.metrics import Counts

torch.set_num_threads(1)


def batch(seed: int, rows: int, classes: int, logits: int, heads: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(heads, rows, logits, generator=generator)
    return scores, torch.randint(classes, (rows,), generator=generator)


def counted(logits: Tensor, labels: Tensor, classes: int, loss: str) -> ArrayCounts:
    return ArrayCounts.of(logits, labels, classes, *evaluation_sums(logits, labels, loss))


def assert_same(found: Counts, expected: Counts) -> None:
    assert torch.equal(found.confusion, expected.confusion)
    torch.testing.assert_close(found.loss_total, expected.loss_total, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.weight, expected.weight)


@pytest.mark.parametrize(("classes", "logits", "loss"), [(3, 3, "cross_entropy"), (2, 1, "bce"), (5, 5, "bce")])
def test_each_head_is_counted_as_if_alone(classes: int, logits: int, loss: str) -> None:
    total = ArrayCounts.zeros(4, classes)
    alone = [Counts.zeros(classes) for _ in range(4)]
    for seed, rows in enumerate((7, 1, 0, 12)):
        scores, labels = batch(seed, rows, classes, logits)
        total = total + counted(scores, labels, classes, loss)
        parts = [Counts.of(own, labels, classes, evaluation_sums(own, labels, loss)) for own in scores]
        alone = [before + part for before, part in zip(alone, parts, strict=True)]
    for head, expected in enumerate(alone):
        assert_same(total.one(head), expected)
        assert total.one(head).count == 20
    figures = total.figures()
    for head, expected in enumerate(alone):
        own = (expected.accuracy, expected.macro_f1, expected.mean_loss)
        assert astuple(figures[head]) == pytest.approx(own, rel=1e-6)


def test_each_head_can_have_labels_of_its_own() -> None:
    scores, labels = batch(0, 9, 3, 3, heads=2)
    other = labels.roll(1)
    both = counted(scores, torch.stack([labels, other]), 3, "cross_entropy")
    for head, own in enumerate((labels, other)):
        assert_same(
            both.one(head), Counts.of(scores[head], own, 3, evaluation_sums(scores[head], own, "cross_entropy"))
        )


def test_what_is_counted_is_not_tied_to_a_graph() -> None:
    logits, labels = batch(0, 5, 3, 3)
    totals = torch.ones(4, requires_grad=True)
    counts = ArrayCounts.of(logits, labels, 3, *LossSums(totals, 5 * totals))
    assert not counts.loss_total.requires_grad
    assert counts.loss_total.dtype == counts.weight.dtype == torch.float64
