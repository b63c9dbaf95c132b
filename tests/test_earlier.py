"""A trial of an earlier run that nobody goes on with ends as of its last recorded epoch."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from raytl.identity import trial_id
from raytl.on_ray.earlier import attempts_of, end_earlier, end_outdated, goes_on
from raytl.on_ray.fleet import Berth
from raytl.results.recorder import Ending
from tests.plans import BASE, make_recorder
from tests.rows import START, epoch_row, trial_row


def test_a_resume_goes_on_with_what_is_under_way_and_what_got_no_epoch() -> None:
    kinds = [("running", 3), ("running", 0), ("stopped", 0), ("stopped", 1), ("failed", 0), ("completed", 9)]
    rows = {kind: trial_row(stage="search", status=kind[0], epochs_run=kind[1]) for kind in kinds}
    assert [kind for kind, row in rows.items() if goes_on(row)] == kinds[:3]
    assert not goes_on(trial_row(stage="confirm", status="stopped", epochs_run=0)), "another took its place"


def test_attempts_are_those_of_the_recorded_epochs() -> None:
    assert attempts_of([]) == 1
    assert attempts_of([epoch_row(epoch=1), epoch_row(epoch=2, attempt=3), epoch_row(epoch=3, attempt=2)]) == 3


@pytest.mark.parametrize(
    ("count", "status", "reason"),
    [
        (0, "stopped", "it was late before its first epoch"),
        (1, "stopped", "it was late after epoch 1"),
        (BASE.epochs, "completed", None),
    ],
)
def test_how_it_ends_follows_from_its_epochs(tmp_path: Path, count: int, status: str, reason: str | None) -> None:
    with closing(make_recorder(tmp_path)) as recorder:
        recorder.start(trial_row(trial_id="t", recipe=BASE, started_at=START, worker_count=2))
        for epoch in range(1, count + 1):
            recorder.epoch(epoch_row(trial_id="t", epoch=epoch, ended_at=START + timedelta(seconds=epoch)))
        row = end_earlier(recorder, recorder.trials["t"], "it was late", Berth("large", 0.5))
    assert (row.status, row.reason, row.epochs_run, row.worker_seconds) == (status, reason, count, 2.0 * count)
    assert (row.node_type, row.node_share) == ("large", 0.5)
    assert (row.val_accuracy is None) == (count == 0), "only one without an epoch has no figure"


def test_a_final_model_that_has_not_read_the_test_set_is_not_complete(tmp_path: Path) -> None:
    with closing(make_recorder(tmp_path)) as recorder:
        recorder.start(trial_row(trial_id="t", stage="confirm", recipe=BASE, started_at=START))
        for epoch in range(1, BASE.epochs + 1):
            recorder.epoch(epoch_row(trial_id="t", epoch=epoch))
        row = end_earlier(recorder, recorder.trials["t"], "another took its place", Berth())
    assert (row.status, row.reason) == ("stopped", f"another took its place after epoch {BASE.epochs}")


def test_trials_under_way_on_pictures_that_have_changed_end(tmp_path: Path) -> None:
    with closing(make_recorder(tmp_path)) as recorder:
        for stage in ("probe", "search", "confirm", "distill"):
            for pictures in ("old", "new", "other split"):
                name = trial_id(BASE, pictures, stage)
                recorder.start(trial_row(trial_id=name, stage=stage, recipe=BASE, reason=pictures))
        over = trial_id(BASE, "old", "over")
        recorder.start(trial_row(trial_id=over, stage="over", recipe=BASE))
        ended = recorder.end(over, Ending("completed"))
        end_outdated(recorder, ["new", "other split"], Berth("large", 0.5))
        rows = {(row.stage, row.reason): row.status for row in recorder.trials.values()}
        assert recorder.trials[over] == ended
    why = "the pictures have changed before its first epoch"
    assert {stage for (stage, reason), status in rows.items() if (reason, status) == (why, "stopped")} == {
        *("probe", "search", "confirm")
    }
    assert all(rows[stage, kept] == "running" for stage in ("probe", "search") for kept in ("new", "other split"))
    assert rows["distill", "old"] == "running", "a student's pictures are told elsewhere"
