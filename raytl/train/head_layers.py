"""The forward pass of T heads at once over the features they share.

Parameters are those of `models.heads.make_head`, stacked: weights (T, outputs, inputs), biases (T, outputs). All heads'
first layers read the same features, so together they are one layer of T * outputs, one matrix product; the layers
behind them are batched products. This layout keeps each head's numbers together: measured on two cores for 64 heads,
1,280 features and batches of 32, it is as fast as (inputs, T, outputs), 0.14 ms forward and 0.12 ms backward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Dropout:
    """What is dropped in one step: `rates` of the T heads, in (0, 1), and the generator that all of them share.

    Each layer draws one number for each picture and feature; a head with rate p drops those below p. So a head sees
    the same noise alone and among others. Without a generator torch's own is used.
    """

    rates: Sequence[float]
    noise: torch.Generator | None

    def drawn(self, like: Tensor) -> Tensor:
        """Uniform numbers (B, N) for values (..., B, N)."""
        return torch.rand(like.shape[-2:], generator=self.noise, dtype=like.dtype, device=like.device)

    def each(self, x: Tensor) -> Tensor:
        """Values (T, B, N) of every head after its own dropout."""
        rates = x.new_tensor(self.rates).view(-1, 1, 1)
        return x * ((self.drawn(x) >= rates) / (1 - rates))


def stacked_logits(parameters: Mapping[str, Tensor], features: Tensor, dropout: Dropout | None) -> Tensor:
    """Logits (T, B, K) of features (B, F); `parameters` by the names and in the order of a head's `state_dict`."""
    values = list(parameters.values())
    (weight, bias), *behind = zip(values[::2], values[1::2], strict=True)
    if dropout and not behind:
        return _dropped(features, weight, bias, dropout)
    x = _shared(features, weight, bias)
    for weight, bias in behind:
        x = F.relu(x)
        x = dropout.each(x) if dropout else x
        x = torch.baddbmm(bias.unsqueeze(2), weight, x.transpose(1, 2)).transpose(1, 2)
    return x


def by_head(values: Tensor, parameter: Tensor) -> Tensor:
    """Numbers (T,), one for each head, as (T, 1, ...) of the type and device of a parameter (T, ...)."""
    return values.to(parameter).view(-1, *[1] * (parameter.ndim - 1))


def _shared(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One layer of T heads over (B, F), as one product -> (T, B, outputs)."""
    joined = F.linear(features, weight.flatten(0, 1), bias.flatten())
    return joined.view(len(features), *bias.shape).transpose(0, 1)


def _dropped(features: Tensor, weight: Tensor, bias: Tensor, dropout: Dropout) -> Tensor:
    """`_shared` behind dropout: one product for each run of neighboring heads with the same rate."""
    drawn = dropout.drawn(features)
    runs = [(rate, len(list(heads))) for rate, heads in groupby(dropout.rates)]
    sizes = [size for _, size in runs]
    layers = zip(runs, weight.split(sizes), bias.split(sizes), strict=True)
    return torch.cat([_shared(features * (drawn >= rate) / (1 - rate), w, b) for (rate, _), w, b in layers])
