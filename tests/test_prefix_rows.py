"""Rows of activations: written and read back bit for bit, in the layout they were computed in, always as copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from raytl.train.prefix_rows import Activations, RowLayout, layout_of


def kept(batch: Tensor) -> Activations:
    layout = layout_of(batch)
    return Activations(layout.encode(batch), layout)


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    bf16=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_rows_come_back_bit_for_bit(shape: tuple[int, ...], bf16: bool, channels_last: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    batch = torch.randn(7, *shape, generator=generator).to(torch.bfloat16 if bf16 else torch.float32)
    batch[0].fill_(float("nan"))
    batch[1].fill_(-0.0)
    if channels_last and batch.ndim == 4:
        batch = batch.contiguous(memory_format=torch.channels_last)
    entry, rows = kept(batch), np.array([6, 0, 3, 3, 1])
    found = entry.batch(rows)
    expected = batch[torch.from_numpy(rows)]
    bits = torch.int16 if bf16 else torch.int32
    assert (len(entry), entry.shape, entry.dtype) == (7, shape, batch.dtype)
    assert entry.bytes == batch.numel() * batch.element_size()
    assert torch.equal(found.contiguous().view(bits), expected.contiguous().view(bits))
    assert found.stride() == expected.stride() or 1 in found.shape  # strides of sides of length 1 mean nothing


def test_maps_stay_channels_last_and_others_as_they_are() -> None:
    maps = torch.randn(4, 3, 5, 5)
    last = maps.contiguous(memory_format=torch.channels_last)
    assert kept(last).batch(np.arange(2)).is_contiguous(memory_format=torch.channels_last)
    assert kept(maps).batch(np.arange(2)).is_contiguous()
    assert kept(torch.randn(4, 9, 6).transpose(1, 2)).batch(np.arange(2)).is_contiguous()


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_is_a_copy(device: str | None, dtype: torch.dtype) -> None:
    original = torch.randn(4, 3, 2, 2).to(dtype).contiguous(memory_format=torch.channels_last)
    entry = kept(original.clone())
    entry = entry.to(device) if device else entry
    entry.batch(np.array([1, 2])).zero_()
    entry.batch(np.array([0, 1, 2, 3])).add_(1)
    torch.testing.assert_close(entry.batch(np.arange(4)), original, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_copy_on_a_device_gives_the_same_batches(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytl.train.prefix_rows._COPIED_BYTES", 100)  # several pieces, the last one shorter
    entry = kept(torch.randn(11, 3, 2, 2).to(dtype).contiguous(memory_format=torch.channels_last))
    held, rows = entry.to("cpu"), np.array([10, 2, 2])
    assert (len(held), held.shape, held.dtype, held.bytes) == (11, (3, 2, 2), dtype, entry.bytes)
    torch.testing.assert_close(held.batch(rows), entry.batch(rows), rtol=0, atol=0)
    assert held.batch(rows).is_contiguous(memory_format=torch.channels_last)


def test_a_batch_can_be_trained_on() -> None:
    weight = torch.ones(6, requires_grad=True)
    batch = kept(torch.arange(12.0).view(2, 6)).batch(np.array([1]))
    (batch * weight).sum().backward()
    assert weight.grad is not None and weight.grad.tolist() == [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]


def test_other_number_formats_and_unlike_batches_are_refused() -> None:
    with pytest.raises(ValueError, match=r"float64: must be one of float32, bfloat16"):
        layout_of(torch.zeros(2, 3, dtype=torch.float64))
    layout = RowLayout((3,), "float32", False)
    with pytest.raises(ValueError, match="must be alike"):
        layout.encode(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="must be alike"):
        layout.encode(torch.zeros(2, 3, dtype=torch.bfloat16))


def test_rows_are_bounds_checked() -> None:
    with pytest.raises(IndexError):
        kept(torch.zeros(3, 2)).batch(np.array([3]))
