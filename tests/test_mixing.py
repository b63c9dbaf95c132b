"""Mixup and CutMix: labels must say what share of which picture was mixed in."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raytl.train.losses import soft_labels
from raytl.train.mixing import mix

torch.set_num_threads(1)
CLASSES = 5


def told_apart(rows: int, height: int = 9, width: int = 7) -> tuple[Tensor, Tensor]:
    """Pictures whose every pixel is their own number, each of its own class."""
    x = torch.arange(rows, dtype=torch.float64).view(-1, 1, 1, 1).expand(rows, 3, height, width).clone()
    return x, torch.eye(rows, dtype=torch.float64)


def test_without_mixing_nothing_is_drawn_and_nothing_changes() -> None:
    x, targets = told_apart(4)
    generator = np.random.default_rng(0)
    mixed, mixed_targets = mix(x, targets, 0.0, 0.0, generator)
    assert mixed is x
    assert mixed_targets is targets
    assert generator.bit_generator.state == np.random.default_rng(0).bit_generator.state


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(0, 9), alpha=st.sampled_from([0.2, 1.0, 4.0]), cut=st.booleans(), seed=st.integers(0, 10_000))
def test_the_label_is_the_share_of_pixels(rows: int, alpha: float, cut: bool, seed: int) -> None:
    x, targets = told_apart(rows)
    before = x.clone()
    generator = np.random.default_rng(seed)
    mixed, mixed_targets = mix(x, targets, 0.0 if cut else alpha, alpha if cut else 0.0, generator)
    assert torch.equal(x, before)
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(rows, dtype=torch.float64))
    expected = mixed_targets @ torch.arange(rows, dtype=torch.float64)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), expected)


@pytest.mark.parametrize("cut", [False, True])
def test_mixup_blends_every_pixel_and_cutmix_replaces_whole_ones(cut: bool) -> None:
    x, targets = told_apart(6, 32, 32)
    kinds = set()
    for seed in range(20):
        mixed, _ = mix(x, targets, 0.0 if cut else 1.0, 1.0 if cut else 0.0, np.random.default_rng(seed))
        kinds.add(bool((mixed == mixed.round()).all()))
        assert cut or bool((mixed.amax((1, 2, 3)) == mixed.amin((1, 2, 3))).all())
    assert kinds == {cut}


def test_both_are_taken_in_turn_by_chance() -> None:
    x, targets = told_apart(6, 32, 32)
    cuts = 0
    for seed in range(400):
        mixed, _ = mix(x, targets, 1.0, 1.0, np.random.default_rng(seed))
        cuts += bool((mixed == mixed.round()).all())
    assert 160 <= cuts <= 240  # four standard deviations around one half


def test_mixup_draws_its_share_from_the_beta_distribution() -> None:
    x, targets = told_apart(2)
    shares = []
    for seed in range(2000):
        _, mixed_targets = mix(x, targets, 0.4, 0.0, np.random.default_rng(seed))
        shares.append(float(mixed_targets[0, 0]))
    kept = np.array([share for share in shares if share != 1])  # 1 where a picture met itself
    assert kept.mean() == pytest.approx(0.5, abs=0.05)
    assert kept.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.02)


def test_cutmix_pastes_the_share_that_its_distribution_says() -> None:
    """A box of side s around a uniform center keeps s - s**2 / 4 of each axis; s**2 is uniform: 77/240 in the mean."""
    x, targets = torch.zeros(8, 1, 256, 256), torch.eye(8)
    shares = [
        1 - float(mix(x, targets, 0.0, 1.0, np.random.default_rng(seed))[1].diagonal().min()) for seed in range(400)
    ]
    assert np.mean(shares) == pytest.approx(77 / 240, abs=0.05)  # four standard errors


def test_the_seed_decides_and_workers_agree_on_kind_and_share() -> None:
    x, targets = told_apart(8)
    first, second = (mix(x, targets, 0.3, 0.7, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    small = mix(x[:3], targets[:3], 0.3, 0.0, np.random.default_rng(5))[1]
    large = mix(x, targets, 0.3, 0.0, np.random.default_rng(5))[1]
    assert {round(v, 9) for v in small[small > 0].tolist()} & {round(v, 9) for v in large[large > 0].tolist()}


def test_memory_layout_and_type_are_kept() -> None:
    x = torch.rand(4, 3, 8, 8).to(memory_format=torch.channels_last)
    targets = soft_labels(torch.arange(4), CLASSES)
    for mixup, cutmix in ((1.0, 0.0), (0.0, 1.0)):
        mixed, mixed_targets = mix(x, targets, mixup, cutmix, np.random.default_rng(1))
        assert mixed.is_contiguous(memory_format=torch.channels_last)
        assert mixed.dtype == mixed_targets.dtype == torch.float32
