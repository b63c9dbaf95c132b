"""A chore travels to a worker and back, is known again, and gives what the function behind it gives."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from ray import cloudpickle

from raytl.data.album import Album
from raytl.on_ray.chores import CompareSizes, Probed, StoreViews, TrainHeads
from raytl.on_ray.job import Chore, Done, Job, Workplace
from raytl.on_ray.work import head_losses
from raytl.train.cache import PrefixCache
from tests.plans import BASE, make_album, make_workplace

FROZEN = replace(BASE, freeze_depth=3, epochs=2, augment="none")
OTHER = replace(FROZEN, lr=0.5 * FROZEN.lr)
JOBS = tuple(Job(name, "probe", "head", recipe) for name, recipe in (("a", FROZEN), ("b", OTHER)))
CHORES: tuple[Chore, ...] = (StoreViews(FROZEN, (0,)), CompareSizes((FROZEN, OTHER)), TrainHeads(JOBS))


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def workplace(album: Album, tmp_path: Path) -> Workplace:
    return replace(make_workplace((album,), tmp_path), prefixes=PrefixCache(tmp_path / "prefixes", 50_000_000))


@pytest.mark.parametrize("chore", CHORES, ids=lambda chore: type(chore).__name__)
def test_a_chore_that_comes_back_is_known_again(chore: Chore) -> None:
    done = cloudpickle.loads(cloudpickle.dumps(Done(chore, 1)))
    assert done == Done(chore, 1) and hash(done.chore) == hash(chore) and done.ended == "completed"
    assert chore.backbone == "plain_cnn"
    assert Done(chore, reason="no room").ended == "failed"


def test_what_the_frozen_backbone_makes_is_stored_and_read_by_the_others(workplace: Workplace) -> None:
    assert workplace.prefixes is not None
    StoreViews(FROZEN, (0,)).do(workplace)
    stored = {path: path.stat().st_mtime_ns for path in workplace.prefixes.folder.rglob("*") if path.is_file()}
    assert stored
    losses = CompareSizes((FROZEN, OTHER)).do(workplace)
    assert losses == head_losses(workplace, (FROZEN, OTHER)) and len(losses) == 2
    assert {path: path.stat().st_mtime_ns for path in stored} == stored, "nothing was computed again"


def test_heads_come_with_their_epochs_and_where_they_were_trained(workplace: Workplace) -> None:
    probed = TrainHeads(JOBS).do(workplace)
    assert isinstance(probed, Probed)
    rows = [(event.trial_id, event.row.epoch) for event in probed.events if event.row is not None]
    assert sorted(rows) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert probed.node == socket.gethostname() and probed.precision == "fp32"
    assert set(probed.cross_validated) == {"a", "b"}
