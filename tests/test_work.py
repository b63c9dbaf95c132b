"""A worker trains a job: a report per epoch, its checkpoint written first, taken up where the record ends."""

from __future__ import annotations

import itertools
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss

from raytl.data.album import Album, open_album
from raytl.data.location import locate
from raytl.data.store import FitData
from raytl.errors import DataError, StorageError
from raytl.on_ray import work as work_module
from raytl.on_ray.job import Job, Report, Twin, Workplace
from raytl.on_ray.work import device_of, work
from raytl.results.final_figures import FinalFigures
from raytl.results.schemas import EpochRow
from raytl.train.checkpoint import load_snapshot
from raytl.train.final import read_test_set
from raytl.train.guards import Diverged
from raytl.train.keeping import keep
from raytl.train.loop import Run
from raytl.train.world import World
from tests.plans import BASE, make_album, make_workplace
from tests.tiny import figures

RECIPE = replace(BASE, epochs=3, lr=0.01, augment="none")
JOB = Job("t", "search", "default", RECIPE)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"), pictures=14)


def test_a_machine_draws_for_itself_what_it_has_not_decoded(tmp_path: Path) -> None:
    """Another machine of the cluster has scanned its own copy; the drawings are the same, so its rows hold here too."""
    scanned, here = tmp_path / "scanned", tmp_path / "here"
    album = open_album([locate("drawn-flowers:5", scanned)])
    there = replace(album, root=here / "samples" / "drawn-flowers-5")
    with pytest.raises(DataError, match="cannot be read since it was scanned"):
        work_module.open_pictures(here, there, 32)
    data = work_module.open_pictures(here, there, 32, ("drawn-flowers:5",))
    expected = work_module.open_pictures(scanned, album, 32)
    assert data.val.labels.tolist() == expected.val.labels.tolist() and len(data.train) == len(expected.train) > 0
    shutil.rmtree(there.root)
    work_module.open_pictures.cache_clear()
    work_module.open_pictures(here, there, 32, ("drawn-flowers:5",))
    assert not there.root.exists(), "decoded already, so nothing is drawn again"


@pytest.fixture
def workplace(album: Album, tmp_path: Path) -> Iterator[Workplace]:
    work_module.open_pictures.cache_clear()
    yield make_workplace((album,), tmp_path)
    work_module.open_pictures.cache_clear()


def do(job: Job, workplace: Workplace) -> list[Report]:
    return list(work(job, workplace, World()))


def rows(reports: list[Report]) -> list[dict[str, Any]]:
    return figures(report.row for report in reports if report.row is not None)


def test_weights_are_shown_where_they_are_wanted(workplace: Workplace) -> None:
    reports = do(JOB, replace(workplace, weight_histograms=True))
    names = [[each.name for each in report.weights] for report in reports]
    assert names == [names[0]] * 3 and "head" in names[0] and len(names[0]) > 1
    assert all(report.weights == () for report in do(replace(JOB, trial_id="u"), workplace))


def test_there_is_a_report_for_each_epoch_and_the_last_says_that_it_is(workplace: Workplace) -> None:
    reports = do(JOB, workplace)
    assert [(report.row.epoch, report.ended) for report in reports if report.row] == [
        (1, None),
        (2, None),
        (3, "completed"),
    ]
    assert len(reports) == 3 and {report.job for report in reports} == {JOB}
    for report in reports:
        assert report.test is None and report.facts.node and report.facts.precision == "fp32"
    assert pickle.loads(pickle.dumps(reports)) == reports


def test_the_checkpoint_is_written_before_the_report_and_named_by_it(workplace: Workplace) -> None:
    for report in work(JOB, workplace, World()):
        snapshot = load_snapshot(workplace.checkpoints / "t")
        assert report.row is not None and snapshot is not None
        assert snapshot.epoch == report.row.epoch
        assert report.row.checkpoint == f"epoch-{snapshot.epoch}"


@pytest.mark.parametrize(("recorded", "epochs"), [(2, [3]), (1, [2, 3]), (0, [1, 2, 3]), (3, [3])])
def test_a_job_goes_on_from_the_newest_checkpoint_that_is_not_ahead_of_the_record(
    workplace: Workplace, recorded: int, epochs: list[int]
) -> None:
    whole = rows(do(replace(JOB, trial_id="whole"), workplace))
    begun = work(JOB, workplace, World())
    for _ in range(2):
        next(begun)
    rest = rows(do(replace(JOB, recorded_epochs=recorded), workplace))
    assert [row["epoch"] for row in rest] == epochs
    assert [{**row, "trial_id": "whole"} for row in rest] == whole[-len(epochs) :]


def test_a_machine_without_the_studys_folder_makes_none_of_its_own(workplace: Workplace) -> None:
    workplace.checkpoints.rmdir()
    with pytest.raises(StorageError, match=r"checkpoints is not on .*; put the study on storage that all"):
        do(JOB, workplace)
    assert not workplace.checkpoints.exists()


