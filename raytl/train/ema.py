"""An exponential moving average of a model's weights, used in place of them for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from raytl.errors import StorageError

UPDATES = "ema_updates"


class Ema:
    """Averages of the trainable parameters and the floating-point buffers of `model`.

    The average moves by a share 1 - d at each update, d = min(decay, (1 + t) / (10 + t)) after t updates, so that
    early averages are not stuck at the start (TensorFlow's warm-up for moving averages). A decay of 0 keeps no copy.
    Parameters that become trainable later are taken up at the first update after that: until then they were constant,
    so were their averages.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay, self._updates = model, decay, 0
        self._averages: dict[str, Tensor] = {}
        # The model's own tensors, which change in place. Looking for them in its modules at each update took a sixth of
        # a step of a small suffix (measured: 3.6 of 16 ms, the last two stages of tiny_resnet, 16 pictures, one core).
        self._present = _tensors(model)
        if decay:
            self._take_up()

    @torch.no_grad()
    def update(self) -> None:
        """Moves the averages towards the present weights; call it after each step of the optimizer."""
        if not self._decay:
            return
        self._take_up()
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        present = [self._present[name] for name in self._averages]
        torch._foreach_lerp_(list(self._averages.values()), present, 1 - decay)
        self._updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model holds the averages; afterwards, and after an error, its own weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state(self) -> dict[str, Tensor]:
        """The averages by name and the number of updates, for a checkpoint; empty for a decay of 0.

        The tensors are the live ones: save them before the next update, and not within `applied()`.
        """
        return {**self._averages, UPDATES: torch.tensor(self._updates)} if self._decay else {}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Takes up a state from `state()`.

        Raises:
            StorageError: where it is not of this model, or was kept with another idea of averaging.
        """
        present = self._present = _tensors(self._model)
        averages = {name: average for name, average in state.items() if name != UPDATES}
        unknown = [name for name in averages if name not in present]
        if unknown or bool(self._decay) != bool(state) or not self._averages.keys() <= averages.keys():
            raise StorageError(
                f"moving averages of {len(averages)} tensors do not fit a model with {len(self._averages)} to average "
                f"and ema_decay={self._decay:g}; not in the model: {', '.join(unknown[:3]) or 'none'}; use the trial's "
                "own checkpoint"
            )
        self._averages = {name: average.to(present[name], copy=True) for name, average in averages.items()}
        self._updates = int(state.get(UPDATES, torch.tensor(0)))

    def _take_up(self) -> None:
        for name, value in self._present.items():
            if name not in self._averages and _is_averaged(value):
                self._averages[name] = value.detach().clone()

    @torch.no_grad()
    def _swap(self) -> None:
        present = self._present = _tensors(self._model)
        for name, average in self._averages.items():
            own = present[name].detach().clone()
            present[name].copy_(average)
            average.copy_(own)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _is_averaged(value: Tensor) -> bool:
    return value.requires_grad if isinstance(value, nn.Parameter) else value.is_floating_point()
