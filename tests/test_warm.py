"""A warm actor takes one recipe after another, and a trial in a used one equals the same trial in a new one."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from raytl.data.album import Album
from raytl.errors import ConfigError, RaytlError, StorageError
from raytl.on_ray import warm as warm_module
from raytl.on_ray.job import UNWRITABLE, Done, Job, Task, Workplace
from raytl.on_ray.results import REPORT
from raytl.on_ray.stages import configuration
from raytl.on_ray.warm import WarmTrial, reports_of
from raytl.train.checkpoint import COMMIT
from raytl.train.world import World
from tests.plans import BASE, make_album, make_workplace
from tests.tiny import figures

RECIPE = replace(BASE, epochs=2, lr=0.01, dropout=0.2, mixup=0.2, ema_decay=0.5)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


def job(name: str, **values: Any) -> Job:
    return Job(name, "search", "searcher", replace(RECIPE, **values))


def begin(first: Task, workplace: Workplace) -> WarmTrial:
    """An actor's object without an actor: Tune's own constructor would write its logs."""
    trial = object.__new__(WarmTrial)
    trial.setup(configuration(first), workplace)
    return trial


def steps(trial: WarmTrial) -> list[dict[str, Any]]:
    """As Tune does it: until a result says that it is the last."""
    results = [trial.step()]
    while not results[-1]["done"]:
        results.append(trial.step())
    return results


def tensors(workplace: Workplace, name: str) -> dict[str, torch.Tensor]:
    folder = workplace.checkpoints / name
    files = [folder / each for each in json.loads((folder / COMMIT).read_text())["files"] if each.endswith("tensors")]
    assert len(files) == 2
    return {f"{file.name} {key}": value for file in files for key, value in load_file(file).items()}


def test_a_step_is_an_epoch_and_the_last_is_done(album: Album, tmp_path: Path) -> None:
    results = steps(begin(job("t"), make_workplace((album,), tmp_path)))
    assert [(result["epoch"], result["done"]) for result in results] == [(1, False), (2, True)]
    for result in results:
        assert result["score"] == result[REPORT].row.val_accuracy and result[REPORT].job == job("t")


def test_nothing_is_trained_before_the_first_step(album: Album, tmp_path: Path) -> None:
    workplace = make_workplace((album,), tmp_path)
    begin(job("t", backbone="no such backbone"), workplace)
    assert list(workplace.checkpoints.iterdir()) == []


@pytest.mark.parametrize("backbone", ["plain_cnn", "tiny_vit"])
@pytest.mark.parametrize("steps_before", [1, 2])
def test_a_trial_in_a_used_actor_equals_it_in_a_new_one(
    album: Album, tmp_path: Path, backbone: str, steps_before: int
) -> None:
    fresh, used = (make_workplace((album,), tmp_path / name) for name in ("fresh", "used"))
    second = job("second", backbone=backbone)
    expected = steps(begin(second, fresh))
    trial = begin(job("first", backbone=backbone, seed=3, optimizer="sgd", freeze_depth=1), used)
    for _ in range(steps_before):
        trial.step()
    assert trial.reset_config(configuration(second)) is True
    results = steps(trial)
    assert figures(each[REPORT].row for each in results) == figures(each[REPORT].row for each in expected)
    here, there = tensors(used, "second"), tensors(fresh, "second")
    assert here.keys() == there.keys() and all(torch.equal(value, there[name]) for name, value in here.items())


def test_tune_is_given_no_checkpoint_of_its_own(album: Album, tmp_path: Path) -> None:
    trial = begin(job("t"), make_workplace((album,), tmp_path))
    trial.save_checkpoint(str(tmp_path / "tune"))
    trial.load_checkpoint(None)
    assert not (tmp_path / "tune").exists()


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (ConfigError("lr=-1: must be positive"), "failed"),
        (StorageError("disk: full, 5 bytes needed"), UNWRITABLE),
    ],
)
def test_what_a_person_must_mend_is_reported_and_not_raised(
    error: RaytlError, ended: str, album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> Any:
        raise error
        yield

    monkeypatch.setattr(warm_module, "work", failing)
    (result,) = steps(begin(job("t"), make_workplace((album,), tmp_path)))
    report = result[REPORT]
    assert (report.row, report.ended, report.reason) == (None, ended, str(error))


def test_any_other_error_retires_the_worker(album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> Any:
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(warm_module, "work", failing)
    with pytest.raises(ZeroDivisionError):
        begin(job("t"), make_workplace((album,), tmp_path)).step()


@dataclass(frozen=True)
class Errand:
    """A chore that counts the splits, or meets what a person must mend."""

    problem: str = ""
    backbone: str = "plain_cnn"

    def do(self, workplace: Workplace) -> int:
        """The number of splits."""
        if self.problem:
            raise ConfigError(self.problem)
        return len(workplace.albums)


def test_a_chore_is_one_step(album: Album, tmp_path: Path) -> None:
    workplace = make_workplace((album,), tmp_path)
    trial = begin(Errand(), workplace)
    [step] = steps(trial)
    assert step == {REPORT: Done(Errand(), 1), "done": True}
    assert step[REPORT].seconds > 0
    wrong = Errand("lr=0: must be positive")
    trial.reset_config(configuration(wrong))
    assert steps(trial) == [{REPORT: Done(wrong, None, "lr=0: must be positive"), "done": True}]
    trial.reset_config(configuration(job("t", epochs=1)))
    assert [result["epoch"] for result in steps(trial)] == [1]


def test_of_a_group_the_first_worker_alone_does_chores(album: Album, tmp_path: Path) -> None:
    workplace = make_workplace((album,), tmp_path)
    counts = [len(list(reports_of(Errand(), workplace, World(rank, 2)))) for rank in (0, 1)]
    assert counts == [1, 0]
