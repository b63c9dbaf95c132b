"""What a model is fed with: one contract for fresh pictures and stored activations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

from raytl.choice import parse
from raytl.data.store import FitData, PictureSet
from raytl.data.views import View, eval_batch, train_batch
from raytl.recipe import AUGMENTS
from raytl.train.inputs import AHEAD, FixedView, FreshViews, Inputs, StoredViews, ahead, view_of
from raytl.train.prefix import VIEW_SEED
from raytl.train.prefix_rows import Activations, layout_of
from tests.tiny import tiny_data

VIEW = View(16, (0.5,) * 3, (0.5,) * 3, (parse("augment", "crop", AUGMENTS), parse("augment", "flip", AUGMENTS)))
ROWS = np.array([3, 0, 7])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FitData:
    return tiny_data(tmp_path_factory.mktemp("tiny"))


def stored(values: torch.Tensor) -> Activations:
    layout = layout_of(values)
    return Activations(layout.encode(values), layout)


def all_inputs(data: FitData) -> list[Inputs]:
    entries = [stored(torch.randn(22, 4, 3, 3)) for _ in range(2)]
    fresh, shared = FreshViews(data.train, VIEW, seed=5), FreshViews(data.train, VIEW, seed=5, views=2)
    return [fresh, shared, FixedView(data.train, VIEW), views_over(entries)]


def views_over(entries: list[Activations]) -> StoredViews:
    """Views 1, 2, ... that are all stored."""
    numbers = range(1, len(entries) + 1)
    return StoredViews(numbers, 2, lambda view: entries[view - 1], lambda *_: pytest.fail("computed again"))


@pytest.mark.parametrize("kind", range(4))
def test_a_batch_is_a_copy_of_its_rows_and_the_same_each_time(kind: int, data: FitData) -> None:
    inputs = all_inputs(data)[kind]
    first = inputs.batch(ROWS, 2)
    expected = first.clone()
    assert len(first) == 3
    torch.testing.assert_close(inputs.batch(ROWS[1:], 2), expected[1:], rtol=0, atol=0)
    first.fill_(9)
    torch.testing.assert_close(inputs.batch(ROWS, 2), expected, rtol=0, atol=0)


def test_fresh_views_are_those_of_seed_and_epoch(data: FitData) -> None:
    fresh = FreshViews(data.train, VIEW, seed=5)
    assert torch.equal(fresh.batch(ROWS, 3), train_batch(data.train, ROWS, VIEW, 5, 3))
    assert not torch.equal(fresh.batch(ROWS, 3), fresh.batch(ROWS, 1))


def test_stored_views_are_the_same_for_all_seeds_and_come_again(data: FitData) -> None:
    one, other = (FreshViews(data.train, VIEW, seed=seed, views=2) for seed in (5, 6))
    assert torch.equal(one.batch(ROWS, 3), other.batch(ROWS, 1))
    assert torch.equal(one.batch(ROWS, 1), train_batch(data.train, ROWS, VIEW, VIEW_SEED, 1))
    assert not torch.equal(one.batch(ROWS, 2), one.batch(ROWS, 1))


def test_a_fixed_view_is_the_evaluations(data: FitData) -> None:
    fixed = FixedView(data.train, VIEW)
    assert torch.equal(fixed.batch(ROWS, 1), eval_batch(data.train, ROWS, VIEW))


def test_stored_activations_take_turns() -> None:
    values = [torch.randn(5, 6) for _ in range(3)]
    inputs = views_over([stored(each) for each in values])
    for epoch in range(1, 8):
        assert torch.equal(inputs.batch(np.array([4, 1]), epoch), values[(epoch - 1) % 3][[4, 1]])
    assert [view_of(epoch, 3) for epoch in range(1, 8)] == [1, 2, 3, 1, 2, 3, 1]


def test_a_view_is_opened_once_and_not_before_it_is_seen() -> None:
    entry, opened = stored(torch.randn(5, 6)), list[int]()

    def open_entry(view: int) -> Activations | None:
        opened.append(view)
        return entry if view == 1 else None

    inputs = StoredViews((1, 2), 2, open_entry, lambda rows, view: torch.full((len(rows),), float(view)))
    rows = np.array([0, 1])
    assert inputs.batch(rows, 1).shape == (2, 6) and opened == [1]
    assert inputs.batch(rows, 2).tolist() == [2.0, 2.0] and opened == [1, 2]
    assert inputs.batch(rows, 3).shape == (2, 6) and inputs.batch(rows, 4).tolist() == [2.0, 2.0] and opened == [1, 2]


class Noted:
    """Pixels that note what they are told."""

    name = "noted"

    def __init__(self) -> None:
        self.expected: list[int] = []
        self.forgotten = 0

    def picture(self, index: int) -> np.ndarray:
        return np.full((20, 20, 3), index, np.uint8)

    def expect(self, indices: Iterable[int]) -> None:
        self.expected += [int(index) for index in indices]

    def forget(self) -> None:
        self.forgotten += 1


def noted(data: FitData) -> tuple[PictureSet, Noted]:
    pixels = Noted()
    return replace(data.train, pixels=pixels), pixels


def test_pictures_are_expected_a_few_batches_ahead_and_given_in_their_order(data: FitData) -> None:
    pictures, pixels = noted(data)
    shares = [np.array([2 * number, 2 * number + 1]) for number in range(5)]
    with ahead(FixedView(pictures, VIEW), iter(shares), 1) as coming:
        for number, share in enumerate(coming):
            assert share is shares[number]
            assert pixels.expected == [*range(min(10, 2 * (number + 1 + AHEAD)))]
        assert number == 4 and pixels.forgotten == 0
    assert pixels.forgotten == 1


def test_what_was_expected_is_forgotten_whatever_ends_the_epoch(data: FitData) -> None:
    pictures, pixels = noted(data)
    with pytest.raises(KeyboardInterrupt), ahead(FreshViews(pictures, VIEW, seed=1), [ROWS], 1) as coming:
        next(coming)
        raise KeyboardInterrupt
    assert pixels.forgotten == 1


def test_pictures_are_expected_only_in_views_that_are_not_stored(data: FitData) -> None:
    pictures, pixels = noted(data)
    entry = stored(torch.randn(22, 6))
    inputs = StoredViews(
        (1, 2), 2, lambda view: entry if view == 1 else None, lambda *_: torch.zeros(3), pictures=pictures
    )
    for epoch, expected in ((1, []), (2, ROWS.tolist()), (3, [])):
        pixels.expected.clear()
        with ahead(inputs, [ROWS], epoch) as coming:
            assert [share.tolist() for share in coming] == [ROWS.tolist()]
        assert pixels.expected == expected
