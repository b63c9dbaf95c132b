"""Trials that an earlier run of a study left under way: which attempt comes next, and how one ends that nobody goes on
with."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from raytl.identity import trial_id
from raytl.on_ray.fleet import Berth
from raytl.results.recorder import Ending, Recorder
from raytl.results.schemas import CONFIRM, DISTILL, SEARCH, EpochRow, TrialRow
from raytl.results.usage import held_seconds


def goes_on(trial: TrialRow) -> bool:
    """Whether a resume goes on with a trial: one under way, or one of the search that the time left no epoch."""
    return trial.status == "running" or (trial.stage == SEARCH and trial.status == "stopped" and not trial.epochs_run)


def attempts_of(epochs: Sequence[EpochRow]) -> int:
    """How many attempts a trial that was begun has had, by its recorded epochs."""
    return max((row.attempt for row in epochs), default=1)


def end_earlier(recorder: Recorder, trial: TrialRow, why: str, berth: Berth) -> TrialRow:
    """Records the end of a trial of an earlier run, as of its last recorded epoch: since then nobody has worked on it.

    `why` it is not gone on with matters only where it is not complete; a final model that has not read the test set
    never is. One without an epoch is stopped without a figure: nothing was wrong with it, and a time limit that is used
    up is no failure.
    """
    epochs = recorder.epochs[trial.trial_id]
    when = f"after epoch {epochs[-1].epoch}" if epochs else "before its first epoch"
    status, reason = "stopped", f"{why} {when}"
    if epochs and epochs[-1].epoch >= trial.recipe.epochs and trial.stage != CONFIRM:
        status, reason = "completed", ""
    ending = Ending(
        status,
        reason or None,
        attempts=attempts_of(epochs),
        node_type=berth.node_type,
        node_share=berth.node_share,
        worker_seconds=held_seconds(trial, epochs) - (trial.worker_seconds or 0.0),
    )
    return recorder.end(trial.trial_id, ending)


def end_outdated(recorder: Recorder, fingerprints: Collection[str], berth: Berth) -> None:
    """Ends the trials that an earlier run left under way on pictures, or a split of them, that are none of these.

    Nothing could go on with them: trained further, they would have seen both.
    """
    for trial in list(recorder.trials.values()):
        if trial.status == "running" and trial.stage != DISTILL:
            names = {trial_id(trial.recipe, fingerprint, trial.stage) for fingerprint in fingerprints}
            if trial.trial_id not in names:
                end_earlier(recorder, trial, "the pictures have changed", berth)
