"""Which final models are trained, and what is recorded of their one reading of the test set."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from raytl.data.album import Album
from raytl.design import Design, cells_of
from raytl.identity import recipe_hash, trial_id
from raytl.metric import Figures
from raytl.on_ray.bridge import Bridge
from raytl.on_ray.confirm import Confirmation, final_jobs, searched_trials
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.job import Job, Twin
from raytl.on_ray.plan import Plan
from raytl.recipe import Recipe
from raytl.results.final_figures import FinalFigures
from raytl.results.folder import StudyFolder
from raytl.results.ledger import read
from raytl.results.recorder import Ending, Recorder
from raytl.results.tables import confirmed_rows, load_tables
from tests.plans import STAGES, make_album, make_plan, make_recorder, make_report
from tests.rows import confirmed_row, epoch_row, prediction_row, trial_row

CNN, RESNET = "plain_cnn", "tiny_resnet"


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


class Searched:
    """A study whose search is over."""

    def __init__(self, album: Album, root: Path, splits: int = 1, **values: Any) -> None:
        self.root = root
        albums = (album, *(album.resplit(index) for index in range(1, splits)))
        self.plan: Plan = make_plan(albums, root, splits=splits, **values)
        self.recorder: Recorder = make_recorder(root / "study")

    def add(self, name: str, recipe: Recipe, accuracy: float, status: str = "completed", **values: Any) -> None:
        row = trial_row(trial_id=name, backbone=recipe.backbone, recipe=recipe, **values)
        self.recorder.start(row)
        self.recorder.epoch(epoch_row(trial_id=name, val_accuracy=accuracy, val_loss=1 - accuracy))
        self.recorder.end(name, Ending(status))

    def recipe(self, backbone: str = CNN, lr: float = 0.01) -> Recipe:
        return replace(self.plan.of(backbone).default, lr=lr)

    def jobs(self) -> list[Job]:
        return final_jobs(self.plan, self.recorder)


def test_the_best_recipe_and_the_probe_of_each_backbone_are_confirmed(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, splits=2, confirm_seeds=3, seed=10)
    for backbone in (CNN, RESNET):
        study.add(f"{backbone}-good", study.recipe(backbone), 0.9)
        study.add(f"{backbone}-bad", study.recipe(backbone, 0.02), 0.8)
    jobs = study.jobs()
    expected = {
        (split, recipe.with_seed(10 + index), role)
        for split in (0, 1)
        for backbone in (CNN, RESNET)
        for role, recipe in (("best", study.recipe(backbone)), ("probe", study.plan.of(backbone).probe))
        for index in range(3)
    }
    assert {(job.split, job.recipe, job.role) for job in jobs} == expected
    assert len(jobs) == len(expected) == 24 and len({job.trial_id for job in jobs}) == 24
    for job in jobs:
        fingerprint = study.plan.albums[job.split].fingerprint
        assert job.trial_id == trial_id(job.recipe, fingerprint, "confirm")
        assert job.reads_test_set and job.recorded_epochs == 0


def test_a_probe_that_is_the_best_is_confirmed_once(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path)
    probe = study.plan.of(CNN).probe
    study.add("probe", probe, 0.9)
    study.add("other", study.recipe(), 0.8)
    assert [(job.role, job.recipe) for job in study.jobs()] == [("probe", probe.with_seed(seed)) for seed in (0, 1)]


def test_a_backbone_without_a_figure_has_no_final_model(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path)
    study.add("a", study.recipe(), 0.9, "failed")
    study.add("b", study.recipe(RESNET), 0.9, "stopped")
    study.recorder.start(trial_row(trial_id="c", backbone=CNN, recipe=study.recipe(lr=0.02)))
    study.recorder.end("c", Ending("stopped", "the time was used up before its first epoch"))
    assert {job.recipe.backbone for job in study.jobs()} == {RESNET}
    assert searched_trials(study.recorder, CNN) == []


def test_what_was_tested_is_left_out_and_what_was_begun_goes_on(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, backbones=(CNN,))
    study.add("a", study.recipe(), 0.9)
    first, second, *others = study.jobs()
    assert len(others) == 2
    study.add(first.trial_id, first.recipe, 0.9, stage="confirm")
    study.recorder.confirmed(confirmed_row(trial_id=first.trial_id), [prediction_row(trial_id=first.trial_id)])
    study.recorder.start(trial_row(trial_id=second.trial_id, stage="confirm"))
    for epoch in (1, 2):
        study.recorder.epoch(epoch_row(trial_id=second.trial_id, epoch=epoch))
    again = Searched(album, tmp_path, backbones=(CNN,))
    assert again.jobs() == [replace(second, recorded_epochs=2, attempt=2), *others]


def test_the_best_trial_is_of_the_search_and_ties_go_to_the_lower_loss(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, backbones=(CNN,))
    for index, (name, accuracy, loss, status, stage) in enumerate(
        (
            ("first", 0.8, 0.5, "completed", "search"),
            ("lower", 0.8, 0.4, "stopped", "search"),
            ("final", 0.95, 0.1, "completed", "confirm"),
            ("failed", 0.99, 0.1, "failed", "search"),
            ("diverged", 0.99, 0.1, "diverged", "search"),
        )
    ):
        recipe = study.recipe(lr=0.01 * (1 + index))
        study.recorder.start(trial_row(trial_id=name, backbone=CNN, recipe=recipe, stage=stage))
        study.recorder.epoch(epoch_row(trial_id=name, val_accuracy=accuracy, val_loss=loss))
        study.recorder.end(name, Ending(status))
    assert [row.trial_id for row in searched_trials(study.recorder, CNN)] == ["first", "lower"]
    assert roles(study)["best"] == study.recipe(lr=0.02)


@pytest.mark.parametrize(("policy", "chosen"), [("ladder", 0.02), ("flat", 0.01)])
def test_what_cannot_be_told_from_the_best_is_confirmed_where_it_is_cheapest(
    policy: str, chosen: float, album: Album, tmp_path: Path
) -> None:
    study = Searched(album, tmp_path, backbones=(CNN,), policy=policy)
    count = len(album.part("val"))
    error = (0.5 * 0.5 / count) ** 0.5
    for name, accuracy, lr, frozen in (
        ("best", 0.5, 0.01, 0.2),
        ("near", 0.5 - 0.9 * error, 0.02, 0.6),
        ("nearer", 0.5 - 0.5 * error, 0.03, 0.4),
        ("far", 0.5 - 1.1 * error, 0.04, 0.9),
    ):
        study.add(name, study.recipe(lr=lr), accuracy, frozen_fraction=frozen)
    assert roles(study)["best"].lr == chosen
    head = replace(study.plan.of(CNN).probe, ema_decay=0.9)
    study.add("head", head, 0.5 - 0.7 * error, stage="probe")
    assert roles(study)["best"].lr == (0.03 if policy == "ladder" else 0.01), "no better than the head"


def test_a_best_one_without_a_mistake_is_no_surer_than_one_with_a_single_mistake(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, backbones=(CNN,), policy="ladder")
    mistake = 1 / len(album.part("val"))
    for accuracy, lr, frozen in ((1.0, 0.01, 0.2), (1.0 - mistake, 0.02, 0.6), (1.0 - 2 * mistake, 0.03, 0.9)):
        study.add(f"at {lr}", study.recipe(lr=lr), accuracy, frozen_fraction=frozen)
    assert roles(study)["best"].lr == 0.02


def figures(seed: int, pictures: int = 30, classes: int = 2) -> FinalFigures:
    """A reading of the test set, its figures counted by scikit-learn."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, pictures)
    probabilities = rng.dirichlet(np.ones(classes), pictures).astype(np.float32)
    predicted = probabilities.argmax(1)
    return FinalFigures(
        accuracy=float(accuracy_score(labels, predicted)),
        macro_f1=float(f1_score(labels, predicted, average="macro")),
        loss=float(log_loss(labels, probabilities)),
        auc=0.5,
        correct=int((labels == predicted).sum()),
        images_per_second=100.0,
        paths=tuple(f"{index:03d}.png" for index in range(pictures)),
        labels=tuple(labels.tolist()),
        predicted=tuple(predicted.tolist()),
        probabilities=probabilities,
    )


