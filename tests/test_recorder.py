"""The recorder: the ledger first, then the board, then watchers; kills in between lose nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from raytl.errors import StorageError
from raytl.metric import METRICS
from raytl.results.folder import StudyFolder
from raytl.results.ledger import read
from raytl.results.recorder import Ending, Recorder
from raytl.results.schemas import ConfirmedRow, EpochRow, TrialRow
from raytl.results.tables import load_tables
from raytl.results.tensorboard import BEST_SCALARS
from tests.faults import Killed
from tests.rows import START, confirmed_row, epoch_row, picture_row, prediction_row, trial_row

ACCURACY = METRICS["val_accuracy"]


class Diary:
    """A watcher that writes down what it is shown, and what the ledger and the board held by then."""

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder
        self.entries: list[str] = []

    def known(self, trials: Sequence[TrialRow]) -> None:
        if trials:
            self.entries.append(f"known: {', '.join(row.trial_id for row in trials)}")

    def step(self, name: str, left: int) -> None:
        raise AssertionError("a recorder knows no steps")

    def settled(self, backbone: str, left_out: int, reason: str) -> None:
        raise AssertionError("a recorder knows no search")

    def tested(self, row: ConfirmedRow) -> None:
        confirmed = read(self._folder.ledger, "confirmed")["trial_id"].to_pylist()
        self.entries.append(f"tested {row.trial_id}: {row.trial_id in confirmed}")

    def started(self, trial: TrialRow) -> None:
        self._note(f"started {trial.trial_id}")

    def epoch(self, trial: TrialRow, row: EpochRow) -> None:
        self._note(f"epoch {row.epoch} of {trial.trial_id}")

    def ended(self, trial: TrialRow) -> None:
        self._note(f"{trial.status} {trial.trial_id}")

    def _note(self, what: str) -> None:
        rows = sum(read(self._folder.ledger, table).num_rows for table in ("trials", "epochs"))
        shown = len(board_steps(self._folder, "t0", "val/loss"))
        self.entries.append(f"{what}: {rows} rows, {shown} shown")


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    made = StudyFolder(tmp_path / "study")
    made.create()
    return made


def events(folder: StudyFolder, name: str) -> EventAccumulator:
    return EventAccumulator(str(folder.tensorboard / name)).Reload()


def board_steps(folder: StudyFolder, name: str, tag: str) -> list[int]:
    seen = events(folder, name)
    return [item.step for item in seen.Scalars(tag)] if tag in seen.Tags()["scalars"] else []


def test_a_fact_is_in_the_ledger_and_on_the_board_before_it_is_told(folder: StudyFolder) -> None:
    diary = Diary(folder)
    recorder = Recorder(folder, ACCURACY, [diary])
    recorder.start(trial_row())
    recorder.epoch(epoch_row(epoch=1))
    recorder.epoch(epoch_row(epoch=2))
    recorder.end("t0", Ending("completed"))
    recorder.close()
    assert diary.entries == [
        "started t0: 1 rows, 0 shown",
        "epoch 1 of t0: 2 rows, 1 shown",
        "epoch 2 of t0: 3 rows, 2 shown",
        "completed t0: 4 rows, 2 shown",
    ]


def test_what_cannot_be_recorded_is_told_to_nobody(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    diary = Diary(folder)
    recorder = Recorder(folder, ACCURACY, [diary])
    recorder.start(trial_row())

    def full(table: str, rows: object) -> int:
        raise StorageError("disk full")

    monkeypatch.setattr(recorder.ledger, "commit", full)
    with pytest.raises(StorageError):
        recorder.epoch(epoch_row())
    with pytest.raises(StorageError):
        recorder.end("t0", Ending("completed"))
    assert diary.entries == ["started t0: 1 rows, 0 shown"]
    assert recorder.epochs["t0"] == [] and recorder.trials["t0"].status == "running"


def test_an_ending_has_the_figures_of_the_best_epoch(folder: StudyFolder) -> None:
    recorder = Recorder(folder, ACCURACY)
    recorder.start(trial_row())
    accuracies, flags, speeds = (0.5, 0.4, 0.7, 0.7), (True, False, True, False), (10.0, 400.0, 100.0, 90.0)
    for epoch, (accuracy, is_best, speed) in enumerate(zip(accuracies, flags, speeds, strict=True), start=1):
        began = START + timedelta(minutes=epoch)
        row = epoch_row(epoch=epoch, val_accuracy=accuracy, val_macro_f1=accuracy / 2, val_loss=1 - accuracy,
                        is_best=is_best, images_per_second=speed, started_at=began,
                        ended_at=began + timedelta(seconds=3))  # fmt: skip
        recorder.epoch(row)
    ended = recorder.end("t0", Ending("stopped", "why", "host", "bf16", 123))
    recorder.close()
    assert recorder.best_epoch("t0") == recorder.epochs["t0"][2]
    assert (ended.best_epoch, ended.val_accuracy, ended.val_macro_f1) == (3, 0.7, 0.35)
    assert ended.val_loss == pytest.approx(0.3)
    assert (ended.epochs_run, ended.seconds, ended.images_per_second) == (4, 12.0, 100.0)
    assert (ended.status, ended.reason, ended.node) == ("stopped", "why", "host")
    assert (ended.precision_used, ended.peak_memory_bytes) == ("bf16", 123)
    assert ended.started_at == START and ended.ended_at is not None and ended.ended_at.tzinfo is not None
    assert recorder.trials["t0"] == ended
    assert load_tables(folder).trials["val_accuracy"].to_pylist() == [0.7]
    assert board_steps(folder, "t0", "best/val_accuracy") == [3]


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_a_failure_is_a_status_and_never_a_score(folder: StudyFolder, status: str) -> None:
    recorder = Recorder(folder, ACCURACY)
    recorder.start(trial_row())
    recorder.epoch(epoch_row(is_best=True))
    ended = recorder.end("t0", Ending(status, "loss was NaN"))
    recorder.close()
    assert (ended.status, ended.reason, ended.epochs_run) == (status, "loss was NaN", 1)
    assert (ended.best_epoch, ended.val_accuracy, ended.val_macro_f1, ended.val_loss) == (None, None, None, None)
    assert not set(BEST_SCALARS) & set(events(folder, "t0").Tags()["scalars"])


def test_a_trial_without_an_epoch_has_no_figures(folder: StudyFolder) -> None:
    recorder = Recorder(folder, ACCURACY)
    recorder.start(trial_row())
    ended = recorder.end("t0", Ending("completed"))
    assert (ended.epochs_run, ended.best_epoch, ended.images_per_second, ended.seconds) == (0, None, None, 0.0)


def test_a_continued_study_knows_what_was_recorded(folder: StudyFolder) -> None:
    first = Recorder(folder, ACCURACY)
    first.start(trial_row())
    first.epoch(epoch_row(epoch=1))
    first.start(trial_row(trial_id="t1", recipe_hash="h1"))
    first.epoch(epoch_row(trial_id="t1"))
    first.end("t1", Ending("completed"))
    first.confirmed(confirmed_row(trial_id="t1"), [prediction_row(trial_id="t1")])
    first.close()

    second = Recorder(folder, ACCURACY)
    assert {name: row.status for name, row in second.trials.items()} == {"t0": "running", "t1": "completed"}
    assert second.trials["t1"] == first.trials["t1"]
    assert second.epochs == first.epochs
    assert second.confirmed_ids == {"t1"}

    second.start(trial_row(started_at=START + timedelta(days=1), tune_trial_id="again"))
    second.epoch(epoch_row(epoch=2, val_accuracy=0.75))
    ended = second.end("t0", Ending("completed"))
    second.close()
    assert (ended.started_at, ended.tune_trial_id, ended.epochs_run, ended.best_epoch) == (START, "again", 2, 2)
    assert board_steps(folder, "t0", "val/loss") == [1, 2]


def test_of_an_epoch_trained_twice_the_first_row_counts(folder: StudyFolder) -> None:
    diary = Diary(folder)
    recorder = Recorder(folder, ACCURACY, [diary])
    recorder.start(trial_row())
    recorder.epoch(epoch_row(epoch=1, val_accuracy=0.5))
    recorder.epoch(epoch_row(epoch=1, val_accuracy=0.9, attempt=2))
    ended = recorder.end("t0", Ending("completed"))
    recorder.close()
    assert (ended.epochs_run, ended.val_accuracy) == (1, 0.5)
    assert load_tables(folder).epochs["val_accuracy"].to_pylist() == [0.5]
    assert read(folder.ledger, "epochs").num_rows == 2
    assert board_steps(folder, "t0", "val/loss") == [1]
    assert len(diary.entries) == 3


def test_a_killed_epoch_is_shown_when_its_trial_goes_on(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(folder, ACCURACY)
    recorder.start(trial_row())
    recorder.epoch(epoch_row(epoch=1))
    kill(recorder, "epoch", monkeypatch)
    with pytest.raises(Killed):
        recorder.epoch(epoch_row(epoch=2))
    assert board_steps(folder, "t0", "val/loss") == [1]

    second = Recorder(folder, ACCURACY)
    assert [row.epoch for row in second.epochs["t0"]] == [1, 2]
    second.start(trial_row())
    second.close()
    assert board_steps(folder, "t0", "val/loss") == [1, 2]


def test_a_killed_end_is_shown_when_the_study_goes_on(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(folder, ACCURACY)
    recorder.start(trial_row())
    recorder.epoch(epoch_row(epoch=1))
    kill(recorder, "end", monkeypatch)
    with pytest.raises(Killed):
        recorder.end("t0", Ending("completed"))
    assert board_steps(folder, "t0", "best/val_loss") == []

    Recorder(folder, ACCURACY).close()
    assert board_steps(folder, "t0", "best/val_loss") == [1]
    assert board_steps(folder, "t0", "val/loss") == [1]


def test_a_study_that_ended_well_is_left_as_it_is(folder: StudyFolder) -> None:
    recorder = Recorder(folder, ACCURACY)
    recorder.start(trial_row())
    recorder.epoch(epoch_row(epoch=1))
    recorder.end("t0", Ending("completed"))
    recorder.confirmed(confirmed_row(), [prediction_row()])
    recorder.close()
    before = {path: path.stat().st_mtime_ns for path in folder.root.rglob("*")}
    Recorder(folder, ACCURACY).close()
    assert {path: path.stat().st_mtime_ns for path in folder.root.rglob("*")} == before


def kill(recorder: Recorder, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the process, so to speak, after the commit and before the board's `method`."""

    def killed(*_arguments: object) -> None:
        raise Killed

    monkeypatch.setattr(recorder.board, method, killed)


