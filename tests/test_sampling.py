"""Orders and shares: who sees which picture when."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytl.recipe import SAMPLERS
from raytl.train.sampling import batches, epoch_order, eval_shares, step_count

LABELS = np.repeat([0, 1, 3], [1000, 150, 50])


def test_uniform_is_a_permutation() -> None:
    np.testing.assert_array_equal(np.sort(epoch_order(LABELS, "uniform", 3, 1)), np.arange(len(LABELS)))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_order_is_a_function_of_seed_and_epoch(sampler: str) -> None:
    first = epoch_order(LABELS, sampler, 3, 1)
    np.testing.assert_array_equal(first, epoch_order(LABELS, sampler, 3, 1))
    for seed, epoch in ((3, 2), (4, 1), (1, 3)):
        assert (first != epoch_order(LABELS, sampler, seed, epoch)).any()


def test_balanced_draws_each_class_that_occurs_alike() -> None:
    drawn = np.concatenate([epoch_order(LABELS, "balanced", 0, epoch) for epoch in range(1, 51)])
    shares = np.bincount(LABELS[drawn], minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [1 / 3, 1 / 3, 0, 1 / 3], atol=0.01)  # five standard deviations
    rarest = np.bincount(drawn, minlength=len(LABELS))[LABELS == 3]
    assert rarest.min() > 0
    assert len(drawn) == 50 * len(LABELS)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_pictures_give_an_empty_order(sampler: str) -> None:
    assert len(epoch_order(np.array([], dtype=np.int64), sampler, 0, 1)) == 0


@settings(max_examples=150, deadline=None)
@given(count=st.integers(0, 200), batch_size=st.integers(1, 50), world_size=st.integers(1, 7))
def test_shares_make_up_the_global_batches(count: int, batch_size: int, world_size: int) -> None:
    order = np.random.default_rng(count).permutation(count)
    alone = list(batches(order, batch_size, 0, 1))
    shares = [list(batches(order, batch_size, rank, world_size)) for rank in range(world_size)]
    assert {len(one) for one in shares} == {len(alone)} == {step_count(count, batch_size)}
    for step, whole in enumerate(alone):
        parts = [shares[rank][step] for rank in range(world_size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    np.testing.assert_array_equal(np.concatenate([*alone, order[:0]]), order)


def test_a_worker_may_get_an_empty_share_of_the_last_batch() -> None:
    shares = list(batches(np.arange(9), 4, rank=1, world_size=2))
    assert [len(share) for share in shares] == [2, 2, 0]


@settings(max_examples=150, deadline=None)
@given(count=st.integers(0, 200), batch_size=st.integers(1, 50), world_size=st.integers(1, 7))
def test_evaluation_sees_every_picture_once(count: int, batch_size: int, world_size: int) -> None:
    shares = [share for rank in range(world_size) for share in eval_shares(count, batch_size, rank, world_size)]
    assert sorted(index for share in shares for index in share.tolist()) == list(range(count))
    assert all(0 < len(share) <= -(-batch_size // world_size) for share in shares)