class Confirmed(Searched):
    """A study whose final models are reported by hand."""

    def __init__(self, album: Album, root: Path) -> None:
        super().__init__(album, root, splits=2)
        self.add("a", self.recipe(), 0.9)
        self.stage = Confirmation(self.plan, self.recorder, root / "checkpoints")
        self.bridge = Bridge(self.plan, self.recorder, 1, Deadline(None), self.stage.trial_ended)
        self.hand = tuple(self.jobs()[-3:])  # of the second split

    def report(self, job: Job, epoch: int, score: float = 0.5, **values: Any) -> None:
        if epoch == 1:
            self.bridge.start(job, "tune1")
        report = make_report(job, epoch, score, **values)
        self.bridge.take(report)
        if report.ended:
            self.bridge.end(job)

    def confirmed(self) -> list[str]:
        return read(self.root / "study" / "ledger", "confirmed")["trial_id"].to_pylist()


def test_test_figures_are_recorded_with_each_picture(album: Album, tmp_path: Path) -> None:
    study = Confirmed(album, tmp_path)
    job, test = study.hand[0], figures(1)
    study.report(job, 1, 0.75)
    assert study.recorder.trials[job.trial_id].status == "running"
    study.report(job, 2, 0.5, ended="completed", test=test)
    assert study.recorder.trials[job.trial_id].status == "completed"
    tables = load_tables(StudyFolder(tmp_path / "study"))
    (row,) = confirmed_rows(tables.confirmed)
    predictions = tables.predictions.sort_by("path").to_pylist()
    labels, predicted = ([each[name] for each in predictions] for name in ("label", "predicted"))
    probabilities = np.array([each["probabilities"] for each in predictions], dtype=np.float32)
    assert row.test_accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert row.test_macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert row.test_loss == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    assert (row.correct, row.test_count) == (round(30 * row.test_accuracy), 30)
    assert [album.classes[index] for index in probabilities.argmax(1)] == predicted
    assert (row.trial_id, row.role, row.seed, row.split) == (job.trial_id, job.role, job.recipe.seed, 1)
    assert row.recipe_hash == recipe_hash(job.recipe, study.plan.albums[1].fingerprint)
    best = study.recorder.best_epoch(job.trial_id)
    assert best is not None and row.val_accuracy == best.val_accuracy and row.val_loss == best.val_loss
    assert row.test_auc == 0.5 and row.train_seconds == study.recorder.trials[job.trial_id].seconds
    assert {each["trial_id"] for each in predictions} == {job.trial_id}


