"""Heads: what turns a backbone's pooled features into logits."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from raytl.choice import Choice

LAST = "out"
"""Name of a head's last linear layer."""


def make_head(choice: Choice, feature_count: int, output_count: int, dropout: float) -> nn.Sequential:
    """A head for x (B, feature_count) -> logits (B, output_count), initialized from torch's global generator.

    `linear` is dropout and one linear layer; `mlp:512-128` puts a hidden layer with ReLU and dropout for each width
    in front of it.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if not choice.arguments:
        layers["dropout"] = nn.Dropout(dropout)
    inputs = feature_count
    for index, width in enumerate(int(value) for value in choice.arguments):
        layers[f"hidden{index}"] = nn.Linear(inputs, width)
        layers[f"relu{index}"] = nn.ReLU()
        layers[f"dropout{index}"] = nn.Dropout(dropout)
        inputs = width
    layers[LAST] = nn.Linear(inputs, output_count)
    return nn.Sequential(layers)


def feature_count(head: nn.Sequential) -> int:
    """How many features a head reads."""
    return next(layer.in_features for layer in head if isinstance(layer, nn.Linear))