def test_predictions_are_recorded_before_the_figure_that_they_support(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(folder, ACCURACY)
    order: list[str] = []
    commit = recorder.ledger.commit

    def noted(table: str, rows: list[object]) -> int:
        order.append(table)
        return commit(table, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(recorder.ledger, "commit", noted)
    recorder.pictures([picture_row()])
    recorder.confirmed(confirmed_row(), [prediction_row()])
    recorder.published(replace(confirmed_row(), model_path="models/tiny_a"))
    assert order == ["data", "predictions", "confirmed", "confirmed"]
    tables = load_tables(folder)
    assert tables.confirmed["model_path"].to_pylist() == ["models/tiny_a"]
    assert (tables.data.num_rows, tables.predictions.num_rows) == (1, 1)


def test_watchers_hear_what_an_earlier_run_left_and_of_each_test(folder: StudyFolder) -> None:
    first = Recorder(folder, ACCURACY)
    first.start(trial_row(), trial_row(trial_id="t1"))
    first.epoch(epoch_row(epoch=1))
    first.end("t0", Ending("completed"))
    first.close()
    diary = Diary(folder)
    recorder = Recorder(folder, ACCURACY, [diary])
    assert diary.entries == ["known: t0, t1"]
    recorder.confirmed(confirmed_row(), [prediction_row()])
    assert diary.entries[1:] == ["tested t0: True"]
    recorder.published(confirmed_row(model_path="models/tiny_a"))
    assert len(diary.entries) == 2, "told once"


def test_workers_are_held_from_start_to_end_of_each_attempt(folder: StudyFolder) -> None:
    """A killed attempt counts up to its last epoch, the days until the study goes on do not."""
    before = datetime.now(UTC) - timedelta(days=2)
    first = Recorder(folder, ACCURACY)
    first.start(trial_row(started_at=before, worker_count=2))
    first.epoch(epoch_row(epoch=1, ended_at=before + timedelta(seconds=30)))
    first.close()
    second = Recorder(folder, ACCURACY)
    again = datetime.now(UTC) - timedelta(days=1)
    second.start(trial_row(started_at=again, worker_count=2))
    second.epoch(epoch_row(epoch=2, ended_at=again + timedelta(seconds=50)))
    second.close()
    third = Recorder(folder, ACCURACY)
    assert third.trials["t0"].worker_seconds == 60.0 and third.trials["t0"].resumed_at == again
    last = datetime.now(UTC) - timedelta(seconds=100)
    third.start(trial_row(started_at=last, worker_count=2))
    ended = third.end("t0", Ending("completed", node_type="gpu", node_share=0.5))
    third.close()
    assert ended.ended_at is not None
    own = 2 * (ended.ended_at - last).total_seconds()
    assert ended.worker_seconds == pytest.approx(60 + 100 + own) and own >= 200
    assert (ended.started_at, ended.node_type, ended.node_share, ended.cost) == (before, "gpu", 0.5, None)
