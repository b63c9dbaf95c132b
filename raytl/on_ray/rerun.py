"""One trial of a study trained again in a folder of its own, in the same way as the first time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from raytl.address import LOCAL
from raytl.data.changes import picture_changes
from raytl.errors import DataError
from raytl.identity import recipe_hash, trial_id
from raytl.machine import cache_folder
from raytl.metric import find_metric
from raytl.on_ray.bridge import trial_row
from raytl.on_ray.briefing import most_trials
from raytl.on_ray.chores import Probed, TrainHeads
from raytl.on_ray.cluster import divide, joined
from raytl.on_ray.confirm import record_test
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.driver import workplace_of
from raytl.on_ray.experiment import run_stages
from raytl.on_ray.job import Done, Job, Report, Task
from raytl.on_ray.plan import Plan, make_plan, open_albums
from raytl.on_ray.provenance import known_precisions, write_provenance
from raytl.on_ray.stages import Stage
from raytl.results.folder import StudyFolder
from raytl.results.lock import locked
from raytl.results.recorder import Ending, Recorder, Watcher
from raytl.results.report import write_report
from raytl.results.schemas import PROBE, TrialRow
from raytl.results.tables import Tables, compact, load_tables, picture_rows, trial_rows
from raytl.study import Study


@dataclass(frozen=True)
class Wanted:
    """The trial that is to come again, the study and the folder it is from, and whether its pictures may be others."""

    trial: TrialRow
    study: Study
    folder: StudyFolder
    tables: Tables
    changed_data: bool = False


class Again(Stage):
    """Trains one trial. A head trains together with all those that it was trained with: sums then round alike."""

    def __init__(self, wanted: Wanted, plan: Plan, recorder: Recorder) -> None:
        self._plan, self._recorder = plan, recorder
        self.job = again(wanted.trial, plan)
        self._task: Task | None = self.job
        if self.job.stage == PROBE:
            rows = trial_rows(wanted.tables.trials)
            heads = [row for row in rows if row.stage == PROBE and row.backbone == self.job.backbone]
            self._task = TrainHeads(tuple(again(row, plan) for row in heads))

    def next(self) -> Task | None:
        """The trial, once."""
        task, self._task = self._task, None
        return task

    def trial_ended(self, trial: TrialRow, report: Report | None) -> None:
        """Records what a final model read on the test set."""
        record_test(self._plan, self._recorder, trial, report)

    def chore_ended(self, done: Done) -> None:
        """Records the one head, or why there is none."""
        name, probed = self.job.trial_id, done.value
        self._recorder.start(trial_row(self._plan, self.job, tune_trial_id="", workers=1))
        if not isinstance(probed, Probed):
            self._recorder.end(name, Ending("failed", done.reason))
            return
        events = [event for event in probed.events if event.trial_id == name]
        self._recorder.epoch(*(event.row for event in events if event.row is not None))
        ended = [event for event in events if event.ended is not None][-1]
        self._recorder.end(name, Ending(str(ended.ended), ended.reason, probed.node, probed.precision))


class Until(Deadline):
    """Passed once a trial has as many epochs as it had the first time, where it was stopped after some."""

    def __init__(self, recorder: Recorder, trial: TrialRow, name: str) -> None:
        super().__init__(None)
        self._recorder, self._name = recorder, name
        self._epochs = trial.epochs_run or None if trial.status == "stopped" else None

    @property
    def passed(self) -> bool:
        """Whether the last epoch is there."""
        return self._epochs is not None and len(self._recorder.epochs.get(self._name, ())) >= self._epochs

    @property
    def why(self) -> str:
        """What the trial is told."""
        return "it was stopped there the first time, too,"


def rerun_trial(wanted: Wanted, out: Path, watcher: Watcher, say: Callable[[str], None]) -> Job:
    """Trains a trial again and records it in the new study folder `out`; the first study is only read.

    Raises:
        RaytlError: before anything is trained, with all that is wrong; DataError where the pictures have changed.
    """
    study, cache = alone(wanted), cache_folder()
    albums = open_albums(study, cache)
    check_pictures(
        wanted,
        albums[wanted.trial.split].fingerprint,
        picture_changes(picture_rows(wanted.tables.data), albums[0].pictures),
    )
    with joined(None) as resources:
        # As many trials at a time as then: each gets the same share of processors, whose number decides how sums round.
        slots = divide(resources, study.workers_per_trial, most_trials(wanted.study), study.trials_per_gpu)
        plan = make_plan(study, albums, slots, cache, known_precisions(wanted.folder))
        folder = StudyFolder(out)
        folder.create()
        with locked(folder):
            write_provenance(plan, folder, resources)
            of = {"folder": str(wanted.folder.root), "trial_id": wanted.trial.trial_id}
            folder.write_study({**folder.read_study(), "rerun_of": of})
            with closing(Recorder(folder, find_metric(study.metric), [watcher])) as recorder:
                recorder.pictures(albums[0].pictures)
                stage = Again(wanted, plan, recorder)
                deadline = Until(recorder, wanted.trial, stage.job.trial_id)
                say(f"training {wanted.trial.trial_id} again: {slots.describe()}")
                begin = time.monotonic()
                run_stages([lambda: stage], plan, recorder, folder, workplace_of(plan, folder, slots), slots, deadline)
                say(f"trained in {time.monotonic() - begin:.0f} s")
            compact(folder)
            write_report(folder, load_tables(folder))
    return stage.job


def alone(wanted: Wanted) -> Study:
    """The study with this trial's backbone alone, here, without anything that would end a trial early."""
    name = wanted.trial.backbone
    return replace(
        wanted.study,
        backbones=(name,),
        backbone_settings={each: own for each, own in wanted.study.backbone_settings.items() if each == name},
        scheduler="none",
        time_limit_seconds=None,
        budget_hours=None,
        prices={},
        address=LOCAL,
        storage=None,
    )


def again(trial: TrialRow, plan: Plan) -> Job:
    """The job of a recorded trial, under the name that it has with today's pictures."""
    name = trial_id(trial.recipe, plan.albums[trial.split].fingerprint, trial.stage)
    return Job(name, trial.stage, trial.origin, trial.recipe, trial.split)


def check_pictures(wanted: Wanted, fingerprint: str, changes: Sequence[str]) -> None:
    """Refuses pictures that are not those of the trial, unless that is wanted.

    Raises:
        DataError: how they have changed.
    """
    trial = wanted.trial
    if recipe_hash(trial.recipe, fingerprint) != trial.recipe_hash and not wanted.changed_data:
        raise DataError(
            *changes,
            f"{wanted.folder.root}: the pictures or their split are not those that {trial.trial_id} was trained on; "
            "put them back, or repeat it on those that there are with --changed-data",
        )
