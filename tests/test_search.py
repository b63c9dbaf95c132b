"""What a search proposes, and which checkpoints it keeps."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from raytl.data.album import Album
from raytl.on_ray.bridge import Bridge
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.ladder import DEEPENED
from raytl.on_ray.search import Search
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Ending
from raytl.study import LADDER
from tests.plans import make_album, make_plan, make_recorder, make_report
from tests.rows import epoch_row, trial_row


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


def test_a_study_that_goes_on_keeps_checkpoints_that_a_trial_may_go_on_from(album: Album, tmp_path: Path) -> None:
    recorder, checkpoints = make_recorder(tmp_path / "study"), StudyFolder(tmp_path / "study").checkpoints
    ended = {"a1": "failed", "a2": "failed", "a3": "stopped", "a4": "running", "final": "completed"}
    for name, status in ended.items():
        (checkpoints / name).mkdir(parents=True)
        stage = "confirm" if name == "final" else "search"
        recorder.start(trial_row(trial_id=name, backbone="plain_cnn", stage=stage))
        recorder.epoch(epoch_row(trial_id=name))
        if status != "running":
            recorder.end(name, Ending(status))
    Search(make_plan((album,), tmp_path), make_recorder(tmp_path / "study"), checkpoints, Deadline(None))
    assert {path.name for path in checkpoints.iterdir()} == {"a3", "a4", "final"}


def test_what_the_deadline_leaves_no_time_for_ends_with_what_it_has_shown(album: Album, tmp_path: Path) -> None:
    plan, recorder = make_plan((album,), tmp_path), make_recorder(tmp_path / "study")
    checkpoints = StudyFolder(tmp_path / "study").checkpoints
    (checkpoints / "a").mkdir(parents=True)
    recorder.start(trial_row(trial_id="a", backbone="plain_cnn", recipe=plan.of("plain_cnn").default))
    recorder.epoch(epoch_row(trial_id="a"))
    assert Search(plan, recorder, checkpoints, Deadline(0.0)).next() is None
    assert recorder.trials["a"].status == "stopped" and [path.name for path in checkpoints.iterdir()] == ["a"]


def test_of_trials_that_are_over_the_likeliest_to_be_confirmed_keep_their_checkpoints(
    album: Album, tmp_path: Path
) -> None:
    recorder, checkpoints = make_recorder(tmp_path / "study"), StudyFolder(tmp_path / "study").checkpoints
    plan = make_plan((album,), tmp_path, backbones=("plain_cnn",), policy=LADDER)
    stage = Search(plan, recorder, checkpoints, Deadline(None))
    left = []
    for name, score, depth in (
        ("a", 0.5, 0),
        ("b", 0.9, 1),
        ("c", 0.9, 0),
        ("d", 0.92, 2),
        ("e", 0.9, 3),
        ("f", 0.1, 3),
    ):
        (checkpoints / name).mkdir(parents=True)
        begun = trial_row(trial_id=name, backbone="plain_cnn", stage="search", frozen_fraction=depth / 4)
        recorder.start(begun)
        recorder.epoch(epoch_row(trial_id=name, val_accuracy=score))
        stage.trial_ended(recorder.end(name, Ending("completed")), None)
        left.append("".join(sorted(path.name for path in checkpoints.iterdir())))
    assert left == ["a", "b", "bc", "bcd", "bde", "bde"]


def test_which_trials_are_likely_is_judged_by_all_that_have_ended(album: Album, tmp_path: Path) -> None:
    """The best trial sets what is near, also when its own checkpoint is not among those that are kept."""
    recorder, checkpoints = make_recorder(tmp_path / "study"), StudyFolder(tmp_path / "study").checkpoints
    plan = make_plan((album,), tmp_path, backbones=("plain_cnn",), policy=LADDER)
    stage = Search(plan, recorder, checkpoints, Deadline(None))
    noise = math.sqrt(0.5 * 0.5 / len(album.part("val")))
    near, far = 0.5 - noise / 2, 0.5 - 1.2 * noise
    for name, score, share in (("a", 0.5, 0.0), ("b", near, 0.3), ("c", near, 0.3), ("d", near, 0.3), ("e", far, 0.9)):
        (checkpoints / name).mkdir(parents=True)
        recorder.start(trial_row(trial_id=name, backbone="plain_cnn", stage="search", frozen_fraction=share))
        recorder.epoch(epoch_row(trial_id=name, val_accuracy=score))
        stage.trial_ended(recorder.end(name, Ending("completed")), None)
    assert {path.name for path in checkpoints.iterdir()} == {"b", "c", "d"}


def test_no_checkpoint_is_kept_where_final_models_are_trained_for_longer(album: Album, tmp_path: Path) -> None:
    recorder, checkpoints = make_recorder(tmp_path / "study"), StudyFolder(tmp_path / "study").checkpoints
    row = trial_row(trial_id="a", backbone="plain_cnn", stage="search")
    plan = make_plan((album,), tmp_path, backbones=("plain_cnn",), confirm_epochs=row.recipe.epochs + 1)
    stage = Search(plan, recorder, checkpoints, Deadline(None))
    (checkpoints / "a").mkdir(parents=True)
    recorder.start(row)
    recorder.epoch(epoch_row(trial_id="a"))
    stage.trial_ended(recorder.end("a", Ending("completed")), None)
    assert not list(checkpoints.iterdir())


def test_what_is_proposed_is_told_and_the_best_keeps_its_checkpoint(album: Album, tmp_path: Path) -> None:
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
    assert len(set(names)) == 3 and [path.name for path in checkpoints.iterdir()] == [names[1]]
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
