"""Progress: what is counted, also of an earlier run, and what can be said of the time that is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from raytl.metric import METRICS
from raytl.results import progress as progress_module
from raytl.results.progress import Progress
from raytl.results.schemas import CONFIRM, PROBE, SEARCH, TrialRow
from raytl.results.view import DESIGN, REPORT
from tests.rows import START, epoch_row, trial_row
from tests.views import ENDED, GRID, STUDY

ACCURACY = METRICS["val_accuracy"]


class Clock:
    """Stands for the `time` module."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress_module, "time", made)
    return made


def searching(clock: Clock, left: int = 8) -> Progress:
    """A study of two backbones with four trials each, at the beginning of its search, 30 seconds after its own."""
    made = Progress(ACCURACY)
    made.begin(STUDY)
    clock.seconds += 30
    made.step(SEARCH, left)
    return made


def over(name: str, backbone: str = "tiny_a", status: str = "completed", value: float | None = 0.5) -> TrialRow:
    return replace(ENDED, trial_id=name, backbone=backbone, status=status, val_accuracy=value)


def test_trials_are_counted_by_what_became_of_them(clock: Clock) -> None:
    progress = searching(clock)
    for name in ("t0", "t1", "t2", "t3"):
        progress.started(trial_row(trial_id=name))
    progress.ended(over("t0", value=0.5))
    progress.ended(over("t1", status="stopped", value=0.75))
    progress.ended(over("t2", status="diverged", value=None))
    first, second = progress.tallies()
    assert (first.running, first.done, first.stopped, first.bad, first.wanted, first.ended) == (1, 1, 1, 1, 4, 3)
    assert first.best is not None and first.best.trial_id == "t1" and first.curve == (0.5, 0.75)
    assert (second.backbone, second.ended, second.wanted, second.best, second.curve) == ("tiny_b", 0, 4, None, ())
    assert progress.counts("tiny_a") == "3/4" and "searching, 3 of 8 trials" in progress.sentence()


def test_trials_of_an_earlier_run_count_in_the_order_in_which_they_ended(clock: Clock) -> None:
    progress = Progress(ACCURACY)
    progress.begin(STUDY)
    late = replace(over("t0", value=0.5), ended_at=START + timedelta(seconds=9))
    early = replace(over("t1", value=0.25), ended_at=START + timedelta(seconds=5))
    progress.known([late, early, trial_row(trial_id="t2"), replace(late, trial_id="f", stage="confirm")])
    progress.step(SEARCH, 5)
    tally = progress.tallies()[0]
    assert (tally.ended, tally.running, tally.curve) == (2, 0, (0.25, 0.5)), "none runs until it has begun again"
    progress.started(trial_row(trial_id="t2"))
    progress.ended(over("t2", value=0.125))
    progress.ended(over("t2", value=0.125))
    assert progress.counts("tiny_a") == "3/4", "told twice, counted once"


def test_the_best_head_is_the_one_that_cross_validation_prefers(clock: Clock) -> None:
    progress = searching(clock)
    lucky = replace(over("lucky", value=0.9), stage="probe", cv_accuracy=0.5, cv_macro_f1=0.5, cv_loss=1.0, cv_count=99)
    good = replace(lucky, trial_id="good", val_accuracy=0.7, cv_accuracy=0.8, cv_loss=0.5)
    for row in (lucky, good):
        progress.ended(row)
    assert progress.ended(over("t0", value=0.6)) is False
    assert progress.ended(over("t1", value=0.8)) is True
    assert progress.tallies()[0].curve == (0.7, 0.7, 0.8)


def test_a_lower_loss_is_better(clock: Clock) -> None:
    progress = Progress(METRICS["val_loss"])
    progress.begin(replace(STUDY, metric="val_loss"))
    for name, loss in (("t0", 0.5), ("t1", 0.75), ("t2", 0.25)):
        progress.ended(replace(ENDED, trial_id=name, backbone="tiny_a", val_loss=loss))
    assert progress.tallies()[0].curve == (0.5, 0.5, 0.25)


@pytest.mark.parametrize(("passed", "ended", "left"), [(60, 1, 420), (10, 4, 10), (10, 8, None), (3600, 2, 10800)])
def test_the_time_left_is_that_of_the_trials_left_at_the_pace_of_this_run(
    passed: float, ended: int, left: float | None, clock: Clock
) -> None:
    progress = searching(clock)
    clock.seconds += passed
    for index in range(ended):
        progress.ended(over(f"t{index}", backbone=STUDY.backbones[index % 2]))
    assert progress.left_seconds() == left
    assert ("of search left" in progress.time_left()) == (left is not None)


