"""Keeps a study's records while it runs: each fact goes to the ledger first, then to whoever shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from raytl.metric import Figures, Metric
from raytl.redaction import redacted
from raytl.results.folder import StudyFolder
from raytl.results.ledger import Ledger, read_ledger
from raytl.results.schemas import SCORELESS, TABLES, ConfirmedRow, EpochRow, PictureRow, PredictionRow, TrialRow
from raytl.results.tables import Tables, epoch_rows, settle, trial_rows
from raytl.results.tensorboard import BoardWriter
from raytl.results.usage import held_seconds


class Watcher(Protocol):
    """Somebody who shows a running study to a person or a program."""

    def known(self, trials: Sequence[TrialRow]) -> None:
        """What an earlier run of the study recorded; told once, before anything else of its trials."""

    def step(self, name: str, left: int) -> None:
        """A step of the study begins (probe, search, confirm, design, report), with so many tasks left to do in it.

        They are backbones to probe, trials to search, final models or runs to train.
        """

    def settled(self, backbone: str, left_out: int, reason: str) -> None:
        """The search begins no further trial of a backbone and leaves out so many, for a reason."""

    def started(self, trial: TrialRow) -> None:
        """A trial has begun."""

    def epoch(self, trial: TrialRow, row: EpochRow) -> None:
        """A trial has finished an epoch."""

    def ended(self, trial: TrialRow) -> None:
        """A trial is over; its row says how."""

    def tested(self, row: ConfirmedRow) -> None:
        """A final model has read the test set."""


@dataclass(frozen=True)
class Ending:
    """How a trial ended, and what its worker found out.

    `worker_seconds` are given for trials that did not hold workers from their start to their end, `waited_seconds` for
    those that had to wait for their workers' machines.
    """

    status: str
    reason: str | None = None
    node: str | None = None
    precision_used: str | None = None
    peak_memory_bytes: int | None = None
    stored_bytes: int | None = None
    cross_validated: Figures | None = None
    cross_validated_count: int | None = None
    attempts: int = 1
    node_type: str | None = None
    node_share: float | None = None
    worker_seconds: float | None = None
    waited_seconds: float = 0.0
    taken_over: str | None = None


class Recorder:
    """The only writer of a study's ledger. What was recorded before (a study that is continued) is known to it.

    A kill between a commit and the board leaves one fact unshown. A trial that goes on gets its whole folder written
    anew; one whose end was that fact gets it here.
    """

    def __init__(self, folder: StudyFolder, metric: Metric, watchers: Sequence[Watcher] = ()) -> None:
        known = settle(read_ledger(folder.ledger))
        self.ledger = Ledger.open(folder.ledger)
        self.board = BoardWriter(folder.tensorboard)
        self.metric = metric
        self.trials: dict[str, TrialRow] = {row.trial_id: row for row in trial_rows(known.trials)}
        self.epochs: dict[str, list[EpochRow]] = {name: [] for name in self.trials}
        self.earlier_epochs = tuple(epoch_rows(known.epochs))  # in the order of their commits
        for row in self.earlier_epochs:
            self.epochs.setdefault(row.trial_id, []).append(row)
        self.confirmed_ids = set(known.confirmed["trial_id"].to_pylist())
        self._watchers = tuple(watchers)
        for watcher in self._watchers:
            watcher.known(tuple(self.trials.values()))
        self._show_last_end(known)

    def start(self, *trials: TrialRow) -> None:
        """Records the beginning of trials, in one commit; those that were begun before keep their time and epochs."""
        rows = [self._as_begun(trial) for trial in trials]
        self.ledger.commit("trials", rows)
        for trial in rows:
            self.trials[trial.trial_id] = trial
            self.epochs.setdefault(trial.trial_id, [])
            self.board.start(trial, self.epochs[trial.trial_id])
            for watcher in self._watchers:
                watcher.started(trial)

    def epoch(self, *rows: EpochRow) -> None:
        """Records epochs of trials that were started, in one commit; of one trained twice, the first row counts."""
        self.ledger.commit("epochs", rows)
        for row in rows:
            if any(known.epoch == row.epoch for known in self.epochs[row.trial_id]):
                continue
            self.epochs[row.trial_id].append(row)
            self.board.epoch(row)
            for watcher in self._watchers:
                watcher.epoch(self.trials[row.trial_id], row)

    def end(self, trial_id: str, ending: Ending) -> TrialRow:
        """Records how a trial ended, with the figures of its best epoch unless it failed."""
        return self.end_all({trial_id: ending})[0]

    def end_all(self, endings: Mapping[str, Ending]) -> list[TrialRow]:
        """Records how several trials ended, in one commit."""
        rows = [_summed_up(self.trials[name], self.epochs[name], ending) for name, ending in endings.items()]
        self.ledger.commit("trials", rows)
        for trial in rows:
            self.trials[trial.trial_id] = trial
            self.board.end(trial)
            for watcher in self._watchers:
                watcher.ended(trial)
        return rows

    def pictures(self, rows: Sequence[PictureRow]) -> None:
        """Records what the scan found."""
        self.ledger.commit("data", rows)

    def confirmed(self, row: ConfirmedRow, predictions: Sequence[PredictionRow]) -> None:
        """Records a final model's figures, its predictions first, so that a figure never stands without them."""
        self.ledger.commit("predictions", predictions)
        self.ledger.commit("confirmed", [row])
        self.confirmed_ids.add(row.trial_id)
        for watcher in self._watchers:
            watcher.tested(row)

    def best_epoch(self, trial_id: str) -> EpochRow | None:
        """The epoch whose figures stand for the trial: the last that was the best so far."""
        return _best(self.epochs[trial_id])

    def published(self, row: ConfirmedRow) -> None:
        """Records where a final model was saved; its figures stay as they were."""
        self.ledger.commit("confirmed", [row])

    def close(self) -> None:
        """Closes the event files."""
        self.board.close()

    def _as_begun(self, trial: TrialRow) -> TrialRow:
        known = self.trials.get(trial.trial_id)
        if known is None:
            return trial
        held = held_seconds(known, self.epochs[trial.trial_id])
        return replace(trial, started_at=known.started_at, resumed_at=trial.started_at, worker_seconds=held)

    def _show_last_end(self, known: Tables) -> None:
        last = known.trials.sort_by("commit_number").slice(max(0, len(known.trials) - 1)).to_pylist()
        newer = [name for name in TABLES if name != "trials" and _newest(getattr(known, name)) > _newest(known.trials)]
        if last and last[0]["status"] != "running" and not newer:
            trial = self.trials[last[0]["trial_id"]]
            self.board.start(trial, self.epochs[trial.trial_id])
            self.board.end(trial)


