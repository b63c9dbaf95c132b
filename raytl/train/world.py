"""Where a run takes place: which of how many workers this is, and on which device.

The loop asks a `World` for everything that differs between a laptop and a group of workers, so that it is
written once. Only `torch.distributed` is used, never the launcher that started the workers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """One worker's place. With `size` above 1 a process group must have been initialised.

    A step's batch is shown in `micro_batches` parts, whose gradients are added up: more than one where memory is short.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    micro_batches: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this worker writes and reports."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The elementwise sum over all workers; every worker must take part. `tensor` keeps its shape."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def gather(self, values: Tensor) -> Tensor:
        """Rows `(n_r, ...)` of all workers r one after the other, `(sum n_r, ...)`, on every worker."""
        if self.size == 1:
            return values
        counts = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        counts[self.rank] = len(values)
        longest = int(self.sum(counts).max())
        padded = torch.zeros((longest, *values.shape[1:]), dtype=values.dtype, device=self.device)
        padded[: len(values)] = values.to(self.device)
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, self.sum(counts).tolist(), strict=True)])

    def share(self, module: nn.Module) -> None:
        """Gives every worker rank 0's buffers: batch-norm statistics are each worker's own after a training step."""
        if self.size > 1:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module itself, or the same module averaging its gradients over all workers."""
        if self.size == 1:
            return module
        return DistributedDataParallel(module)
