"""What is said before a study begins: counts as counted by hand, and nothing where there is nothing to say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from raytl.address import Place
from raytl.data.album import Album
from raytl.design import Design
from raytl.metric import METRICS
from raytl.on_ray.briefing import data_lines, known_lines, most_trials, place_lines, plan_lines
from raytl.on_ray.cluster import Slots
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Recorder
from raytl.study import Study
from tests.plans import make_album, make_plan
from tests.rows import epoch_row, trial_row

SLOTS = Slots(2, 1, 1, use_gpu=False)


@pytest.fixture
def album(tmp_path: Path) -> Album:
    return make_album(tmp_path / "pictures")


def test_pictures_are_counted_and_what_is_wrong_with_some_is_said(album: Album) -> None:
    bad = replace(album.pictures[0], path="a/0.png", status="bad", reason="cut short")
    counts = [sum(row.split == split for row in album.pictures) for split in ("train", "val", "test")]
    assert data_lines(album) == [
        f"data: 24 pictures in 2 classes ({counts[0]} train, {counts[1]} val, {counts[2]} test)"
    ]
    assert data_lines(replace(album, pictures=(bad, *album.pictures[1:])))[1:] == ["  bad: a/0.png: cut short"]


def test_the_place_is_told_where_somebody_chose_it() -> None:
    assert place_lines(Place(None, ""), has_joined=False) == []
    assert place_lines(Place("h:1", "--address says"), has_joined=False) == [
        "Ray: the cluster at h:1, as --address says"
    ]
    assert place_lines(Place("h:1", "--address says"), has_joined=True) == [
        "Ray: the one that this process has joined already"
    ]


def test_what_an_earlier_run_left_is_told(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.create()
    recorder = Recorder(folder, METRICS["val_accuracy"], [])
    assert known_lines(recorder, 0) == []
    assert known_lines(recorder, 3) == ["  3 files that an interrupted write left were removed"]
    recorder.trials |= {
        "done": trial_row(trial_id="done", status="completed"),
        "half": trial_row(trial_id="half", status="running"),
        "new": trial_row(trial_id="new", status="running"),
        "newer": trial_row(trial_id="newer", status="running"),
    }
    recorder.epochs |= {"half": [epoch_row(trial_id="half")], "new": [], "newer": []}
    assert known_lines(recorder, 0) == ["going on: 1 trials kept, 1 continued from their checkpoints, 2 begun again"]
    recorder.close()


def test_backbones_come_first_then_the_work(album: Album, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    *backbones, work = plan_lines(make_plan((album,), cache, trials=4, confirm_seeds=2), SLOTS)
    assert backbones == [
        f"{name}: 0.00M parameters, 3 stages, 16 pixels, fp32" for name in ("plain_cnn", "tiny_resnet")
    ]
    assert work.startswith("search: 8 trials (4 per backbone) of up to 9 epochs; then 2 seeds of the best; 2 trials at")
    assert "; then 1 seed of" in plan_lines(make_plan((album,), cache, confirm_seeds=1), SLOTS)[-1]
    design = {"loss": {"plain": {}, "focal": {"loss": "focal"}}, "smoothing": {"none": {}, "some": {"epochs": 3}}}
    designed = plan_lines(make_plan((album,), cache, confirm_seeds=3, design=design), SLOTS)[-1]
    assert designed.startswith("design: 24 runs of up to 9 epochs; 2 trials at a time")


def test_runs_of_a_design_are_its_cells_times_seeds_splits_and_backbones() -> None:
    study = Study(name="s", data="d", backbones=("a", "b", "c"), trials=7, confirm_seeds=2, splits=5)
    assert most_trials(study) == 21
    factors: Design = {"x": {"1": {}, "2": {"lr": 0.1}}, "y": {"1": {}, "2": {"epochs": 2}, "3": {"epochs": 3}}}
    assert most_trials(replace(study, design=factors)) == 6 * 2 * 5 * 3