def test_a_final_model_that_diverged_has_no_test_figures(album: Album, tmp_path: Path) -> None:
    study = Confirmed(album, tmp_path)
    job = study.hand[0]
    study.report(job, 1)
    study.report(job, 2, row=None, ended="diverged", reason="loss=nan")
    assert study.recorder.trials[job.trial_id].status == "diverged" and study.confirmed() == []


def test_final_models_are_handed_out_one_by_one_and_those_that_were_tested_not_again(
    album: Album, tmp_path: Path
) -> None:
    study = Confirmed(album, tmp_path)
    jobs = study.jobs()
    assert [study.stage.next() for _ in range(len(jobs) + 1)] == [*jobs, None]
    for job in jobs:
        study.report(job, 1, ended="completed", test=figures(0))
    assert study.confirmed() == [job.trial_id for job in jobs]
    assert Confirmation(study.plan, study.recorder, tmp_path / "checkpoints").next() is None


def test_what_the_search_has_trained_is_taken_over_under_its_seed_and_split(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, splits=2, confirm_seeds=2, seed=10)
    recipe = study.recipe().with_seed(11)
    name = trial_id(recipe, album.fingerprint, "search")
    study.add(name, recipe, 0.9)
    twins = {(job.split, job.recipe.seed, job.role): job.twin for job in study.jobs() if job.twin}
    assert list(twins) == [(0, 11, "best")]
    assert twins[0, 11, "best"] == Twin(name, tuple(study.recorder.epochs[name]))
    study.add(
        trial_id(study.recipe(lr=0.5).with_seed(10), album.fingerprint, "search"), study.recipe(lr=0.5), 0.95, "failed"
    )
    unbegun = trial_id(study.recipe().with_seed(10), album.fingerprint, "search")
    study.recorder.start(trial_row(trial_id=unbegun, backbone=CNN, recipe=study.recipe().with_seed(10)))
    study.recorder.end(unbegun, Ending("stopped", "the time was used up before its first epoch"))
    assert [job.twin is not None for job in study.jobs()].count(True) == 1


