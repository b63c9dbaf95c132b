"""Every result is in the ledger before anything is decided on it, and a replay decides as the search did."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ray.exceptions import RayTaskError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.schedulers import TrialScheduler

from raytl.data.album import Album
from raytl.errors import StorageError
from raytl.identity import recipe_hash
from raytl.on_ray.bridge import PREFERRED, Bridge
from raytl.on_ray.cluster import Node, Slots
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.fleet import Fleet
from raytl.on_ray.hooks import StudyScheduler, TuneEvents
from raytl.on_ray.job import UNWRITABLE, Done, Job, Report, Workplace
from raytl.on_ray.results import REPORT, as_result
from raytl.on_ray.schedulers import make_scheduler
from raytl.on_ray.stages import configuration
from raytl.results.histogram import histogram
from raytl.results.ledger import read
from raytl.results.recorder import Recorder
from raytl.results.schemas import SEARCH, TrialRow
from tests.plans import FACTS, TuneTrial, deliver, make_album, make_plan, make_recorder, make_report
from tests.rows import START, epoch_row

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP
EPOCHS = 9
FLEET = Fleet((Node(4, 0, "cpu", "a"), Node(8, 0, "large", "b")), Slots(3, 1, 4, use_gpu=False))


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


class Driver:
    """The driver's side of a search, without Tune. Every object is made anew for a study that goes on."""

    def __init__(
        self,
        album: Album,
        root: Path,
        seconds: float | None = None,
        name: str = "asha",
        deadline: Deadline | None = None,
    ) -> None:
        self.plan = make_plan((album,), root)
        self.recorder: Recorder = make_recorder(root / "study")
        self.ended: list[tuple[TrialRow, Report | None]] = []
        self.bridge = Bridge(
            self.plan,
            self.recorder,
            1,
            deadline or Deadline(seconds),
            lambda trial, report: self.ended.append((trial, report)),
            FLEET,
        )
        self.chores: list[Done] = []
        self.events = TuneEvents(self.bridge, self.chores.append)
        make_child = partial(make_scheduler, name, EPOCHS)
        self.scheduler = StudyScheduler(make_child, self.bridge, per_backbone=True)

    def job(self, name: str, backbone: str = "plain_cnn") -> Job:
        return Job(name, SEARCH, "searcher", replace(self.plan.of(backbone).default, lr=0.002))

    def begin(self, job: Job, tune_trial_id: str = "") -> TuneTrial:
        trial = TuneTrial(configuration(job), tune_trial_id or f"tune-{job.trial_id}")
        self.scheduler.on_trial_add(None, trial)
        self.events.on_trial_start(0, [], trial)
        return trial

    def finish(self, trial: TuneTrial, report: Report | None = None) -> TrialRow:
        """As Tune does it: a last result that says `done` goes to the callbacks, then to the scheduler."""
        if report is not None:
            result = as_result(report, "val_accuracy")
            self.events.on_trial_result(0, [], trial, result)
            self.scheduler.on_trial_complete(None, trial, result)
        self.events.on_trial_complete(0, [], trial)
        return self.ended[-1][0]

    def fail(self, trial: TuneTrial, error: str | None) -> TrialRow:
        trial.error = error
        self.scheduler.on_trial_error(None, trial)  # type: ignore[arg-type]
        self.events.on_trial_error(0, [], trial)
        return self.ended[-1][0]

    def fail_chore(self, trial: TuneTrial, error: str) -> None:
        trial.error = error
        self.scheduler.on_trial_error(None, trial)  # type: ignore[arg-type]
        self.events.on_trial_error(0, [], trial)


