"""Room on the disks: what a study certainly writes is counted, and too little is said before it begins."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from raytl.data.store import build_store, store_bytes
from raytl.errors import MachineError
from raytl.on_ray.cluster import Slots
from raytl.on_ray.plan import Plan
from raytl.on_ray.room import check_room, least_bytes, missing_bytes
from tests.plans import make_album, make_plan

SLOTS = Slots(2, 1, 1, use_gpu=False)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan((make_album(tmp_path / "pictures"),), tmp_path / "cache")


def test_checkpoints_and_final_models_are_counted_by_hand(plan: Plan) -> None:
    # two trials of 100 parameters at a time, three copies each; two seeds of two backbones; four bytes a number
    assert least_bytes(plan, SLOTS) == 4 * (3 * 100 * 2 + 2 * (100 + 100))


def test_pictures_that_are_stored_already_need_no_room(plan: Plan) -> None:
    assert missing_bytes(plan) == store_bytes(plan.album, 20) > 0
    build_store(plan.album, 20, plan.cache)
    assert missing_bytes(plan) == 0


def test_pictures_for_which_there_is_no_room_are_not_stored(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_bytes(replace(plan, study=replace(plan.study, store_gb=0.0))) == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=store_bytes(plan.album, 20)))
    assert missing_bytes(plan) == 0


def test_too_little_room_for_the_study_is_said(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_room(plan, tmp_path / "study", SLOTS)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=100))
    with pytest.raises(MachineError) as caught:
        check_room(plan, tmp_path / "study", SLOTS)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["disk of the study"]