def test_a_final_model_in_whose_place_another_is_confirmed_ends(album: Album, tmp_path: Path) -> None:
    """The confirmation was interrupted, and the search found something better with the time it was given then."""
    study = Searched(album, tmp_path, confirm_seeds=1)
    study.add("a", study.recipe(), 0.8)
    (begun,) = [job for job in study.jobs() if job.role == "best"]
    (going_on,) = [job for job in study.jobs() if job.role == "probe"]
    for job in (begun, going_on):
        study.recorder.start(trial_row(trial_id=job.trial_id, stage="confirm", backbone=CNN, recipe=job.recipe))
        (tmp_path / "checkpoints" / job.trial_id).mkdir(parents=True)
    study.add("b", study.recipe(lr=0.02), 0.9)
    stage = Confirmation(study.plan, study.recorder, tmp_path / "checkpoints")
    row = study.recorder.trials[begun.trial_id]
    assert (row.status, row.reason) == ("stopped", "another recipe is confirmed in its place before its first epoch")
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {going_on.trial_id}
    left = [job.trial_id for job in iter(stage.next, None) if job is not None]
    assert begun.trial_id not in left and going_on.trial_id in left


def test_f10_a_tested_model_whose_trial_was_lost_is_tested_again(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path)
    study.add("a", study.recipe(), 0.8)
    first, second, *others = study.jobs()
    for job in (first, second):
        study.add(job.trial_id, job.recipe, 0.8, stage="confirm")
        study.recorder.confirmed(confirmed_row(trial_id=job.trial_id), [prediction_row(trial_id=job.trial_id)])
    for path in (tmp_path / "study" / "ledger").glob("*trials*"):
        if first.trial_id.encode() in path.read_bytes():
            path.unlink()
    again = Searched(album, tmp_path)
    assert [job.trial_id for job in again.jobs()] == [job.trial_id for job in (first, *others)]
    assert again.jobs()[0].recorded_epochs == 1


def test_a_final_model_that_diverged_is_not_trained_again(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, confirm_seeds=2)
    study.add("a", study.recipe(), 0.8)
    first, second, *others = study.jobs()
    study.add(first.trial_id, first.recipe, 0.8, "diverged", stage="confirm")
    study.add(second.trial_id, second.recipe, 0.8, "failed", stage="confirm")
    assert [job.trial_id for job in study.jobs()] == [job.trial_id for job in (second, *others)]


def test_checkpoints_of_the_search_are_removed_when_nobody_needs_them(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path)
    name = trial_id(study.recipe(), album.fingerprint, "search")
    study.add(name, study.recipe(), 0.9)
    study.add("worse", study.recipe(lr=0.02), 0.8)
    for each in (name, "worse", "final"):
        (tmp_path / "checkpoints" / each).mkdir(parents=True)
    stage = Confirmation(study.plan, study.recorder, tmp_path / "checkpoints")
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {name, "final"}
    bridge = Bridge(study.plan, study.recorder, 1, Deadline(None), stage.trial_ended)
    job = next(job for job in study.jobs() if job.twin)
    assert job.twin is not None
    bridge.start(job, "tune1")
    report = make_report(job, 1, 0.9, ended="completed", test=figures(0))
    assert report.row is not None
    bridge.take(replace(report, row=replace(report.row, started_at=job.twin.epochs[0].started_at)))
    bridge.end(job)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"final"}
    assert study.recorder.trials[job.trial_id].taken_over == name