def test_a_trial_is_recorded_from_its_start(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    job = driver.job("t")
    driver.begin(job, "tune7")
    row = driver.recorder.trials["t"]
    part = driver.plan.of("plain_cnn")
    assert (row.status, row.tune_trial_id, row.stage, row.origin) == ("running", "tune7", "search", "searcher")
    assert row.recipe == job.recipe and row.recipe_hash == recipe_hash(job.recipe, album.fingerprint)
    assert (row.study, row.worker_count, row.split) == ("made-up", 1, 0)
    assert (row.freeze_depth, row.frozen_fraction, row.trainable_parameters) == (0, 0.0, 100)
    frozen = replace(job, trial_id="u", recipe=part.probe)
    driver.begin(frozen)
    row = driver.recorder.trials["u"]
    assert (row.freeze_depth, row.frozen_fraction, row.trainable_parameters, row.parameters) == (3, 0.9, 10, 100)
    assert read(tmp_path / "study" / "ledger", "trials")["trial_id"].to_pylist() == ["t", "u"]


def test_a_result_is_in_the_ledger_before_the_scheduler_decides(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(album, tmp_path)
    seen: list[list[int]] = []
    decide = StudyScheduler.decide

    def spy(self: StudyScheduler, backbone: str, name: str, epoch: int, score: float) -> str:
        seen.append(read(tmp_path / "study" / "ledger", "epochs")["epoch"].to_pylist())
        return decide(self, backbone, name, epoch, score)

    monkeypatch.setattr(StudyScheduler, "decide", spy)
    job = driver.job("t")
    deliver(driver.scheduler, driver.begin(job), [make_report(job, epoch) for epoch in (1, 2, 3)])
    assert seen == [[1], [1, 2], [1, 2, 3]]


def test_a_completed_trial_records_its_last_epoch_and_its_end_once(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    job = driver.job("t")
    trial = driver.begin(job)
    deliver(driver.scheduler, trial, [make_report(job, 1)])
    last = make_report(job, 2, 0.75, ended="completed", facts=replace(FACTS, notes=("one thing", "another")))
    row = driver.finish(trial, last)
    assert (row.status, row.reason, row.val_accuracy, row.epochs_run) == ("completed", "one thing; another", 0.75, 2)
    assert (row.node, row.precision_used, row.peak_memory_bytes) == ("node", "fp32", 1_000)
    driver.finish(trial, last)
    driver.bridge.end(job)
    assert driver.ended == [(row, last)]
    ledger = tmp_path / "study" / "ledger"
    assert read(ledger, "trials")["status"].to_pylist() == ["running", "completed"]
    assert read(ledger, "epochs")["epoch"].to_pylist() == [1, 2]


def test_a_trial_stopped_by_the_scheduler(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    good, bad = driver.job("good"), driver.job("bad")
    assert deliver(driver.scheduler, driver.begin(good), [make_report(good, 1, 0.9)]) == [CONTINUE]
    trial = driver.begin(bad)
    assert deliver(driver.scheduler, trial, [make_report(bad, 1, 0.1)]) == [STOP]
    row = driver.finish(trial, None)
    assert (row.status, row.reason) == ("stopped", "the scheduler preferred other trials after epoch 1")
    assert row.val_accuracy == 0.1


def test_a_trial_stopped_by_time(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path, seconds=0.0)
    job = driver.job("t")
    trial = driver.begin(job)
    assert deliver(driver.scheduler, trial, [make_report(job, 1, 0.9)]) == [STOP]
    row = driver.finish(trial)
    assert (row.status, row.reason, row.val_accuracy) == ("stopped", "the time was used up after epoch 1", 0.9)


def test_f12_a_diverged_trial_keeps_its_epochs_but_has_no_figure(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    job = driver.job("t")
    trial = driver.begin(job)
    deliver(driver.scheduler, trial, [make_report(job, 1)])
    row = driver.finish(trial, replace(make_report(job, 2), row=None, ended="diverged", reason="loss=nan in epoch 2"))
    assert (row.status, row.reason, row.epochs_run, row.val_accuracy) == ("diverged", "loss=nan in epoch 2", 1, None)


def raised(error: Exception) -> str:
    """The text of an error in a worker, as Tune writes it to a trial's error file."""
    traceback = "ray::WarmTrial.train() (pid=1, ip=127.0.0.1)\n  File 'x.py', line 3, in step\n    step()\n    ^^^^\n"
    text = RayTaskError("train", f"{traceback}{type(error).__name__}: {error}\n", error)
    return f"Failure # 1 (occurred at 2026-11-20_12-00-00)\n{text}\n"


DIED = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: WarmTrial\n\tpid: 7\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (raised(ValueError("boom")), "ValueError: boom"),
        (raised(ValueError("lr=0: too low\nhead=x: unknown")), "ValueError: lr=0: too low; head=x: unknown"),
        (DIED, "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"),
        ("  odd\n    odder\n", "odder"),
        ("\n", "the worker died"),
        (None, "the worker died"),
    ],
)
@pytest.mark.parametrize("epochs", [0, 1])
def test_a_failed_trial_says_why_in_a_sentence(
    album: Album, tmp_path: Path, error: str | None, reason: str, epochs: int
) -> None:
    driver = Driver(album, tmp_path)
    job = driver.job("t")
    trial = driver.begin(job)
    deliver(driver.scheduler, trial, [make_report(job, epoch) for epoch in range(1, epochs + 1)])
    row = driver.fail(trial, error)
    assert (row.status, row.reason, row.val_accuracy, row.epochs_run) == ("failed", reason, None, epochs)
    driver.finish(trial)
    assert len(driver.ended) == 1


def test_a_trial_whose_worker_never_started_is_recorded_as_failed(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    trial = TuneTrial(configuration(driver.job("t")), status="PENDING")
    row = driver.fail(trial, "TuneError: no room")
    assert (row.trial_id, row.status, row.reason, row.epochs_run) == ("t", "failed", "TuneError: no room", 0)


def test_a_worker_that_leaves_without_a_word_has_failed(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    row = driver.finish(driver.begin(driver.job("t")))
    assert (row.status, row.reason) == ("failed", "the worker ended without a report")
    late = Driver(album, tmp_path / "late", seconds=0.0)
    row = late.finish(late.begin(replace(late.job("t"), stage="confirm")))
    assert row.status == "failed", "the time for the search does not end final models"


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_trial_whose_worker_the_deadline_leaves_no_time_keeps_what_was_recorded(
    album: Album, tmp_path: Path, epochs: int
) -> None:
    """Its worker died, or its machine is gone, and Tune was to begin it again."""
    driver = Driver(album, tmp_path)
    job = driver.job("t")
    deliver(driver.scheduler, driver.begin(job), [make_report(job, epoch) for epoch in range(1, epochs + 1)])
    again = Driver(album, tmp_path, seconds=0.0)
    row = again.finish(again.begin(replace(job, recorded_epochs=epochs, attempt=2)))
    when = "after epoch 2" if epochs else "before its first epoch"
    assert (row.status, row.reason, row.epochs_run) == ("stopped", f"the time was used up {when}", epochs)
    assert (row.val_accuracy is None) == (epochs == 0)


@pytest.mark.parametrize("last", [True, False])
def test_epochs_that_are_trained_again_count_as_reports(album: Album, tmp_path: Path, last: bool) -> None:
    """The checkpoint was damaged, and the one before it is used."""
    driver = Driver(album, tmp_path)
    job = driver.job("t")
    deliver(driver.scheduler, driver.begin(job), [make_report(job, epoch) for epoch in range(1, EPOCHS + 1)])
    again = Driver(album, tmp_path)
    again.scheduler.replay(again.recorder)
    trial = again.begin(replace(job, recorded_epochs=EPOCHS, attempt=2))
    deliver(again.scheduler, trial, [make_report(job, EPOCHS - 1)])
    row = again.finish(trial, make_report(job, EPOCHS, ended="completed") if last else None)
    assert (row.status, row.epochs_run, row.val_accuracy) == ("completed" if last else "stopped", EPOCHS, 0.5)
    assert len(read(tmp_path / "study" / "ledger", "epochs")) == EPOCHS


def test_f10_epochs_of_a_trial_whose_beginning_was_lost_hinder_nothing(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    lost, kept = driver.job("lost"), driver.job("kept")
    for job in (lost, kept):
        deliver(driver.scheduler, driver.begin(job), [make_report(job, 1)])
    first, _ = sorted((tmp_path / "study" / "ledger").glob("*trials*"))
    first.write_bytes(first.read_bytes()[:-20])
    again = Driver(album, tmp_path)
    again.scheduler.replay(again.recorder)
    assert again.recorder.trials.keys() == {"kept"} and again.scheduler._last.keys() == {"kept"}
    row = again.finish(again.begin(lost), make_report(lost, 2, ended="completed"))
    assert (row.status, row.epochs_run) == ("completed", 2)


def test_f9_what_cannot_be_recorded_at_a_trials_end_ends_the_study(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune's own `stop_trial` takes the error for the trial's, which it begins again; the step's end raises it."""
    driver = Driver(album, tmp_path)
    trial = driver.begin(job := driver.job("t"))
    trial.last_result = as_result(make_report(job, EPOCHS, ended="completed"), "val_accuracy")

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    taken: list[Exception] = []
    controller = SimpleNamespace(
        _scheduler_alg=driver.scheduler,
        _search_alg=SimpleNamespace(on_trial_complete=lambda *_, **__: None),
        _callbacks=SimpleNamespace(on_trial_complete=driver.events.on_trial_complete),
        _iteration=0,
        _trials=[],
        _fail_fast=False,
        RAISE="raise",
        _process_trial_failure=lambda trial, exception: taken.append(exception),
    )
    driver.events.on_step_end(0, [])
    monkeypatch.setattr(driver.recorder, "epoch", full)
    TuneController.stop_trial(controller, trial)  # type: ignore[arg-type]
    assert len(taken) == 1 and "the disk is full" in str(taken[0])
    with pytest.raises(StorageError, match="the disk is full"):
        driver.events.on_step_end(0, [])


def test_final_models_are_recorded_and_never_stopped(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path, seconds=0.0)
    good, final = driver.job("good"), replace(driver.job("final"), stage="confirm")
    deliver(driver.scheduler, driver.begin(good), [make_report(good, 1, 0.9)])
    trial = driver.begin(final)
    bad = [make_report(final, epoch, 0.1) for epoch in range(1, EPOCHS)]
    assert deliver(driver.scheduler, trial, bad) == [CONTINUE] * (EPOCHS - 1)
    row = driver.finish(trial, make_report(final, EPOCHS, 0.1, ended="completed"))
    assert (row.status, row.epochs_run) == ("completed", EPOCHS)
    assert "final" not in driver.scheduler._last
    driver.scheduler.on_trial_error(None, trial)  # type: ignore[arg-type]
    driver.scheduler.on_trial_remove(None, trial)  # type: ignore[arg-type]
    assert "final" not in driver.scheduler._last


@dataclass(frozen=True)
class Errand:
    """A chore that does nothing."""

    backbone: str = "plain_cnn"

    def do(self, workplace: Workplace) -> None:
        """Nothing."""


def test_what_became_of_a_chore_reaches_who_asked_for_it_and_leaves_no_row(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    good, bad = (TuneTrial(configuration(Errand(name)), name) for name in ("good", "bad"))
    for trial in (good, bad):
        driver.scheduler.on_trial_add(None, trial)
        driver.events.on_trial_start(0, [], trial)
    done = Done(Errand("good"), value=3)
    result = as_result(done, "val_accuracy")
    driver.events.on_trial_result(0, [], good, result)
    driver.scheduler.on_trial_complete(None, good, result)
    driver.events.on_trial_complete(0, [], good)
    driver.events.on_trial_recover(0, [], bad)
    driver.fail_chore(bad, raised(ValueError("boom")))
    assert driver.chores == [done, Done(Errand("bad"), reason="ValueError: boom")]
    assert bad.config == configuration(Errand("bad")) and not driver.recorder.trials


def test_tune_is_told_once_how_many_idle_workers_it_keeps(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[object, ...]] = []
    monkeypatch.setattr("raytl.on_ray.hooks.keep_actors", lambda *words: told.append(words))
    driver, controller = Driver(album, tmp_path), SimpleNamespace()
    make_child = partial(make_scheduler, "asha", EPOCHS)
    scheduler = StudyScheduler(make_child, driver.bridge, per_backbone=True, workers_kept=3)
    for name in ("a", "b"):
        trial = SimpleNamespace(config=configuration(driver.job(name)), placement_group_factory="share")
        scheduler.on_trial_add(controller, trial)
    assert told == [(controller, "share", 3)]


Order = Sequence[tuple[str, int]]


def play(
    driver: Driver, order: Order, scores: dict[tuple[str, int], float], skip: int = 0
) -> list[tuple[str, int, str]]:
    """Epochs in the given order, as far as the scheduler lets them come; the first `skip` are not delivered."""
    answers: list[tuple[str, int, str]] = []
    trials = {name: TuneTrial(configuration(driver.job(name, backbone_of(name))), name) for name, _ in order}
    stopped: set[str] = {name for name, (_, answer) in driver.scheduler._last.items() if answer == STOP}
    for name, epoch in order[skip:]:
        if name in stopped:
            continue
        job = trials[name].config["task"]
        if name not in driver.bridge._open:
            driver.events.on_trial_start(0, [], trials[name])
        # the clocks of the workers differ: the order of their times is not the order in which reports came
        report = make_report(job, epoch, scores[name, epoch])
        assert report.row is not None
        clock = START + timedelta(seconds=random.Random(f"{name} {epoch}").uniform(0, 100))
        report = replace(report, row=replace(report.row, ended_at=clock))
        (answer,) = deliver(driver.scheduler, trials[name], [report])
        answers.append((name, epoch, answer))
        stopped |= {name} if answer == STOP else set()
    return answers


def backbone_of(name: str) -> str:
    return "plain_cnn" if int(name[1:]) % 2 else "tiny_resnet"


def made_up(seed: int, trials: int = 10) -> tuple[list[tuple[str, int]], dict[tuple[str, int], float]]:
    """Curves of some trials, and an order in which their epochs come, each trial's own in order."""
    rng = random.Random(seed)
    names = [f"t{index}" for index in range(trials) for _ in range(EPOCHS)]
    rng.shuffle(names)
    order = [(name, names[: place + 1].count(name)) for place, name in enumerate(names)]
    return order, {pair: rng.random() for pair in order}


@pytest.mark.parametrize("name", ["asha", "median"])
@pytest.mark.parametrize("seed", [0, 1])
def test_f11_a_replay_decides_as_an_uninterrupted_search(album: Album, tmp_path: Path, name: str, seed: int) -> None:
    order, scores = made_up(seed)
    whole = play(Driver(album, tmp_path / "whole", name=name), order, scores)
    assert {answer for _, _, answer in whole} == {CONTINUE, STOP}
    for cut in (7, 30, 60):
        first = play(Driver(album, tmp_path / f"cut{cut}", name=name), order[:cut], scores)
        again = Driver(album, tmp_path / f"cut{cut}", name=name)
        again.scheduler.replay(again.recorder)
        assert [*first, *play(again, order, scores, skip=cut)] == whole


def test_weights_go_to_the_board_of_their_trial(album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver, shown = Driver(album, tmp_path), list[tuple[str, int, int]]()
    monkeypatch.setattr(
        driver.recorder.board, "histograms", lambda name, epoch, found: shown.append((name, epoch, len(found)))
    )
    job = driver.job("w")
    driver.bridge.start(job, "tune")
    found = histogram("head", np.arange(3.0))
    assert found is not None
    driver.bridge.take(make_report(job, 1, weights=(found,)))
    driver.bridge.take(make_report(job, 2))
    assert shown == [(job.trial_id, 1, 1)]


def test_a_replay_leaves_final_models_out(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    final = replace(driver.job("f"), stage="confirm")
    driver.bridge.start(final, "tune")
    driver.bridge.take(make_report(final, 1, 0.99))
    again = Driver(album, tmp_path)
    again.scheduler.replay(again.recorder)
    assert again.scheduler._last == {}


def test_reports_without_an_epoch_reach_the_record_by_the_callback_alone(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(album, tmp_path)
    taken: list[Report] = []
    keep: Callable[[Report], None] = taken.append
    monkeypatch.setattr(driver.bridge, "take", keep)
    job = driver.job("t")
    trial = driver.begin(job)
    with_row, without = make_report(job, 1), replace(make_report(job, 1), row=None, ended="diverged")
    for report in (with_row, without):
        driver.events.on_trial_result(0, [], trial, {REPORT: report})
    assert taken == [without]


def test_f2_a_trial_whose_worker_died_goes_on_from_its_last_recorded_epoch(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    job = driver.job("t")
    trial = driver.begin(job)
    deliver(driver.scheduler, trial, [make_report(job, 1), make_report(job, 2)])
    driver.events.on_trial_recover(0, [], trial)
    again = replace(job, recorded_epochs=2, attempt=2)
    assert trial.config["task"] == again
    driver.events.on_trial_start(0, [], trial)
    assert driver.recorder.trials["t"].status == "running"
    row = driver.finish(trial, replace(make_report(again, 3), ended="completed"))
    assert (row.status, row.epochs_run, row.attempts) == ("completed", 3, 2)


def test_f9_a_worker_that_cannot_write_ends_the_study_and_its_trial_goes_on_later(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    job = driver.job("t")
    trial = driver.begin(job)
    report = replace(make_report(job, 1), row=None, ended=UNWRITABLE, reason="disk full: 5 bytes needed, 0 free")
    with pytest.raises(StorageError, match="disk full: 5 bytes needed"):
        driver.events.on_trial_result(0, [], trial, {REPORT: report})
    assert driver.recorder.trials["t"].status == "running"


@pytest.mark.parametrize("cut", [20, 40, 60])
def test_f11_a_trial_that_was_told_to_stop_before_the_kill_ends_at_once(album: Album, tmp_path: Path, cut: int) -> None:
    order, scores = made_up(0)
    played = play(Driver(album, tmp_path), order[:cut], scores)
    told = {name: epoch for name, epoch, answer in played if answer == STOP and epoch < EPOCHS}
    again = Driver(album, tmp_path)
    again.scheduler.replay(again.recorder)
    assert told and {name for name, row in again.recorder.trials.items() if row.status == "stopped"} == set(told)
    for name, epoch in told.items():
        row = again.recorder.trials[name]
        assert row.epochs_run == epoch and row.reason == f"{PREFERRED} after epoch {epoch}"


def test_a_trial_is_known_by_the_machine_that_its_worker_was_on(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    for name, node_id, expected in (("t", "b", ("large", 0.5)), ("u", "a", ("cpu", 1.0)), ("v", "", (None, None))):
        trial = driver.begin(job := driver.job(name))
        facts = replace(FACTS, node_id=node_id)
        row = driver.finish(trial, make_report(job, 1, facts=facts, ended="completed"))
        assert (row.node_type, row.node_share) == expected
        assert row.ended_at is not None and row.worker_seconds == (row.ended_at - row.started_at).total_seconds()


def test_f11_trials_that_were_under_way_end_where_nothing_is_left_when_the_study_goes_on(
    album: Album, tmp_path: Path
) -> None:
    """Those with an epoch: what they had used counts, what passed since does not. One without is not judged."""
    driver = Driver(album, tmp_path)
    begun, fresh = driver.job("begun"), driver.job("fresh")
    deliver(driver.scheduler, driver.begin(begun), [make_report(begun, 1), make_report(begun, 2)])
    driver.begin(fresh)
    late = datetime.now(UTC) + timedelta(seconds=60)
    last = replace(make_report(begun, 3), row=epoch_row(trial_id="begun", epoch=3, ended_at=late))
    deliver(driver.scheduler, TuneTrial(configuration(begun)), [last])
    again = Driver(album, tmp_path, deadline=Deadline(0.0))
    again.scheduler.replay(again.recorder)
    row = again.recorder.trials["begun"]
    assert (row.status, row.reason, row.epochs_run) == ("stopped", "the time was used up after epoch 3", 3)
    assert row.worker_seconds == pytest.approx((late - row.started_at).total_seconds())
    assert again.recorder.trials["fresh"].status == "running"


class Controller:
    """What is read of Tune's controller; stopping a trial does what Tune does with one that waits."""

    def __init__(self, driver: Driver, unplaced: Sequence[TuneTrial], placed: Sequence[TuneTrial]) -> None:
        self._driver, self._trials = driver, [*unplaced, *placed]
        self._trial_to_actor = {trial: f"actor of {trial.trial_id}" for trial in placed}
        self._actor_manager = SimpleNamespace(pending_actors=[])

    def get_live_trials(self) -> set[TuneTrial]:
        return {trial for trial in self._trials if trial.status != "TERMINATED"}

    def get_trials(self) -> list[TuneTrial]:
        return self._trials

    def stop_trial(self, trial: TuneTrial) -> None:
        self._driver.scheduler.on_trial_remove(self, trial)  # type: ignore[arg-type]
        self._driver.events.on_trial_complete(0, [], trial)
        trial.status = "TERMINATED"


def waiting(driver: Driver, name: str, **values: object) -> TuneTrial:
    task = replace(driver.job(name), **values)  # type: ignore[arg-type]
    trial = TuneTrial(configuration(task), f"tune-{name}", status="PENDING")
    driver.scheduler.on_trial_add(None, trial)
    return trial


@pytest.mark.parametrize("late", [False, True])
def test_trials_that_wait_for_a_machine_never_begin_after_the_deadline(
    album: Album, tmp_path: Path, late: bool
) -> None:
    first = Driver(album, tmp_path)
    deliver(first.scheduler, first.begin(job := first.job("earlier")), [make_report(job, 1), make_report(job, 2)])
    driver = Driver(album, tmp_path, seconds=0.0 if late else None)
    new, earlier, starts = (waiting(driver, name) for name in ("new", "earlier", "starts"))
    final = waiting(driver, "final", stage="confirm")
    runs = driver.begin(driver.job("runs"))
    controller = Controller(driver, [new, earlier, final], [starts, runs])
    controller._trial_to_actor[earlier] = "no room yet"
    controller._actor_manager.pending_actors.append("no room yet")
    chosen = driver.scheduler.choose_trial_to_run(controller)
    ended = {trial.trial_id for trial in controller.get_trials() if trial.status == "TERMINATED"}
    assert ended == ({"tune-new", "tune-earlier"} if late else set())
    assert chosen in ((starts, final) if late else (new, earlier, starts, final))
    row = driver.recorder.trials["earlier"]
    assert "new" not in driver.recorder.trials, "what never began leaves nothing"
    assert [row.trial_id for row, _ in driver.ended] == (["earlier"] if late else [])
    assert (row.status, row.reason) == (
        ("stopped", "the time was used up after epoch 2") if late else ("running", None)
    )


def test_f11_an_earlier_trial_that_ends_has_had_the_attempts_that_are_recorded(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    trial = driver.begin(job := driver.job("t"))
    deliver(driver.scheduler, trial, [make_report(job, 1)])
    report = make_report(job, 2)
    assert report.row is not None
    deliver(driver.scheduler, trial, [replace(report, row=replace(report.row, attempt=3))])
    again = Driver(album, tmp_path, deadline=Deadline(0.0))
    again.scheduler.replay(again.recorder)
    assert again.recorder.trials["t"].attempts == 3


def test_a_group_is_not_billed_for_waiting_for_its_machines(album: Album, tmp_path: Path) -> None:
    driver = Driver(album, tmp_path)
    trial = driver.begin(job := driver.job("t"))
    begun = driver.recorder.trials["t"]
    early = replace(begun, started_at=begun.started_at - timedelta(seconds=600), worker_count=2)
    driver.recorder.trials["t"] = early
    deliver(driver.scheduler, trial, [make_report(job, epoch, waited_seconds=400.0) for epoch in (1, 2)])
    driver.events.on_trial_recover(0, [], trial)
    again = trial.config["task"]
    row = driver.finish(trial, make_report(again, 3, waited_seconds=100.0, ended="completed"))
    assert row.ended_at is not None
    held = (row.ended_at - early.started_at).total_seconds() - 500.0
    assert row.worker_seconds == pytest.approx(2 * held) and held < 300
