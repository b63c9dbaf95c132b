"""Histograms of a model's weights: of the trained stages and the head, each over all its numbers."""

from __future__ import annotations

import torch

from raytl.models.classifier import build_classifier
from raytl.models.stages import set_freeze_depth
from raytl.train.histograms import weight_histograms
from tests.tiny import tiny_recipe


def test_every_trained_stage_and_the_head_have_one() -> None:
    model = build_classifier(tiny_recipe(), 3)
    found = {each.name: each for each in weight_histograms(model)}
    assert list(found) == [*(stage.name for stage in model.stages), "head"]
    head = torch.cat([parameter.detach().flatten() for parameter in model.head.parameters()])
    assert (found["head"].number, found["head"].most) == (head.numel(), head.max().item())
    assert sum(each.number for each in found.values()) == sum(value.numel() for value in model.parameters())
    set_freeze_depth(model, 2)
    assert [each.name for each in weight_histograms(model)] == [*(stage.name for stage in model.stages[2:]), "head"]


def test_a_part_with_a_number_that_is_not_finite_is_left_out() -> None:
    model = build_classifier(tiny_recipe(), 3)
    next(model.head.parameters()).data.view(-1)[0] = torch.nan
    assert "head" not in [each.name for each in weight_histograms(model)]