def test_epochs_of_running_trials_are_work_and_those_before_a_resume_are_not(clock: Clock) -> None:
    progress = Progress(ACCURACY)
    progress.begin(STUDY)
    progress.known([over("t0"), over("t1"), trial_row(trial_id="t2")])
    progress.step(SEARCH, 5)
    running = trial_row(trial_id="t2", recipe=replace(ENDED.recipe, epochs=4))
    other = trial_row(trial_id="t3", recipe=replace(ENDED.recipe, epochs=4))
    for row in (running, other):
        progress.started(row)
    clock.seconds += 60
    assert progress.left_seconds() is None, "nothing was done in this run"
    progress.epoch(running, epoch_row(trial_id="t2", epoch=3))
    assert progress.left_seconds() is None, "a quarter of a trial tells too little"
    for epoch in (1, 2, 3):
        progress.epoch(other, epoch_row(trial_id="t3", epoch=epoch))
    # one trial's work in 60 s: epoch 3 of 4, and three of 4; left are 6 trials but 3/4 of each of the two
    assert progress.left_seconds() == pytest.approx(60 * (6 - 2 * 3 / 4))


def test_epochs_that_a_final_model_took_over_are_no_work(clock: Clock) -> None:
    progress = Progress(ACCURACY)
    progress.begin(STUDY)
    progress.step(CONFIRM, 4)
    recipe = replace(ENDED.recipe, epochs=2)
    for name in ("f0", "f1"):
        final = trial_row(trial_id=name, stage=CONFIRM, recipe=recipe)
        progress.started(final)
        for epoch in (1, 2):
            ended_at = final.started_at + timedelta(seconds=epoch if name == "f1" else -10)
            progress.epoch(final, epoch_row(trial_id=name, epoch=epoch, ended_at=ended_at))
        clock.seconds += 0.5 if name == "f0" else 59.5
        progress.ended(replace(over(name), stage=CONFIRM))
        if name == "f0":
            assert progress.left_seconds() is None, "the search had done it"
    assert progress.left_seconds() == pytest.approx(120), "two are left, and one was trained in a minute"


def test_a_backbone_that_is_settled_wants_no_more_trials(clock: Clock) -> None:
    progress = searching(clock)
    clock.seconds += 10
    for index in range(2):
        progress.ended(over(f"t{index}"))
    assert progress.left_seconds() == pytest.approx(30)
    progress.settled("tiny_a", 2)
    assert progress.counts("tiny_a") == "2/2" and progress.total == 6
    assert progress.left_seconds() == pytest.approx(20)


def test_a_limit_bounds_what_is_left_of_the_search(clock: Clock) -> None:
    progress = Progress(ACCURACY)
    progress.begin(replace(STUDY, time_limit_seconds=100))
    clock.seconds += 20
    progress.step(SEARCH, 8)
    clock.seconds += 30
    progress.ended(over("t0"))
    assert progress.left_seconds() == pytest.approx(10), "60 of 100 seconds are the search's, 50 are gone"
    assert progress.sentence().endswith("; 50 s of --time left")
    clock.seconds += 60
    assert progress.sentence().endswith("; --time is used up")


def test_each_step_says_what_comes_then(clock: Clock) -> None:
    progress = Progress(ACCURACY)
    progress.begin(STUDY)
    assert progress.sentence() == "getting ready; then probing; then 8 trials; then up to 12 final models"
    progress.step(PROBE, 2)
    clock.seconds += 60
    for index in range(3):
        progress.ended(replace(over(f"h{index}"), stage="probe"))
    assert progress.sentence() == "probing, 1 of 2 backbones; then 8 trials; then up to 12 final models"
    progress.step(SEARCH, 8)
    assert progress.sentence() == "searching, 0 of 8 trials; then up to 12 final models"
    progress.step(CONFIRM, 5)
    clock.seconds += 10
    progress.ended(replace(over("c0"), stage="confirm"))
    assert progress.sentence() == "confirming, 1 of 5, about 40 s left"
    progress.step(REPORT, 0)
    assert progress.sentence() == "writing models and report"


def test_a_flat_search_has_no_probe(clock: Clock) -> None:
    progress = Progress(ACCURACY)
    progress.begin(replace(STUDY, policy="flat"))
    assert progress.sentence() == "getting ready; then 8 trials; then up to 12 final models"


def test_a_design_counts_cells_times_seeds_of_each_backbone(clock: Clock) -> None:
    progress = Progress(ACCURACY)
    progress.begin(GRID)
    kept = replace(over("r0", value=0.75), stage="confirm")
    progress.known([kept])
    progress.step(DESIGN, 15)
    clock.seconds += 20
    progress.ended(replace(over("r1"), stage="confirm"))
    tally = progress.tallies()[0]
    assert (tally.wanted, tally.ended, tally.curve) == (2 * 2 * 2, 2, (0.75, 0.75))
    assert progress.sentence() == "runs, 2 of 16, about 5 min left"


def test_what_is_used_of_a_budget_is_told(clock: Clock) -> None:
    progress = Progress(ACCURACY)
    progress.begin(replace(STUDY, budget_hours=2.0))
    progress.known([replace(over("t0"), worker_seconds=1800.0)])
    progress.ended(replace(over("t1"), worker_seconds=900.0))
    assert progress.sentence().endswith("; 0.75 of 2 worker-hours used")
