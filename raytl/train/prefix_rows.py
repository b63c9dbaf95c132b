"""Activations of a whole picture set as rows of one array: how they lie in memory, and copies of some of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_COPIED_BYTES = 64 << 20  # chosen: what `to` moves at a time, so that the host never holds a second copy of everything
# numpy knows no bfloat16: its 16 bits are kept
_STORED_AS: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "bfloat16": np.dtype("<i2")}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class RowLayout:
    """How one picture's activations are written: `shape` without batch, `dtype` by name, channels last or not."""

    shape: tuple[int, ...]
    dtype: str
    channels_last: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of one picture's activations."""
        return math.prod(self.shape) * self.stored_dtype.itemsize

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """What an array of such rows consists of."""
        return _STORED_AS[self.dtype]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape of one row in the order it is written: channels come last where they do in memory."""
        channels, *rest = self.shape if self.shape else (1,)
        return (*rest, channels) if self.channels_last else self.shape

    def encode(self, batch: Tensor) -> np.ndarray:
        """batch (B, *shape) on any device -> (B, *stored_shape) as written.

        Raises:
            ValueError: where `batch` is not laid out so; batches of one set must be alike.
        """
        if tuple(batch.shape[1:]) != self.shape or batch.dtype != _DTYPES[self.dtype]:
            raise ValueError(
                f"a batch of {tuple(batch.shape[1:])} {batch.dtype} among rows of {self.shape} {self.dtype}: all "
                "batches of one picture set must be alike"
            )
        plain = batch.detach().cpu()
        plain = (plain.permute(0, 2, 3, 1) if self.channels_last else plain).contiguous()
        return (plain.view(torch.int16) if self.dtype == "bfloat16" else plain).numpy()

    def decode(self, stored: Tensor) -> Tensor:
        """stored (B, *stored_shape), float32 or the bits of bfloat16 as int16 -> (B, *shape), without copying."""
        values = stored.view(torch.bfloat16) if self.dtype == "bfloat16" else stored
        return values.permute(0, 3, 1, 2) if self.channels_last else values


def layout_of(batch: Tensor) -> RowLayout:
    """How activations like `batch` (B, ...) are written.

    Raises:
        ValueError: for a number format other than float32 and bfloat16.
    """
    name = str(batch.dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise ValueError(f"activations in {name}: must be one of {', '.join(_DTYPES)}; compute them in fp32 or bf16")
    is_map = batch.ndim == 4 and not batch.is_contiguous()
    return RowLayout(tuple(batch.shape[1:]), name, is_map and batch.is_contiguous(memory_format=torch.channels_last))


class Activations:
    """Activations of N pictures, each of `shape`, over a memory map or on a device.

    Args:
        rows: (N, *layout.stored_shape), an array that is never written to, or a tensor on a device.
    """

    def __init__(self, rows: np.ndarray | Tensor, layout: RowLayout) -> None:
        self._rows = rows
        self.layout = layout

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one picture's activations."""
        return self.layout.shape

    @property
    def dtype(self) -> torch.dtype:
        """float32 or bfloat16."""
        return _DTYPES[self.layout.dtype]

    @property
    def bytes(self) -> int:
        """Bytes of all rows together."""
        return len(self) * self.layout.row_bytes

    def batch(self, rows: np.ndarray) -> Tensor:
        """A fresh copy of the activations at `rows` (B,): (B, *shape), in the memory layout they were computed in."""
        if isinstance(self._rows, Tensor):
            places = torch.as_tensor(rows, dtype=torch.int64, device=self._rows.device)
            return self.layout.decode(self._rows.index_select(0, places))
        return self.layout.decode(torch.from_numpy(self._rows[rows]))

    def to(self, device: torch.device | str) -> Activations:
        """A copy held on `device`, for a GPU that would wait for copies from the host."""
        chunk = max(1, _COPIED_BYTES // self.layout.row_bytes)
        stored = torch.int16 if self.layout.dtype == "bfloat16" else torch.float32
        held = torch.empty((len(self), *self.layout.stored_shape), dtype=stored, device=device)
        for start in range(0, len(self), chunk):
            part = self.batch(np.arange(start, min(start + chunk, len(self))))
            self.layout.decode(held[start : start + chunk]).copy_(part)
        return Activations(held, self.layout)
