"""Stages as plain descriptions."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from raytl.models.plan import Stage, even_groups, run_step


@given(count=st.integers(1, 60), most=st.integers(1, 9))
def test_even_groups_keep_order_and_size(count: int, most: int) -> None:
    names = [str(index) for index in range(count)]
    groups = even_groups(names, most)
    assert [name for group in groups for name in group] == names
    assert len(groups) == min(count, most)
    sizes = [len(group) for group in groups]
    assert max(sizes) - min(sizes) <= 1


def test_a_stage_owns_whole_names_only() -> None:
    stage = Stage("stem", ("conv1", "cls_token"))
    assert stage.owns("conv1") and stage.owns("conv1.weight") and stage.owns("cls_token")
    assert not stage.owns("conv10.weight") and not stage.owns("layer.conv1.weight")


def test_a_step_is_a_module_or_a_function() -> None:
    net = nn.Sequential(nn.ReLU())

    def double(_net: nn.Module, x: Tensor) -> Tensor:
        return 2 * x

    x = torch.tensor([-1.0, 3.0])
    assert run_step(net, "0", x).tolist() == [0, 3]
    assert run_step(net, double, x).tolist() == [-2, 6]