def _newest(table: pa.Table) -> int:
    """The number of the commit that brought the last of the rows; 0 where there are none."""
    return pc.max(table["commit_number"]).as_py() or 0


def _best(epochs: Sequence[EpochRow]) -> EpochRow | None:
    return next((row for row in reversed(epochs) if row.is_best), None)


def _summed_up(trial: TrialRow, epochs: Sequence[EpochRow], ending: Ending) -> TrialRow:
    has_score = ending.status not in SCORELESS
    best, crossed = (_best(epochs), ending.cross_validated) if has_score else (None, None)
    speeds = sorted(row.images_per_second for row in epochs)
    ended_at = datetime.now(UTC)
    return replace(
        trial,
        status=ending.status,
        reason=redacted(ending.reason) if ending.reason else None,
        ended_at=ended_at,
        seconds=sum((row.ended_at - row.started_at).total_seconds() for row in epochs),
        epochs_run=len(epochs),
        best_epoch=best.epoch if best else None,
        val_accuracy=best.val_accuracy if best else None,
        val_macro_f1=best.val_macro_f1 if best else None,
        val_loss=best.val_loss if best else None,
        cv_accuracy=crossed.val_accuracy if crossed else None,
        cv_macro_f1=crossed.val_macro_f1 if crossed else None,
        cv_loss=crossed.val_loss if crossed else None,
        attempts=ending.attempts,
        cv_count=ending.cross_validated_count if crossed else None,
        images_per_second=speeds[len(speeds) // 2] if speeds else None,
        peak_memory_bytes=ending.peak_memory_bytes,
        stored_bytes=ending.stored_bytes,
        node=ending.node,
        precision_used=ending.precision_used,
        worker_seconds=_held(trial, ending, ended_at),
        node_type=ending.node_type,
        node_share=ending.node_share,
        taken_over=ending.taken_over,
    )


def _held(trial: TrialRow, ending: Ending, ended_at: datetime) -> float:
    """Worker-seconds of all attempts of a trial that ends now."""
    own = ending.worker_seconds
    if own is None:
        begun = trial.resumed_at or trial.started_at
        own = max(0.0, (ended_at - begun).total_seconds() - ending.waited_seconds) * trial.worker_count
    return (trial.worker_seconds or 0.0) + own
