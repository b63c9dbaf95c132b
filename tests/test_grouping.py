"""Stages from timm's own groups, for models of no known family."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from raytl.errors import ConfigError
from raytl.models.backbones import create_backbone
from raytl.models.grouping import group_plan
from raytl.models.plan import Plan


class Small(nn.Module):
    """A model as timm writes them, whose blocks run in the order given."""

    num_features = 4

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__()
        self.order = order
        self.stem = nn.Conv2d(3, 4, 1)
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in order)
        self.after_pool = nn.Linear(4, 4)

    def group_matcher(self, coarse: bool) -> dict[str, str]:
        return {"stem": r"^stem", "blocks": r"^blocks\.(\d+)"}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index in self.order:
            x = self.blocks[index](x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool) -> Tensor:
        result = self.after_pool(x.mean((2, 3)))
        assert isinstance(result, Tensor)
        return result


def _plan(order: tuple[int, ...]) -> Plan:
    with torch.device("meta"):
        return group_plan("small", Small(order), 8)


def test_groups_in_order_become_stages() -> None:
    plan = _plan((0, 1, 2))
    assert [stage.modules for stage in plan.stages] == [("stem",), ("blocks.0",), ("blocks.1",), ("blocks.2",)]
    assert plan.tail_modules == ("after_pool",)
    assert plan.layout == "map"


def test_many_groups_are_put_together() -> None:
    plan = _plan(tuple(range(12)))
    assert [stage.name for stage in plan.stages] == ["embed", "blocks.0-2", "blocks.3-5", "blocks.6-8", "blocks.9-11"]


def test_another_order_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"small: its layers do not run in the order.*'blocks.0' after 'blocks.1'"):
        _plan((1, 0, 2))


def test_a_model_with_fine_groups_only_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rdnet_tiny.*no coarse way"):
        create_backbone("rdnet_tiny", image_size=64)


def test_a_model_without_groups_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"small: timm gives no order"):
        group_plan("small", nn.Linear(2, 2), 8)


def test_a_model_without_order_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"crossvit_9_240.*use another backbone"):
        create_backbone("crossvit_9_240")


def test_a_whole_only_backbone_says_so() -> None:
    backbone = create_backbone("test_nfnet", image_size=64)
    assert not backbone.splits_at(1) and backbone.splits_at(len(backbone.stages))
    with pytest.raises(ConfigError, match=r"as a whole only"):
        backbone.run_stages(torch.zeros(1, 3, 64, 64), 0, 1)
