"""Heads against their closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raytl.choice import parse
from raytl.models.heads import make_head
from raytl.recipe import HEADS


def _head(text: str, features: int, outputs: int, dropout: float = 0.0) -> nn.Sequential:
    return make_head(parse("head", text, HEADS), features, outputs, dropout)


@pytest.mark.parametrize(
    ("text", "features", "outputs", "parameters"),
    [
        ("linear", 10, 3, 10 * 3 + 3),
        ("mlp:512", 2048, 7, 2048 * 512 + 512 + 512 * 7 + 7),
        (
            "mlp:256-128-64",
            12800,
            1,
            3_318_273,
        ),  # VGG19 flattened at 180 pixels, as in inline_or_two_stage.py
    ],
)
def test_parameter_counts(text: str, features: int, outputs: int, parameters: int) -> None:
    assert sum(p.numel() for p in _head(text, features, outputs).parameters()) == parameters


def test_mlp_is_relu_between_linear_layers() -> None:
    head = _head("mlp:4-5", 3, 2).eval()
    x = torch.randn(6, 3)
    weights = [(m.weight, m.bias) for m in head if isinstance(m, nn.Linear)]
    expected = x
    for index, (weight, bias) in enumerate(weights):
        expected = expected @ weight.T + bias
        if index < len(weights) - 1:
            expected = expected.clamp(min=0)
    torch.testing.assert_close(head(x), expected)


@pytest.mark.parametrize("text", ["linear", "mlp:64"])
def test_dropout_works_in_training_only(text: str) -> None:
    head = _head(text, 64, 2, dropout=0.5)
    x = torch.ones(1, 64)
    assert not torch.equal(head.train()(x), head(x))
    assert torch.equal(head.eval()(x), head(x))


def test_the_global_generator_decides() -> None:
    torch.manual_seed(3)
    first = _head("mlp:8", 4, 2).state_dict()
    torch.manual_seed(3)
    second = _head("mlp:8", 4, 2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
