"""What a study asks Tune for."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytl.data.album import Album
from raytl.on_ray.bridge import Bridge
from raytl.on_ray.cluster import Slots
from raytl.on_ray.ddp import WAITING, GroupTrial
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.experiment import make_study_scheduler, ray_folder, trainable
from raytl.on_ray.schedulers import SeededAsha
from raytl.on_ray.warm import WarmTrial
from raytl.results.folder import StudyFolder
from tests.plans import make_album, make_plan, make_recorder, make_workplace


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize(
    ("slots", "asked"),
    [
        (Slots(2, 1, 3, False), {"CPU": 3}),
        (Slots(2, 1, 3, True), {"CPU": 3, "GPU": 1}),
        (Slots(1, 2, 4, False), {"CPU": WAITING}),
    ],
)
def test_what_a_trial_asks_tune_for(album: Album, tmp_path: Path, slots: Slots, asked: dict[str, float]) -> None:
    function = trainable(make_workplace((album,), tmp_path), slots, StudyFolder(tmp_path))
    assert function.default_resource_request({}).required_resources == asked
    assert issubclass(function, WarmTrial if slots.workers == 1 else GroupTrial)


@pytest.mark.parametrize(("epochs", "grace"), [(1, 1), (9, 1), (27, 3)])
def test_the_first_comparison_comes_after_a_ninth_of_the_epochs(
    album: Album, tmp_path: Path, epochs: int, grace: int
) -> None:
    plan = make_plan((album,), tmp_path, epochs=epochs)
    bridge = Bridge(plan, make_recorder(tmp_path / "study"), 1, Deadline(None), lambda trial, report: None)
    child = make_study_scheduler(plan, bridge, 1)._make_child()
    assert isinstance(child, SeededAsha) and child._max_t == epochs
    (bracket,) = child._brackets
    assert min(milestone for milestone, _ in bracket._rungs) == grace


def test_ray_gets_a_whole_path_for_a_folder_that_is_named_from_here() -> None:
    assert ray_folder(StudyFolder(Path("results/flowers"))).is_absolute()
