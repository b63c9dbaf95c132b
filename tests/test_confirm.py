"""Which final models are trained, and what is recorded of their one reading of the test set."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss

from raytl.data.album import Album
from raytl.identity import recipe_hash, trial_id
from raytl.metric import Figures
from raytl.on_ray import confirm as confirm_module
from raytl.on_ray.bridge import Bridge
from raytl.on_ray.cluster import Slots
from raytl.on_ray.confirm import FinalEvents, confirm, final_jobs, searched_trials
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.job import Job
from raytl.on_ray.plan import Plan
from raytl.on_ray.results import as_result
from raytl.recipe import Recipe
from raytl.results.final_figures import FinalFigures
from raytl.results.folder import StudyFolder
from raytl.results.ledger import read
from raytl.results.recorder import Ending, Recorder
from raytl.results.tables import confirmed_rows, load_tables
from tests.plans import TuneTrial, make_album, make_plan, make_recorder, make_report, make_workplace
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
    assert {job.recipe.backbone for job in study.jobs()} == {RESNET}
    assert searched_trials(study.recorder, CNN) == []


def test_what_was_tested_is_left_out_and_what_was_begun_goes_on(album: Album, tmp_path: Path) -> None:
    study = Searched(album, tmp_path, backbones=(CNN,))
    study.add("a", study.recipe(), 0.9)
    first, second, *others = study.jobs()
    assert len(others) == 2
    study.recorder.confirmed(confirmed_row(trial_id=first.trial_id), [prediction_row(trial_id=first.trial_id)])
    study.recorder.start(trial_row(trial_id=second.trial_id, stage="confirm"))
    for epoch in (1, 2):
        study.recorder.epoch(epoch_row(trial_id=second.trial_id, epoch=epoch))
    again = Searched(album, tmp_path, backbones=(CNN,))
    assert again.jobs() == [replace(second, recorded_epochs=2), *others]


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
    error = (0.8 * 0.2 / count) ** 0.5
    for name, accuracy, lr, frozen in (
        ("best", 0.8, 0.01, 0.2),
        ("near", 0.8 - 0.9 * error, 0.02, 0.6),
        ("nearer", 0.8 - 0.5 * error, 0.03, 0.4),
        ("far", 0.8 - 1.1 * error, 0.04, 0.9),
    ):
        study.add(name, study.recipe(lr=lr), accuracy, frozen_fraction=frozen)
    assert roles(study)["best"].lr == chosen
    head = replace(study.plan.of(CNN).probe, ema_decay=0.9)
    study.add("head", head, 0.8 - 0.7 * error, stage="probe")
    assert roles(study)["best"].lr == (0.03 if policy == "ladder" else 0.01), "no better than the head"


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
    """A study whose final models are reported by hand, as a group of workers would."""

    def __init__(self, album: Album, root: Path) -> None:
        super().__init__(album, root, splits=2)
        self.add("a", self.recipe(), 0.9)
        self.bridge = Bridge(
            self.plan,
            self.recorder,
            1,
            Deadline(None),
            lambda trial, report: confirm_module._record_test(self.plan, self.recorder, trial, report),
        )
        self.events = FinalEvents(self.bridge)
        self.hand = tuple(self.jobs()[-3:])  # of the second split
        self.trial = TuneTrial({"jobs": self.hand}, "tune1")

    def report(self, job: Job, epoch: int, score: float = 0.5, **values: Any) -> None:
        result = as_result(make_report(job, epoch, score, **values), "val_accuracy")
        self.events.on_trial_result(0, [], self.trial, result)

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


def test_a_group_that_died_fails_what_it_had_not_finished(album: Album, tmp_path: Path) -> None:
    study = Confirmed(album, tmp_path)
    done, begun, waiting = study.hand
    study.report(done, 1, ended="completed", test=figures(0))
    study.report(begun, 1)
    study.trial.error = "ray::x()\n  File y\nValueError: boom"
    study.events.on_trial_error(0, [], study.trial)
    trials = study.recorder.trials
    statuses = {job.trial_id: (trials[job.trial_id].status, trials[job.trial_id].reason) for job in study.hand}
    failed = ("failed", "ValueError: boom")
    assert statuses == {done.trial_id: ("completed", None), begun.trial_id: failed, waiting.trial_id: failed}
    assert study.confirmed() == [done.trial_id]
    assert {job.trial_id for job in study.jobs()} >= {begun.trial_id, waiting.trial_id}


def test_a_final_model_that_diverged_has_no_test_figures(album: Album, tmp_path: Path) -> None:
    study = Confirmed(album, tmp_path)
    job = study.hand[0]
    study.report(job, 1)
    diverged = replace(make_report(job, 2), row=None, ended="diverged", reason="loss=nan")
    study.events.on_trial_result(0, [], study.trial, as_result(diverged, "val_accuracy"))
    assert study.recorder.trials[job.trial_id].status == "diverged" and study.confirmed() == []


@pytest.mark.parametrize(
    ("slots", "workers", "hands"), [(1, 2, [4]), (3, 2, [2, 1, 1]), (9, 2, [1, 1, 1, 1]), (2, 1, [1, 1, 1, 1])]
)
def test_jobs_are_dealt_to_as_many_groups_as_there_are_slots_and_singly_to_warm_actors(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slots: int, workers: int, hands: list[int]
) -> None:
    study = Searched(album, tmp_path, backbones=(CNN,))
    study.add("a", study.recipe(), 0.9)
    asked: list[Any] = []
    monkeypatch.setattr(confirm_module, "run_tune", lambda *each: asked.append(each))
    folder, workplace = StudyFolder(tmp_path / "study"), make_workplace(study.plan.albums, tmp_path)
    confirm(study.plan, study.recorder, folder, workplace, Slots(slots, workers, 1, False))
    ((_, run_config, tune_config),) = asked
    assert tune_config.reuse_actors == (workers == 1)
    configs = [tune_config.search_alg.suggest("x") for _ in range(tune_config.num_samples)]
    assert [len(config["jobs"]) for config in configs] == hands
    assert Counter(job.trial_id for config in configs for job in config["jobs"]) == Counter(
        job.trial_id for job in study.jobs()
    )
    assert all(config["job"] == config["jobs"][0] for config in configs)
    assert len({config["name"] for config in configs}) == len(hands)
    assert isinstance(run_config.callbacks[0], FinalEvents)


def test_nothing_is_started_where_all_is_confirmed(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Searched(album, tmp_path)
    monkeypatch.setattr(confirm_module, "run_tune", lambda *_: pytest.fail("nothing is left to train"))
    workplace = make_workplace(study.plan.albums, tmp_path)
    confirm(study.plan, study.recorder, StudyFolder(tmp_path / "study"), workplace, Slots(1, 1, 1, False))
    assert study.jobs() == []


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
