"""What a search proposes, and which checkpoints it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytl.data.album import Album
from raytl.on_ray.bridge import Bridge
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.ladder import DEEPENED
from raytl.on_ray.search import Keeper, Search
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Ending, Recorder
from raytl.results.schemas import TrialRow
from raytl.study import LADDER
from tests.plans import make_album, make_plan, make_recorder, make_report
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


def test_what_is_proposed_is_told_and_its_checkpoint_kept_or_not(album: Album, tmp_path: Path) -> None:
    plan = make_plan((album,), tmp_path, backbones=("plain_cnn",), trials=3)
    recorder = make_recorder(tmp_path / "study")
    checkpoints = StudyFolder(tmp_path / "study").checkpoints
    stage = Search(plan, recorder, checkpoints, Deadline(None))
    bridge = Bridge(plan, recorder, 1, Deadline(None), stage.trial_ended)
    names = []
    for score in (0.5, 0.9, 0.7):
        job = stage.next()
        assert job is not None
        (checkpoints / job.trial_id).mkdir(parents=True)
        bridge.start(job, "tune")
        bridge.take(make_report(job, 1, score, ended="completed"))
        bridge.end(job)
        names.append(job.trial_id)
    assert stage.next() is None
    assert [path.name for path in checkpoints.iterdir()] == [names[1]]
    searcher = stage._proposals._children["plain_cnn"]._searcher
    assert [each.score for each in searcher.seen] == [0.5, 0.9, 0.7]  # type: ignore[attr-defined]


def test_under_the_ladder_a_search_begins_from_the_heads(album: Album, tmp_path: Path) -> None:
    plan = make_plan((album,), tmp_path, backbones=("plain_cnn",), policy=LADDER)
    recorder = make_recorder(tmp_path / "study")
    head = plan.of("plain_cnn").probe
    recorder.start(trial_row(trial_id="head", backbone="plain_cnn", recipe=head, stage="probe", origin="head"))
    recorder.epoch(epoch_row(trial_id="head", val_accuracy=0.9))
    recorder.end("head", Ending("completed"))
    job = Search(plan, recorder, tmp_path / "checkpoints", Deadline(None)).next()
    assert job is not None and job.role == DEEPENED
