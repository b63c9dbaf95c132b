"""What holds open files and locks never reaches Tune's own state file."""

from __future__ import annotations

import pickle
import threading
from functools import partial
from pathlib import Path

import pytest
from ray import cloudpickle

from raytl.on_ray.bridge import Bridge
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.hooks import StudyScheduler, TuneEvents
from raytl.on_ray.live import Live
from raytl.on_ray.schedulers import make_scheduler
from raytl.on_ray.search import Search
from raytl.on_ray.stages import Stages
from tests.plans import make_album, make_plan, make_recorder


class Locked(Live):
    """Holds what no pickle can hold."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def test_a_live_object_pickles_to_nothing() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(threading.Lock())
    for dumps in (pickle.dumps, cloudpickle.dumps):
        assert type(pickle.loads(dumps([Locked()]))[0]) is object


def test_what_is_given_to_tune_can_be_pickled(tmp_path: Path) -> None:
    plan = make_plan((make_album(tmp_path / "pictures"),), tmp_path)
    recorder = make_recorder(tmp_path / "study")
    bridge = Bridge(plan, recorder, 1, Deadline(None), lambda trial, report: None)
    scheduler = StudyScheduler(partial(make_scheduler, "asha", 9), bridge, per_backbone=True)
    stages = Stages([lambda: Search(plan, recorder, tmp_path / "checkpoints", Deadline(None))])
    given = [stages, scheduler, TuneEvents(bridge, stages.chore_ended)]
    content = cloudpickle.dumps(given)
    assert [type(each) for each in pickle.loads(content)] == [object] * len(given)
    assert len(content) < 1_000
