"""Event files for TensorBoard: one folder per trial, with scalars, hyperparameters and pictures.

They are a view: what counts is in the ledger, and a trial's folder can be written anew from its rows.
No experiment tag is written: without one TensorBoard finds out itself which hyperparameters differ between the
trials and in which range, while with one it takes the word of whichever trial it happens to read first.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.pr_curve import metadata as pr_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from raytl.errors import StorageError
from raytl.results.histogram import Histogram
from raytl.results.pr_curve import THRESHOLDS, PrCurve
from raytl.results.schemas import EpochRow, TrialRow
from raytl.steps import reached

SCALARS = {
    "train/loss": "train_loss",
    "train/accuracy": "train_accuracy",
    "val/loss": "val_loss",
    "val/accuracy": "val_accuracy",
    "val/macro_f1": "val_macro_f1",
    "lr": "lr",
    "images_per_second": "images_per_second",
}
BEST_SCALARS = {
    "best/val_loss": "val_loss",
    "best/val_accuracy": "val_accuracy",
    "best/val_macro_f1": "val_macro_f1",
}
_STATUS = {
    "running": api_pb2.STATUS_RUNNING,
    "completed": api_pb2.STATUS_SUCCESS,
    "stopped": api_pb2.STATUS_SUCCESS,
    "diverged": api_pb2.STATUS_FAILURE,
    "failed": api_pb2.STATUS_FAILURE,
}


class BoardWriter:
    """Writes a study's event files under `folder` (`StudyFolder.tensorboard`), one open file per running trial.

    Every method but `close` raises StorageError where a file cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, EventFileWriter] = {}

    def start(self, trial: TrialRow, epochs: Iterable[EpochRow] = ()) -> None:
        """Begins a trial's folder with its hyperparameters, so that a killed trial shows, too.

        What an earlier process wrote of the trial is replaced; `epochs` are the rows that were committed then.
        """
        self._close(trial.trial_id)
        shutil.rmtree(self._folder / trial.trial_id, ignore_errors=True)
        info = SessionStartInfo(start_time_secs=trial.started_at.timestamp())
        for name, value in _hyperparameters(trial).items():
            kind = "string_value" if isinstance(value, str) else "number_value"
            setattr(info.hparams[name], kind, value)
        summary = _session(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=info))
        self._write(trial.trial_id, summary, 0, trial.started_at)
        for row in epochs:
            self.epoch(row)

    def epoch(self, row: EpochRow) -> None:
        """Adds one epoch's scalars at the step of its number; it is on disk, for TensorBoard to read, on return."""
        self._write(row.trial_id, _scalars(SCALARS, row), row.epoch, row.ended_at)

    def histograms(self, trial_id: str, epoch: int, found: Iterable[Histogram]) -> None:
        """Adds how a trial's weights are distributed after an epoch."""
        values = [Summary.Value(tag=f"weights/{each.name}", histo=_histogram(each)) for each in found]
        self._write(trial_id, Summary(value=values), epoch, datetime.now(UTC))

    def picture(self, trial_id: str, tag: str, png: bytes, step: int) -> None:
        """Adds a picture, such as a final model's confusion matrix.

        Raises:
            ValueError: `png` is no PNG file.
        """
        self._write(trial_id, Summary(value=[Summary.Value(tag=tag, image=_image(png))]), step, datetime.now(UTC))

    def pr_curves(self, trial_id: str, curves: Iterable[PrCurve]) -> None:
        """Adds precision and recall of each class of a final model, on its test pictures."""
        values = [_pr_curve(f"test/precision_recall/{curve.name}", curve) for curve in curves]
        self._write(trial_id, Summary(value=values), 0, datetime.now(UTC))

    def end(self, trial: TrialRow) -> None:
        """Closes a trial with its status and, where it has one, the figures of its best epoch."""
        ended_at = trial.ended_at or datetime.now(UTC)
        if trial.best_epoch is not None:
            self._write(trial.trial_id, _scalars(BEST_SCALARS, trial), trial.best_epoch, ended_at)
        info = SessionEndInfo(status=_STATUS[trial.status], end_time_secs=ended_at.timestamp())
        summary = _session(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info))
        self._write(trial.trial_id, summary, 0, ended_at)
        self._close(trial.trial_id)

    def close(self) -> None:
        """Closes every file; trials that did not end stay without a status."""
        for trial_id in list(self._writers):
            self._close(trial_id)

    def _write(self, trial_id: str, summary: Summary, step: int, time: datetime) -> None:
        folder = self._folder / trial_id
        try:
            if trial_id not in self._writers:
                self._writers[trial_id] = EventFileWriter(str(folder))
            writer = self._writers[trial_id]
            writer.add_event(Event(wall_time=time.timestamp(), step=step, summary=summary))
            writer.flush()
            reached("event written")
        except OSError as error:
            self._writers.pop(trial_id, None)
            raise StorageError(f"{folder}: cannot be written ({error}); make room, then resume") from error

    def _close(self, trial_id: str) -> None:
        writer = self._writers.pop(trial_id, None)
        if writer:
            writer.close()


def _hyperparameters(trial: TrialRow) -> dict[str, str | float]:
    values: dict[str, object] = {"stage": trial.stage, **trial.recipe.values()}
    return {name: value for name, value in values.items() if isinstance(value, (str, int, float))}


def _scalars(columns: Mapping[str, str], row: EpochRow | TrialRow) -> Summary:
    values = {tag: getattr(row, column) for tag, column in columns.items()}
    return Summary(
        value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items() if value is not None]
    )


def _histogram(found: Histogram) -> HistogramProto:
    return HistogramProto(
        min=found.least,
        max=found.most,
        num=found.number,
        sum=found.total,
        sum_squares=found.squares,
        bucket_limit=found.limits,
        bucket=found.counts,
    )


def _pr_curve(tag: str, curve: PrCurve) -> Summary.Value:
    counts = (curve.true_positives, curve.false_positives, curve.true_negatives, curve.false_negatives)
    rows = (*counts, curve.precision, curve.recall)  # in the plugin's order
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(rows)), TensorShapeProto.Dim(size=THRESHOLDS)])
    tensor = TensorProto(dtype=DT_FLOAT, tensor_shape=shape, float_val=[float(value) for row in rows for value in row])
    return Summary.Value(tag=tag, metadata=pr_metadata.create_summary_metadata(tag, "", THRESHOLDS), tensor=tensor)


def _session(tag: str, content: HParamsPluginData) -> Summary:
    described = metadata.create_summary_metadata(content)
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)])


def _image(png: bytes) -> Summary.Image:
    if png[:8] != b"\x89PNG\r\n\x1a\n" or len(png) < 24:
        raise ValueError("a picture for TensorBoard must be a PNG file")
    width, height = struct.unpack(">II", png[16:24])  # the header chunk always comes first
    return Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