def test_a_final_model_whose_twin_left_no_checkpoint_has_taken_over_nothing(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path)
    study.add(trial_id(study.recipe(), album.fingerprint, "search"), study.recipe(), 0.9)
    stage = Confirmation(study.plan, study.recorder, tmp_path / "checkpoints")
    bridge = Bridge(study.plan, study.recorder, 1, Deadline(None), stage.trial_ended)
    job = next(job for job in study.jobs() if job.twin)
    report = make_report(job, 1, 0.9, ended="completed", test=figures(0))
    assert job.twin is not None and report.row is not None
    bridge.start(job, "tune1")
    own = job.twin.epochs[0].started_at + timedelta(seconds=1)
    bridge.take(replace(report, row=replace(report.row, started_at=own)))
    bridge.end(job)
    assert study.recorder.trials[job.trial_id].taken_over is None


def test_where_weights_are_to_be_shown_after_every_epoch_nothing_is_taken_over(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, weight_histograms=True)
    study.add(trial_id(study.recipe(), album.fingerprint, "search"), study.recipe(), 0.9)
    assert [job.twin for job in study.jobs()] == [None] * len(study.jobs())


def roles(study: Searched) -> dict[str, Recipe]:
    return {job.role: job.recipe.with_seed(0) for job in study.jobs()}


def test_depth_that_has_shown_more_than_the_best_head_is_confirmed_beside_it(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, backbones=(CNN,))
    head = replace(study.plan.of(CNN).probe, ema_decay=0.9)
    study.add("head", head, 0.8, stage="probe")
    study.add("deep", study.recipe(), 0.9)
    assert roles(study) == {"best": study.recipe(), "head": head, "probe": study.plan.of(CNN).probe}


def test_depth_that_is_no_better_than_the_best_head_is_not_paid_for(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, backbones=(CNN,))
    head = replace(study.plan.of(CNN).probe, ema_decay=0.9)
    study.add("head", head, 0.8, stage="probe")
    study.add("deep", study.recipe(), 0.8)
    assert roles(study) == {"best": head, "probe": study.plan.of(CNN).probe}


def test_the_best_head_is_that_of_the_cross_validation(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, backbones=(CNN,))
    lucky, steady = (replace(study.plan.of(CNN).probe, lr=lr) for lr in (0.02, 0.03))
    study.add("lucky", lucky, 1.0, stage="probe")
    study.recorder.start(trial_row(trial_id="steady", backbone=CNN, recipe=steady, stage="probe"))
    study.recorder.epoch(epoch_row(trial_id="steady", val_accuracy=0.9, val_loss=0.1))
    study.recorder.end("steady", Ending("completed", cross_validated=Figures(0.95, 0.95, 0.2)))
    assert roles(study)["best"] == steady
    assert study.recorder.trials["steady"].cv_accuracy == 0.95


def test_a_design_is_confirmed_cell_by_cell_without_a_search(album: Album, tmp_path: Path) -> None:
    design: Design = {
        "depth": {"all": {"freeze_depth": 0}, "head": {"freeze_depth": "all"}},
        "rate": {"low": {"lr": 1e-4}, "own": {}},
    }
    study = Searched(album, tmp_path, confirm_seeds=3, design=design)
    jobs = study.jobs()
    expected = {
        (cell.name, cell.recipe(study.plan.of(backbone).default, STAGES).with_seed(seed))
        for backbone in (CNN, RESNET)
        for cell in cells_of(design)
        for seed in range(3)
    }
    assert {(job.role, job.recipe) for job in jobs} == expected and len(jobs) == 24
    assert {job.recipe.freeze_depth for job in jobs if "head" in job.role} == {STAGES}
    assert {job.stage for job in jobs} == {"confirm"}


def test_final_models_may_run_longer_than_trials(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, backbones=(CNN,), confirm_epochs=7)
    study.add("one", study.plan.of(CNN).default, 0.9)
    jobs = study.jobs()
    assert {job.recipe.epochs for job in jobs} == {7} != {study.plan.of(CNN).default.epochs}
    assert {replace(job.recipe, epochs=study.plan.of(CNN).default.epochs) for job in jobs} >= {
        study.plan.of(CNN).default.with_seed(seed) for seed in range(study.plan.study.confirm_seeds)
    }