def test_a_job_that_was_recorded_whole_is_reported_as_done_without_an_epoch(workplace: Workplace) -> None:
    do(JOB, workplace)
    (report,) = do(replace(JOB, recorded_epochs=3), workplace)
    assert (report.row, report.ended, report.test) == (None, "completed", None)


def test_f12_a_loss_that_is_no_number_ends_a_job_as_diverged(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = Run._epoch

    def diverging(run: Run, number: int) -> EpochRow:
        if number == 2:
            raise Diverged(2, 1, float("nan"))
        return epoch(run, number)

    monkeypatch.setattr(Run, "_epoch", diverging)
    first, last = do(JOB, workplace)
    assert first.row is not None and first.ended is None
    assert (last.row, last.ended, last.test) == (None, "diverged", None)
    assert last.reason is not None and "loss=nan in epoch 2" in last.reason


def test_a_final_job_reads_the_test_set_once_and_after_its_last_epoch(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(run: Run) -> FinalFigures:
        read.append(run.last_epoch)
        return read_test_set(run)

    monkeypatch.setattr(work_module, "read_test_set", counted)
    *earlier, last = do(replace(JOB, stage="confirm"), workplace)
    assert read == [3] and [report.test for report in earlier] == [None, None]
    test = last.test
    assert test is not None
    pictures = workplace.albums[0].part("test")
    classes = workplace.albums[0].classes
    assert list(test.paths) == [row.path for row in pictures]
    assert [classes[label] for label in test.labels] == [row.label for row in pictures]
    labels, predicted = list(test.labels), list(test.predicted)
    assert test.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert test.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert test.loss == pytest.approx(log_loss(labels, test.probabilities, labels=[0, 1]), rel=1e-4)


def test_a_final_job_killed_before_its_test_is_tested_without_training(workplace: Workplace) -> None:
    job = replace(JOB, stage="confirm")
    whole = do(job, workplace)[-1].test
    (report,) = do(replace(job, recorded_epochs=3), workplace)
    assert report.row is None and report.test is not None and whole is not None
    assert report.test.predicted == whole.predicted and report.test.loss == whole.loss


def test_the_pictures_are_opened_once_in_a_process(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def counted(album: Album, resize: int, folder: Path, limit_bytes: int | None) -> FitData:
        opened.append(resize)
        return keep(album, resize, folder, limit_bytes)

    monkeypatch.setattr(work_module, "keep", counted)
    for number, resize in enumerate((20, 20, 24, 20)):
        next(work(replace(JOB, trial_id=f"t{number}", recipe=replace(RECIPE, eval_resize=resize)), workplace, World()))
    assert opened == [20, 24]


def test_each_split_has_pictures_of_its_own(album: Album, workplace: Workplace) -> None:
    both = replace(workplace, albums=(album, album.resplit(1)))
    paths = []
    for split in (0, 1):
        last = do(replace(JOB, trial_id=f"s{split}", stage="confirm", split=split), both)[-1]
        assert last.test is not None
        paths.append(last.test.paths)
        assert list(paths[split]) == [row.path for row in both.albums[split].part("test")]
    assert paths[0] != paths[1]


def test_another_worker_than_the_first_writes_no_checkpoint(workplace: Workplace) -> None:
    class Second(World):
        """One of one, but not the main one."""

        @property
        def is_main(self) -> bool:
            return False

    (first, *_) = list(work(JOB, workplace, Second()))
    assert first.row is not None and first.row.checkpoint is None
    assert not (workplace.checkpoints / "t").exists()


def test_the_device_is_what_ray_gave(workplace: Workplace) -> None:
    assert device_of(workplace) == torch.device("cpu")
    assert device_of(replace(workplace, use_gpu=True)) == torch.device("cuda:0")


def short_of_memory(monkeypatch: pytest.MonkeyPatch, most_parts: int) -> list[int]:
    """Memory that holds no batch of the second epoch unless it is shown in more than so many parts."""
    parts: list[int] = []
    epoch = Run._epoch

    def counting(run: Run, number: int) -> EpochRow:
        parts.append(run.world.micro_batches)
        if number == 2 and run.world.micro_batches <= most_parts:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return epoch(run, number)

    monkeypatch.setattr(Run, "_epoch", counting)
    return parts


def test_f14_a_job_that_runs_out_of_memory_goes_on_with_smaller_parts(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = short_of_memory(monkeypatch, most_parts=1)
    reports = do(JOB, workplace)
    assert parts == [1, 1, 2, 2]
    assert [(report.row.epoch, report.ended) for report in reports if report.row] == [
        (1, None),
        (2, None),
        (3, "completed"),
    ]
    assert "memory ran out in epoch 2 (CUDA out of memory." in reports[-1].facts.notes[0]


def test_f14_memory_that_runs_out_again_fails_the_job(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = short_of_memory(monkeypatch, most_parts=2)
    with pytest.raises(torch.OutOfMemoryError):
        do(JOB, workplace)
    assert parts == [1, 1, 2]


@pytest.mark.parametrize("taken_over", [False, True])
def test_f14_memory_that_runs_out_while_testing_loses_no_epoch(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, taken_over: bool
) -> None:
    final = replace(JOB, trial_id="f", stage="confirm", role="best")
    expected = do(replace(final, trial_id="g"), workplace)
    if taken_over:
        final = replace(final, twin=twin_of(do(JOB, workplace)))
    shown: list[int] = []

    def short(run: Run) -> object:
        shown.append(run.world.micro_batches)
        if run.world.micro_batches == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return read_test_set(run)

    monkeypatch.setattr(work_module, "read_test_set", short)
    reports = do(final, workplace)
    epochs = [report.row.epoch for report in reports if report.row]
    assert shown == [1, 2] and epochs == ([1, 2, 1, 2, 3] if taken_over else [1, 2, 3])
    assert reports[-1].ended == "completed" and answers(reports) == answers(expected)


def test_f10_a_damaged_checkpoint_is_set_aside_and_said(workplace: Workplace) -> None:
    begun = work(JOB, workplace, World())
    next(begun)
    folder = workplace.checkpoints / "t"
    for path in folder.glob("last-*"):
        path.write_bytes(b"")
    reports = do(replace(JOB, recorded_epochs=1, attempt=2), workplace)
    assert [report.row.epoch for report in reports if report.row] == [1, 2, 3]
    assert {report.row.attempt for report in reports if report.row} == {2}
    damaged, aside, *_ = reports[-1].facts.notes
    assert "last-0001" in damaged and "set aside as t.damaged" in aside
    assert (workplace.checkpoints / "t.damaged").is_dir()


def twin_of(reports: list[Report], name: str = "t") -> Twin:
    return Twin(name, tuple(report.row for report in reports if report.row is not None))


def same(reports: list[Report], others: list[Report]) -> bool:
    """Whether epochs have the same figures, whoever's they are."""
    mine, theirs = ([{**row, "trial_id": "", "attempt": 0} for row in rows(each)] for each in (reports, others))
    return mine == theirs


def answers(reports: list[Report]) -> tuple[int, ...]:
    assert reports[-1].test is not None
    return reports[-1].test.predicted


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_final_model_takes_over_what_the_search_has_trained(epochs: int, workplace: Workplace) -> None:
    """Whole, or as far as the search went with it: rows, figures and checkpoint are those of one trained anew."""
    final = replace(JOB, trial_id="f", stage="confirm", role="best")
    expected = do(replace(final, trial_id="g"), workplace)
    first = list(itertools.islice(work(JOB, workplace, World()), epochs))
    taken = do(replace(final, twin=twin_of(first)), workplace)
    assert same(taken, expected) and [report.ended for report in taken] == [None, None, "completed"]
    assert [report.row.started_at for report in taken[:epochs] if report.row] == [
        report.row.started_at for report in first if report.row
    ]
    assert all(report.row.trial_id == "f" for report in taken if report.row)
    assert answers(taken) == answers(expected)
    own, other = (load_snapshot(workplace.checkpoints / name) for name in ("f", "g"))
    assert own is not None and other is not None and (own.epoch, own.best_epoch) == (other.epoch, other.best_epoch)
    assert all(torch.equal(own.best[name], other.best[name]) for name in other.best)


def test_a_final_model_that_was_killed_while_it_took_over_comes_out_the_same(workplace: Workplace) -> None:
    first = do(JOB, workplace)
    final = replace(JOB, trial_id="f", stage="confirm", role="best", twin=twin_of(first))
    whole = do(final, workplace)
    again = do(replace(final, recorded_epochs=1, attempt=2), workplace)
    assert same(again, whole) and answers(again) == answers(whole)
    said = replace(final, trial_id="h", twin=replace(twin_of(first), notes=("all were predicted as one class",)))
    assert "all were predicted as one class" in do(said, workplace)[-1].facts.notes
    shutil.rmtree(workplace.checkpoints / "t")
    (ended,) = do(replace(final, recorded_epochs=3, attempt=3), workplace)
    assert ended.row is None and ended.ended == "completed" and answers([ended]) == answers(whole)


def test_a_final_model_whose_twin_left_no_whole_checkpoint_is_trained_anew(workplace: Workplace) -> None:
    first = do(JOB, workplace)
    tensors = next((workplace.checkpoints / "t").glob("last-*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-1])
    final = replace(JOB, trial_id="f", stage="confirm", role="best", twin=twin_of(first))
    trained = do(final, workplace)
    assert same(trained, first) and trained[-1].facts.notes == first[-1].facts.notes
