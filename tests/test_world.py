"""One worker alone: nothing is sent and nothing is copied (groups: test_ddp_equality.py)."""

from __future__ import annotations

import pickle

import torch
from torch import nn

from raytl.train.world import World


def test_one_worker_needs_no_process_group() -> None:
    world, module = World(), nn.BatchNorm1d(2)
    values = torch.arange(6.0).view(3, 2)
    before = module.running_mean
    assert world.is_main and world.device == torch.device("cpu")
    assert world.sum(values) is values
    assert world.gather(values) is values
    assert world.wrap(module) is module
    world.share(module)
    assert module.running_mean is before


def test_only_rank_0_is_main() -> None:
    assert [World(rank, 3).is_main for rank in range(3)] == [True, False, False]


def test_a_world_can_be_sent_to_a_worker() -> None:
    world = World(1, 2, torch.device("cuda:0"))
    assert pickle.loads(pickle.dumps(world)) == world
