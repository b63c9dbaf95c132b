"""Guards: each of the failures they name is made to happen, and its healthy twin must pass."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

from raytl.errors import ConfigError, RaytlError
from raytl.train.guards import (
    Diverged,
    NoGradientError,
    SharedModelError,
    check_finite,
    check_gradients,
    check_groups,
    check_trainable,
    claim,
    collapse,
)
from raytl.train.optim import Group

torch.set_num_threads(1)


class Net(nn.Module):
    """Two stages, a head and an auxiliary head; `cut` loses the gradient before the head."""

    def __init__(self, cut: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cut = cut
        self.stem, self.block = nn.Linear(3, 4), nn.Linear(4, 4)
        self.head, self.auxiliary = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.block(self.stem(x))
        logits: torch.Tensor = self.head(features.detach() if self.cut else features)
        return logits

    def groups(self) -> list[Group]:
        children = {"stem": self.stem, "block": self.block, "head": self.head, "auxiliary": self.auxiliary}
        return [(name, list(child.parameters())) for name, child in children.items()]


def backward(model: Net) -> Net:
    model(torch.randn(5, 3, generator=torch.Generator().manual_seed(1))).sum().backward()
    return model


def heard(model: Net) -> list[Group]:
    """All groups but that of the auxiliary head, which no loss hears."""
    return [group for group in model.groups() if group[0] != "auxiliary"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_named_with_its_place(value: float) -> None:
    with pytest.raises(Diverged, match="epoch 3, step 17") as caught:
        check_finite(value, 3, 17)
    sent = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(sent, Diverged)
    assert (sent.epoch, sent.step, str(sent.value)) == (3, 17, str(value))
    assert str(sent) == str(caught.value)


def test_a_large_finite_loss_passes_and_infinity_does_not() -> None:
    check_finite(1e30, 1, 0)
    with pytest.raises(Diverged):
        check_finite(float("inf"), 1, 0)


def test_a_model_in_which_nothing_learns_is_refused() -> None:
    check_trainable(Net())
    with pytest.raises(ConfigError, match="none of 8 parameters of Net"):
        check_trainable(Net().requires_grad_(False))


def test_a_parameter_outside_all_groups_is_named() -> None:
    model = Net()
    check_groups(model, model.groups())
    with pytest.raises(ConfigError, match=r"2 trainable parameters .*block\.weight, block\.bias"):
        check_groups(model, [group for group in model.groups() if group[0] != "block"])
    model.block.requires_grad_(False)
    check_groups(model, [group for group in model.groups() if group[0] != "block"])


def test_stages_behind_a_cut_are_all_named() -> None:
    model = backward(Net(cut=True))
    with pytest.raises(NoGradientError) as caught:
        check_gradients(heard(model))
    assert [problem.split("'")[1] for problem in caught.value.problems] == ["stem", "block"]


def test_gradients_that_are_all_zero_are_as_good_as_none() -> None:
    model = backward(Net())
    for parameter in model.stem.parameters():
        assert parameter.grad is not None
        parameter.grad.zero_()
    with pytest.raises(NoGradientError, match="'stem'"):
        check_gradients(heard(model))
    assert model.stem.bias.grad is not None
    model.stem.bias.grad[0] = 1e-30
    check_gradients(heard(model))


def test_frozen_parameters_may_lack_gradients() -> None:
    model = Net()
    model.stem.requires_grad_(False)
    backward(model)
    check_gradients(heard(model))
    with pytest.raises(NoGradientError, match="'auxiliary'"):
        check_gradients(model.groups())


def test_a_second_trial_on_the_same_model_is_refused() -> None:
    model = Net()
    claim(model, "trial-a")
    claim(model, "trial-a")
    with pytest.raises(SharedModelError, match=r"trial trial-b .*trial trial-a"):
        claim(model, "trial-b")
    claim(Net(), "trial-b")


def test_a_shared_stage_inside_another_model_is_found_too() -> None:
    first, second = Net(), Net()
    second.block = first.block
    claim(first, "trial-a")
    with pytest.raises(SharedModelError, match=r"block\.weight"):
        claim(second, "trial-b")
    claim(Net(), "trial-b")


def test_a_refused_claim_leaves_no_mark() -> None:
    first, second = Net(), Net()
    second.block = first.block
    claim(first, "trial-a")
    with pytest.raises(SharedModelError):
        claim(second, "trial-b")
    second.block = Net().block
    claim(second, "trial-c")


def test_copies_and_frozen_parameters_may_be_shared() -> None:
    model = Net()
    model.stem.requires_grad_(False)
    claim(model, "trial-a")
    claim(copy.deepcopy(model), "trial-b")
    other = Net()
    other.stem = model.stem
    claim(other, "trial-b")
    other.stem.requires_grad_(True)
    with pytest.raises(SharedModelError, match="trial-b"):
        claim(other, "trial-c")


@pytest.mark.parametrize(
    ("confusion", "collapsed"),
    [
        ([[0, 5, 0], [0, 9, 0], [0, 7, 0]], True),
        ([[0, 5, 0], [1, 9, 0], [0, 7, 0]], False),
        ([[0, 0, 0], [0, 9, 0], [0, 0, 0]], False),
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], False),
    ],
)
def test_predictions_of_one_class_only_are_named(confusion: list[list[int]], collapsed: bool) -> None:
    finding = collapse(torch.tensor(confusion))
    assert (finding is not None) == collapsed
    if finding is not None:
        assert "all 21 validation pictures were predicted as class 1, to which 9 belong" in finding


@pytest.mark.parametrize("kind", [Diverged, NoGradientError, SharedModelError])
def test_findings_are_project_errors(kind: type[Exception]) -> None:
    assert issubclass(kind, RaytlError)
