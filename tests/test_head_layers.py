"""The batched forward pass against modules, one head after the other."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raytl.choice import Choice
from raytl.models.heads import make_head
from raytl.train.head_layers import Dropout, by_head, each_head, stacked_logits

torch.set_num_threads(1)
LINEAR, DEEP = Choice("linear"), Choice("mlp", (6.0, 4.0))


def heads_of(choice: Choice, count: int = 3) -> list[nn.Sequential]:
    torch.manual_seed(0)
    return [make_head(choice, 5, 2, 0.0).double() for _ in range(count)]


def stacked(heads: list[nn.Sequential]) -> dict[str, Tensor]:
    states = [head.state_dict() for head in heads]
    return {name: torch.stack([state[name] for state in states]) for name in states[0]}


def features(rows: int = 7) -> Tensor:
    return torch.randn(rows, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def dropped(head: nn.Sequential, x: Tensor, rate: float, seed: int) -> Tensor:
    """One head by hand: what its dropout modules stand for, with draws that are known."""
    noise = torch.Generator().manual_seed(seed)
    for layer in head:
        if isinstance(layer, nn.Dropout):
            kept = torch.rand(x.shape, generator=noise, dtype=x.dtype) >= rate
            x = x * kept / (1 - rate)
        else:
            x = layer(x)
    return x


@pytest.mark.parametrize("choice", [LINEAR, DEEP])
@pytest.mark.parametrize("rows", [7, 1, 0])
def test_logits_are_those_of_every_head(choice: Choice, rows: int) -> None:
    heads = heads_of(choice)
    expected = torch.stack([head(features(rows)) for head in heads])
    found = stacked_logits(stacked(heads), features(rows)[None], None)
    assert found.shape == (3, rows, 2)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("choice", [LINEAR, DEEP])
@pytest.mark.parametrize("rates", [(0.3, 0.3, 0.3), (0.1, 0.1, 0.8), (0.5, 0.2, 0.5)])
def test_each_head_drops_at_its_own_rate_what_it_would_drop_alone(
    choice: Choice, rates: tuple[float, float, float]
) -> None:
    heads = heads_of(choice)
    found = stacked_logits(stacked(heads), features()[None], Dropout(rates, torch.Generator().manual_seed(3)))
    expected = [dropped(head, features(), rate, 3) for head, rate in zip(heads, rates, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("choice", [LINEAR, DEEP])
@pytest.mark.parametrize("rates", [None, (0.3, 0.3, 0.6)])
def test_each_fold_has_features_and_heads_of_its_own(choice: Choice, rates: tuple[float, ...] | None) -> None:
    heads = heads_of(choice, 6)
    folds = torch.stack([features(), features().flip(0)])
    dropout = Dropout(2 * rates, torch.Generator().manual_seed(3)) if rates else None
    found = stacked_logits(stacked(heads), folds, dropout)
    expected = [
        dropped(head, folds[place // 3], (rates or (0.0,) * 3)[place % 3], 3) for place, head in enumerate(heads)
    ]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-12, atol=1e-14)


def test_what_belongs_to_a_fold_belongs_to_each_of_its_heads() -> None:
    assert each_head(torch.tensor([[1, 2], [3, 4]]), 4).tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]


def test_dropout_keeps_its_share_and_the_mean() -> None:
    ones = torch.ones(2, 200, 300)
    kept = Dropout((0.2, 0.7), torch.Generator().manual_seed(0)).each(ones)
    assert kept[0].count_nonzero() / 60_000 == pytest.approx(0.8, abs=0.01)
    assert kept[1].count_nonzero() / 60_000 == pytest.approx(0.3, abs=0.01)
    assert kept.mean((1, 2)).tolist() == pytest.approx([1.0, 1.0], abs=0.02)
    assert not bool(((kept[1] > 0) & (kept[0] == 0)).any())  # the same draws: what the milder drops, both drop


@pytest.mark.parametrize("choice", [LINEAR, DEEP])
def test_gradients_are_those_of_every_head(choice: Choice) -> None:
    heads = heads_of(choice)
    parameters = {name: value.requires_grad_() for name, value in stacked(heads).items()}
    stacked_logits(parameters, features()[None], None).pow(2).sum().backward()
    for head in heads:
        head(features()).pow(2).sum().backward()
    for name, value in parameters.items():
        assert value.grad is not None
        expected = torch.stack([dict(head.named_parameters())[name].grad for head in heads])  # type: ignore[misc]
        torch.testing.assert_close(value.grad, expected, rtol=1e-12, atol=1e-14)


def test_numbers_by_head_are_broadcast_over_all_else() -> None:
    numbers = torch.tensor([1.0, 2.0], dtype=torch.float64)
    found = by_head(numbers, torch.zeros(2, 3, 4))
    assert found.shape == (2, 1, 1)
    assert found.dtype == torch.float32
    assert F.relu(torch.zeros(2, 3) + by_head(numbers, torch.zeros(2, 3))).sum() == 9
