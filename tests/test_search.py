"""Which checkpoints a search keeps, and what it asks Tune for."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray import tune

from raytl.data.album import Album
from raytl.on_ray.bridge import Bridge
from raytl.on_ray.cluster import Slots
from raytl.on_ray.ddp import SLIVER
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.schedulers import SeededAsha
from raytl.on_ray.search import Keeper, make_study_scheduler, ray_folder, trainable
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Ending, Recorder
from raytl.results.schemas import TrialRow
from tests.plans import make_album, make_plan, make_recorder, make_workplace
from tests.rows import epoch_row, trial_row


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


class Trials:
    """Trials of a study folder with a file in each checkpoint."""

    def __init__(self, root: Path, metric: str = "val_accuracy") -> None:
        self.recorder: Recorder = make_recorder(root, metric)
        self.checkpoints = root / "checkpoints"
        self.keeper = Keeper(self.checkpoints, self.recorder)

    def add(self, name: str, backbone: str, score: float, status: str = "completed", stage: str = "search") -> TrialRow:
        (self.checkpoints / name).mkdir(parents=True)
        (self.checkpoints / name / "last.safetensors").touch()
        self.recorder.start(trial_row(trial_id=name, backbone=backbone, stage=stage))
        self.recorder.epoch(epoch_row(trial_id=name, val_accuracy=score, val_loss=1 - score))
        if status == "running":
            return self.recorder.trials[name]
        row = self.recorder.end(name, Ending(status))
        if stage == "search":
            self.keeper.ended(row)
        return row

    def kept(self) -> set[str]:
        return {path.name for path in self.checkpoints.iterdir()}


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_only_the_best_checkpoint_of_each_backbone_is_kept(tmp_path: Path, metric: str) -> None:
    trials = Trials(tmp_path, metric)
    scores = {"a1": 0.5, "b1": 0.9, "a2": 0.7, "a3": 0.6, "b2": 0.4}
    for name, score in scores.items():
        trials.add(name, name[0], score, "stopped" if name == "a2" else "completed")
    assert trials.kept() == {"a2", "b1"}


def test_a_trial_without_a_figure_keeps_nothing_and_displaces_nothing(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    for name, status in (("a1", "failed"), ("a2", "completed"), ("a3", "diverged"), ("a4", "running")):
        trials.add(name, "a", 0.5, status)
    assert trials.kept() == {"a2", "a4"}


def test_of_equal_trials_the_first_is_kept(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    for name in ("a1", "a2"):
        trials.add(name, "a", 0.5)
    assert trials.kept() == {"a1"}


def test_a_study_that_goes_on_knows_its_best_and_touches_no_final_model(tmp_path: Path) -> None:
    trials = Trials(tmp_path)
    trials.add("a1", "a", 0.8)
    trials.add("a2", "a", 0.9, "running")
    trials.add("final", "a", 0.99, stage="confirm")
    again = Trials(tmp_path)
    again.add("a3", "a", 0.7)
    assert again.kept() == {"a1", "a2", "final"}
    again.keeper.ended(again.recorder.end("a2", Ending("completed")))
    assert again.kept() == {"a2", "final"}


@pytest.mark.parametrize(
    ("slots", "asked"),
    [
        (Slots(2, 1, 3, False), {"CPU": 3}),
        (Slots(2, 1, 3, True), {"CPU": 3, "GPU": 1}),
        (Slots(1, 2, 4, False), {"CPU": SLIVER}),
    ],
)
def test_what_a_trial_asks_tune_for(album: Album, tmp_path: Path, slots: Slots, asked: dict[str, float]) -> None:
    function = trainable(make_workplace((album,), tmp_path), slots, StudyFolder(tmp_path), None)
    resources = getattr(function, "_resources", None) or function.default_resource_request({})
    assert resources.required_resources == asked
    is_class = isinstance(function, type) and issubclass(function, tune.Trainable)
    assert is_class == (slots.workers == 1)


@pytest.mark.parametrize(("epochs", "grace"), [(1, 1), (9, 1), (27, 3)])
def test_the_first_comparison_comes_after_a_ninth_of_the_epochs(
    album: Album, tmp_path: Path, epochs: int, grace: int
) -> None:
    plan = make_plan((album,), tmp_path, epochs=epochs)
    bridge = Bridge(plan, make_recorder(tmp_path / "study"), 1, Deadline(None), lambda trial, report: None)
    child = make_study_scheduler(plan, bridge, None)._make_child()
    assert isinstance(child, SeededAsha) and child._max_t == epochs
    (bracket,) = child._brackets
    assert min(milestone for milestone, _ in bracket._rungs) == grace


def test_ray_gets_a_whole_path_for_a_folder_that_is_named_from_here() -> None:
    assert ray_folder(StudyFolder(Path("results/flowers"))).is_absolute()
