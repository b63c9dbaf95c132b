"""Event files: what TensorBoard shows of a study, trials that were stopped or killed included."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from raytl.errors import StorageError
from raytl.recipe import Recipe
from raytl.results.histogram import histogram
from raytl.results.pr_curve import THRESHOLDS, pr_curve
from raytl.results.tensorboard import SCALARS, BoardWriter
from tests.board import serve
from tests.rows import START, epoch_row, trial_row


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (7, 5), (200, 10, 10)).save(file, "PNG")
    return file.getvalue()


def loaded(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = loaded(folder)
    return {tag: [(item.step, item.value) for item in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def sessions(folder: Path) -> Mapping[str, Any]:
    return loaded(folder).PluginTagToContent(metadata.PLUGIN_NAME)


def test_an_epoch_is_there_for_a_reader_at_once_at_its_own_step(tmp_path: Path) -> None:
    board = BoardWriter(tmp_path)
    board.start(trial_row())
    board.epoch(epoch_row(epoch=1, train_accuracy=0.5))
    board.epoch(epoch_row(epoch=2, train_accuracy=None, val_loss=0.5))
    seen = scalars(tmp_path / "t0")
    assert set(seen) == set(SCALARS)
    assert seen["val/loss"] == [(1, 0.75), (2, 0.5)]
    assert seen["train/accuracy"] == [(1, 0.5)]
    board.close()


def test_times_are_those_of_the_rows(tmp_path: Path) -> None:
    board = BoardWriter(tmp_path)
    board.start(trial_row())
    board.epoch(epoch_row())
    board.close()
    [event] = loaded(tmp_path / "t0").Scalars("val/loss")
    assert event.wall_time == pytest.approx((START + timedelta(seconds=2)).timestamp())


def test_hyperparameters_are_written_before_the_first_epoch(tmp_path: Path) -> None:
    BoardWriter(tmp_path).start(trial_row(recipe=Recipe(backbone="tiny_a", lr=0.003, head="mlp:512")))
    content = sessions(tmp_path / "t0")
    assert set(content) == {metadata.SESSION_START_INFO_TAG}
    info = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    assert info.hparams["lr"].number_value == 0.003
    assert info.hparams["head"].string_value == "mlp:512"
    assert "clip_norm" not in info.hparams
    assert info.start_time_secs == pytest.approx(START.timestamp())


@pytest.mark.parametrize(
    ("status", "shown"), [("completed", 1), ("stopped", 1), ("diverged", 2), ("failed", 2), ("running", 3)]
)
def test_the_end_tells_status_and_best_epoch(tmp_path: Path, status: str, shown: int) -> None:
    board = BoardWriter(tmp_path)
    board.start(trial_row())
    ended_at = START + timedelta(seconds=60)
    board.end(trial_row(status=status, ended_at=ended_at, best_epoch=3, val_accuracy=0.875, val_loss=0.5))
    content = sessions(tmp_path / "t0")
    info = metadata.parse_session_end_info_plugin_data(content[metadata.SESSION_END_INFO_TAG])
    assert (info.status, info.end_time_secs) == (shown, ended_at.timestamp())
    assert scalars(tmp_path / "t0") == {"best/val_accuracy": [(3, 0.875)], "best/val_loss": [(3, 0.5)]}


def test_a_resumed_trial_is_written_anew_from_its_rows(tmp_path: Path) -> None:
    killed = BoardWriter(tmp_path)
    killed.start(trial_row())
    killed.epoch(epoch_row(epoch=1))
    killed.epoch(epoch_row(epoch=2, val_loss=0.125))
    resumed = BoardWriter(tmp_path)
    resumed.start(trial_row(), epochs=[epoch_row(epoch=1)])
    resumed.epoch(epoch_row(epoch=2, val_loss=0.25))
    resumed.close()
    assert scalars(tmp_path / "t0")["val/loss"] == [(1, 0.75), (2, 0.25)]


def test_a_picture_is_kept_as_it_is(tmp_path: Path) -> None:
    board = BoardWriter(tmp_path)
    board.picture("t0", "test/confusion", png(), step=4)
    board.close()
    [event] = loaded(tmp_path / "t0").Images("test/confusion")
    assert (event.step, event.width, event.height, event.encoded_image_string) == (4, 7, 5, png())


def test_histograms_are_those_that_were_given(tmp_path: Path) -> None:
    board = BoardWriter(tmp_path)
    found = histogram("layer1", np.array([0.0, 0.25, 1.0, 1.0]))
    assert found is not None
    board.histograms("t0", 3, [found])
    board.close()
    [event] = loaded(tmp_path / "t0").Histograms("weights/layer1")
    shown = event.histogram_value
    assert (event.step, shown.num, shown.min, shown.max, shown.sum) == (3, 4, 0.0, 1.0, 2.25)
    assert sum(shown.bucket) == 4 and tuple(shown.bucket_limit) == found.limits


def test_curves_are_those_that_were_given(tmp_path: Path) -> None:
    curve = pr_curve("rose", np.array([0.2, 0.6, 0.9]), np.array([False, False, True]))
    board = BoardWriter(tmp_path)
    board.pr_curves("t0", [curve])
    board.close()
    [event] = loaded(tmp_path / "t0").Tensors("test/precision_recall/rose")
    told = np.array(event.tensor_proto.float_val).reshape(6, THRESHOLDS)
    np.testing.assert_allclose(told[4], curve.precision, rtol=1e-6)
    np.testing.assert_allclose(told[5], curve.recall, rtol=1e-6)
    assert told[:4, 70].tolist() == [1, 0, 2, 0], "true and false positives, true and false negatives"


def test_something_else_than_png_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="PNG"):
        BoardWriter(tmp_path).picture("t0", "test/confusion", b"GIF89a" + bytes(30), step=1)


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        BoardWriter(tmp_path / "tensorboard").start(trial_row())


def test_a_file_cut_short_keeps_what_was_before(tmp_path: Path) -> None:
    board = BoardWriter(tmp_path)
    board.start(trial_row())
    for epoch in (1, 2, 3):
        board.epoch(epoch_row(epoch=epoch))
    board.close()
    [path] = (tmp_path / "t0").iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert scalars(tmp_path / "t0")["val/loss"] == [(1, 0.75), (2, 0.75)]


def test_the_writer_imports_neither_torch_nor_tensorflow() -> None:
    code = "import sys, raytl.results.tensorboard; print(sorted({'torch', 'tensorflow', 'ray'} & set(sys.modules)))"
    root = Path(__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def write_study(folder: Path) -> None:
    """Four trials: completed, stopped, diverged, and one whose process was killed, with a picture of the first."""
    board = BoardWriter(folder)
    for index, status in enumerate(["completed", "stopped", "diverged", "running"]):
        name = f"trial_{index}"
        trial = trial_row(trial_id=name, recipe=Recipe(backbone="tiny_a", lr=0.01 * (index + 1)))
        board.start(trial)
        for epoch in range(1, 4 - (index == 1)):
            board.epoch(epoch_row(trial_id=name, epoch=epoch, val_loss=index + 1 / epoch))
        if index == 0:
            board.picture(name, "test/confusion", png(), step=3)
        if status != "running":
            board.end(trial_row(trial_id=name, status=status, ended_at=START, best_epoch=2, val_loss=index + 0.5))


@pytest.mark.slow
def test_a_real_server_shows_all_trials_over_http(tmp_path: Path) -> None:
    write_study(tmp_path)
    with serve(tmp_path) as server:
        series, groups, pictures, experiment = (
            server.scalars(),
            server.session_groups(),
            server.pictures(),
            server.experiment(),
        )
    assert series["trial_1"]["val/loss"] == [(1, 2.0), (2, 1.5)]
    assert set(series["trial_3"]) == set(SCALARS) - {"train/accuracy"}
    statuses = {group["name"]: group["sessions"][0].get("status") for group in groups}
    assert statuses == {
        "trial_0": "STATUS_SUCCESS",
        "trial_1": "STATUS_SUCCESS",
        "trial_2": "STATUS_FAILURE",
        "trial_3": "STATUS_UNKNOWN",
    }
    assert sorted(group["hparams"]["lr"] for group in groups) == [0.01, 0.02, 0.03, 0.04]
    metrics = {value["name"]["tag"]: value["value"] for value in groups[1]["metricValues"]}
    assert metrics["best/val_loss"] == 1.5
    assert struct.unpack(">II", pictures["trial_0"]["test/confusion"][0][16:24]) == (7, 5)
    assert {info["name"] for info in experiment["hparamInfos"] if info.get("differs")} == {"lr"}
