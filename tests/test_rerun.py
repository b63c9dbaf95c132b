"""A trial of a real study trained again, with a real Ray: its figures come again, the first ledger stays as it was."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from PIL import Image
from rich.console import Console

from raytl.data.samples import write_sample
from raytl.errors import DataError
from raytl.metric import METRICS
from raytl.on_ray.driver import run_study
from raytl.on_ray.rerun import Until, Wanted, rerun_trial
from raytl.results.folder import StudyFolder
from raytl.results.loaded import LoadedStudy, load_study
from raytl.results.log_lines import LogLines
from raytl.results.recorder import Recorder
from raytl.results.repeat import repeat_of
from raytl.results.schemas import TrialRow
from raytl.results.tables import confirmed_rows, epoch_rows, learning_curve, trial_rows
from raytl.study import Study
from tests.rows import epoch_row, trial_row

PICTURES = 14


@dataclass(frozen=True)
class First:
    """A finished study and what it was."""

    study: Study
    loaded: LoadedStudy

    def trial(self, stage: str) -> TrialRow:
        rows = [row for row in trial_rows(self.loaded.trials) if row.stage == stage and row.status == "completed"]
        return rows[-1]

    def wanted(self, trial: TrialRow, changed_data: bool = False) -> Wanted:
        return Wanted(trial, self.study, self.loaded.folder, self.loaded.tables, changed_data)


def silent(study: Study) -> LogLines:
    return LogLines(METRICS[study.metric], Console(quiet=True))


@pytest.fixture(scope="module")
def first(one_ray: None, tmp_path_factory: pytest.TempPathFactory) -> First:
    root = tmp_path_factory.mktemp("rerun")
    pictures = write_sample("drawn-flowers", root / "flowers", per_class=PICTURES)
    study = Study(
        name="small", data=str(pictures), backbones=("tiny_resnet",), trials=3, epochs=2, confirm_seeds=1, brackets=1
    )
    run_study(study, root / "small", lambda _: None, silent(study))
    return First(study, load_study(root / "small"))


def ledger(folder: StudyFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.ledger.iterdir()}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("stage", ["probe", "search", "confirm"])
def test_a_trial_comes_again_to_the_last_digit(stage: str, first: First, tmp_path: Path) -> None:
    trial, before = first.trial(stage), ledger(first.loaded.folder)
    job = rerun_trial(first.wanted(trial), tmp_path / "again", silent(first.study), lambda _: None)
    assert job.trial_id == trial.trial_id
    again = load_study(tmp_path / "again")
    (row,) = trial_rows(again.trials)
    assert (row.status, row.epochs_run, row.stage, row.recipe) == ("completed", 2, stage, trial.recipe)
    old, new = (epoch_rows(learning_curve(each.tables, trial.trial_id)) for each in (first.loaded, again))
    tested = [
        found
        for each in (first.loaded, again)
        for found in confirmed_rows(each.confirmed)
        if found.trial_id == trial.trial_id
    ]
    assert len(tested) == (2 if stage == "confirm" else 0) and len(old) == 2
    assert repeat_of(old, new, tested, []).equal
    assert ledger(first.loaded.folder) == before
    assert again.folder.read_study()["rerun_of"] == {
        "folder": str(first.loaded.folder.root),
        "trial_id": trial.trial_id,
    }


@pytest.mark.ray
@pytest.mark.slow
def test_a_stopped_trial_is_stopped_at_the_same_epoch(first: First, tmp_path: Path) -> None:
    stopped = replace(first.trial("search"), status="stopped", epochs_run=1)
    rerun_trial(first.wanted(stopped), tmp_path / "again", silent(first.study), lambda _: None)
    (row,) = trial_rows(load_study(tmp_path / "again").trials)
    assert (row.status, row.epochs_run) == ("stopped", 1)
    assert "it was stopped there the first time, too" in str(row.reason)


@pytest.mark.ray
@pytest.mark.slow
def test_changed_pictures_are_refused_unless_that_is_said(first: First, tmp_path: Path) -> None:
    copy = shutil.copytree(first.study.data, tmp_path / "flowers")
    changed = next(copy.rglob("*.png"))
    Image.new("RGB", (64, 64), (9, 80, 7)).save(changed)
    moved = First(replace(first.study, data=str(copy)), first.loaded)
    trial = first.trial("search")
    with pytest.raises(DataError, match="1 picture with other content") as caught:
        rerun_trial(moved.wanted(trial), tmp_path / "again", silent(first.study), lambda _: None)
    assert "--changed-data" in caught.value.problems[-1] and not (tmp_path / "again").exists()
    job = rerun_trial(moved.wanted(trial, True), tmp_path / "again", silent(first.study), lambda _: None)
    (row,) = trial_rows(load_study(tmp_path / "again").trials)
    assert row.trial_id == job.trial_id != trial.trial_id and row.status == "completed"


def test_only_a_stopped_trial_ends_before_its_epochs_are_done() -> None:
    recorder = cast(Recorder, SimpleNamespace(epochs={"t": [epoch_row()]}))
    stopped, whole = trial_row(status="stopped", epochs_run=2), trial_row(status="completed", epochs_run=1)
    until = Until(recorder, stopped, "t")
    unbegun = trial_row(status="stopped", epochs_run=0)
    assert not until.passed and not Until(recorder, whole, "t").passed
    assert not Until(recorder, unbegun, "t").passed, "it is trained now, all of it"
    recorder.epochs["t"].append(epoch_row(epoch=2))
    assert until.passed
