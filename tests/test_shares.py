"""Which backbones a search goes on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytl.data.album import Album
from raytl.on_ray.shares import Shares
from raytl.results.recorder import Ending, Recorder
from raytl.study import FLAT, LADDER
from tests.plans import make_album, make_plan, make_recorder
from tests.rows import epoch_row, trial_row

GOOD, POOR = "plain_cnn", "tiny_resnet"


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"), pictures=60)


def add(recorder: Recorder, backbone: str, count: int, accuracy: float, stage: str = "search") -> None:
    for index in range(count):
        name = f"{backbone}-{stage}-{index}"
        recorder.start(trial_row(trial_id=name, backbone=backbone, stage=stage))
        recorder.epoch(epoch_row(trial_id=name, val_accuracy=accuracy))
        recorder.end(name, Ending("completed"))


def test_a_backbone_far_behind_gets_half_its_trials(album: Album, tmp_path: Path) -> None:
    plan, recorder = make_plan((album,), tmp_path, policy=LADDER, trials=4), make_recorder(tmp_path / "study")
    shares = Shares(plan, recorder)
    assert len(album.part("val")) == 18
    add(recorder, GOOD, 2, 0.9)
    add(recorder, POOR, 1, 0.5)
    assert shares.in_reach(GOOD) and shares.in_reach(POOR)  # one of four: it has its fair share to come
    add(recorder, POOR, 2, 0.5)
    assert shares.in_reach(GOOD) and not shares.in_reach(POOR)  # 0.9 - 3 * sqrt(0.9 * 0.1 / 18) = 0.688


def test_a_backbone_within_the_noise_goes_on_and_heads_count(album: Album, tmp_path: Path) -> None:
    plan, recorder = make_plan((album,), tmp_path, policy=LADDER, trials=4), make_recorder(tmp_path / "study")
    shares = Shares(plan, recorder)
    add(recorder, GOOD, 2, 0.9)
    add(recorder, POOR, 2, 0.5)
    add(recorder, POOR, 1, 0.7, stage="probe")
    assert shares.in_reach(POOR)


def test_a_backbone_without_a_figure_is_not_judged_while_a_trial_of_it_is_under_way(
    album: Album, tmp_path: Path
) -> None:
    plan, recorder = make_plan((album,), tmp_path, policy=LADDER, trials=4), make_recorder(tmp_path / "study")
    shares = Shares(plan, recorder)
    add(recorder, GOOD, 2, 0.9)
    for name in ("one", "two"):
        recorder.start(trial_row(trial_id=name, backbone=POOR))
    assert shares.in_reach(POOR) and shares.under_way(POOR) and not shares.under_way(GOOD)
    recorder.end("one", Ending("failed", "boom"))
    assert shares.in_reach(POOR)
    recorder.end("two", Ending("failed", "boom"))
    assert not shares.in_reach(POOR) and not shares.under_way(POOR)


@pytest.mark.parametrize("values", [{"policy": FLAT}, {"policy": LADDER, "metric": "val_loss"}])
def test_all_go_on_under_the_flat_policy_and_where_the_noise_is_not_known(
    values: dict[str, str], album: Album, tmp_path: Path
) -> None:
    plan = make_plan((album,), tmp_path, trials=2, **values)
    recorder = make_recorder(tmp_path / "study", plan.study.metric)
    add(recorder, GOOD, 2, 0.9)
    add(recorder, POOR, 2, 0.1)
    assert Shares(plan, recorder).in_reach(POOR)
