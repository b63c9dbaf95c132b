"""Moving averages of T heads at once: `train.ema` with a decay for each head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from raytl.train.head_layers import by_head


class HeadAverages:
    """Averages of stacked parameters (T, ...) by the rule of `train.ema.Ema`, its warm-up included.

    `values` are the averages by name, and empty where every decay is 0. In company, the average of a head whose decay
    is 0 is that head's present parameters.
    """

    def __init__(self, decays: Sequence[float], parameters: Mapping[str, Tensor]) -> None:
        self._decays = torch.tensor(decays, dtype=torch.float64)
        averaged = parameters if any(decays) else {}
        self.values = {name: value.detach().clone() for name, value in averaged.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor], steps: Tensor) -> None:
        """Moves the averages towards the parameters; steps: (T,) float64 that each head has taken, this included."""
        if not self.values:
            return
        warm = steps / (9 + steps)  # (1 + t) / (10 + t) for the t = steps - 1 updates before this one
        shares = 1 - torch.minimum(self._decays, warm)
        for name, value in self.values.items():
            value.lerp_(parameters[name].detach(), by_head(shares, value))

    def keep(self, places: Sequence[int]) -> None:
        """Goes on with the heads at `places` alone."""
        self._decays = self._decays[list(places)]
        kept = self.values if self._decays.any() else {}
        self.values = {name: value[list(places)] for name, value in kept.items()}
