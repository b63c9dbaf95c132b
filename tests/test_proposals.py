"""Recipes are proposed in turn, none twice, and a study that goes on proposes what it would have."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raytl.data.album import Album
from raytl.identity import trial_id
from raytl.on_ray.bridge import Bridge
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.job import Job
from raytl.on_ray.plan import Plan
from raytl.on_ray.proposals import BEHIND, USED_UP, Proposals, Rungs
from raytl.results.recorder import Recorder
from raytl.results.schemas import SEARCH, TrialRow
from raytl.space import Choices, Domain, Values
from tests.plans import STAGES, make_album, make_plan, make_recorder, make_report
from tests.rows import trial_row

SMALL: dict[str, Domain] = {"lr": Choices((0.003, 0.001)), "freeze_depth": Choices((0, STAGES))}


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


class Search:
    """A search without Tune: jobs are begun, given epochs and ended by hand; a new one goes on from the folder."""

    def __init__(
        self,
        album: Album,
        root: Path,
        deadline: Deadline | None = None,
        ladder: dict[str, Rungs] | None = None,
        **values: Any,
    ) -> None:
        self.plan: Plan = make_plan((album,), root, **values)
        self.recorder: Recorder = make_recorder(root / "study", self.plan.study.metric)
        self.told: list[TrialRow] = []
        self.proposals = Proposals(self.plan, self.recorder, deadline or Deadline(None), ladder)
        self.bridge = Bridge(self.plan, self.recorder, 1, Deadline(None), lambda trial, _: self._tell(trial))

    def _tell(self, trial: TrialRow) -> None:
        self.told.append(trial)
        self.proposals.tell(trial)

    def next(self) -> Job | None:
        """The next job, begun."""
        job = self.proposals.next()
        if job is not None:
            self.bridge.start(job, "tune")
        return job

    def train(self, job: Job, epochs: int) -> None:
        """Some epochs of a job; how good they are follows from the recipe."""
        for epoch in range(job.recorded_epochs + 1, job.recorded_epochs + epochs + 1):
            score = 0.9 - 20 * abs(job.recipe.lr - 0.01) / (epoch + 20)
            self.bridge.take(make_report(job, epoch, score))

    def end(self, job: Job, error: str | None = None) -> None:
        self.bridge.end(job, error)

    def run(self, most: int = 100) -> list[Job]:
        """Jobs one after another, each whole."""
        jobs: list[Job] = []
        while len(jobs) < most and (job := self.next()) is not None:
            self.train(job, 2)
            self.end(job)
            jobs.append(job)
        return jobs


def observed(search: Search, backbone: str) -> list[tuple[Values, float | None]]:
    searcher = search.proposals._children[backbone]._searcher
    return [(each.values, each.score) for each in searcher.seen]  # type: ignore[attr-defined]


def test_default_and_probe_come_first_and_backbones_take_turns(album: Album, tmp_path: Path) -> None:
    search = Search(album, tmp_path)
    jobs = search.run()
    roles = [(job.recipe.backbone, job.role) for job in jobs]
    in_turn = ["plain_cnn", "tiny_resnet"]
    assert roles == [(name, role) for role in ("default", "probe", "searcher", "searcher") for name in in_turn]
    parts = {part.backbone: part for part in search.plan.backbones}
    assert [job.recipe for job in jobs[:4]] == [
        *(parts[name].default for name in in_turn),
        *(parts[name].probe for name in in_turn),
    ]
    for job in jobs:
        assert job.trial_id == trial_id(job.recipe, album.fingerprint, SEARCH) and job.stage == SEARCH
        assert parts[job.recipe.backbone].space.contains(job.recipe.values()) and not job.reads_test_set
    assert search.next() is None


@pytest.mark.parametrize("searcher", ["random", "optuna", "grid"])
def test_no_recipe_comes_twice_and_a_used_up_space_ends_the_search(album: Album, tmp_path: Path, searcher: str) -> None:
    jobs = Search(album, tmp_path, domains=SMALL, trials=50, searcher=searcher).run()
    assert len({job.trial_id for job in jobs}) == len(jobs)
    points = {(job.recipe.backbone, job.recipe.lr, job.recipe.freeze_depth) for job in jobs}
    assert points == {(name, lr, d) for name in ("plain_cnn", "tiny_resnet") for lr in (0.003, 0.001) for d in (0, 3)}


def test_one_trial_per_backbone_is_the_default(album: Album, tmp_path: Path) -> None:
    assert [job.role for job in Search(album, tmp_path, trials=1).run()] == ["default", "default"]


@pytest.mark.parametrize(("metric", "sign"), [("val_accuracy", 1), ("val_loss", -1)])
def test_the_searcher_is_told_scores_and_failures_as_failures(
    album: Album, tmp_path: Path, metric: str, sign: int
) -> None:
    search = Search(album, tmp_path, metric=metric, backbones=("plain_cnn",))
    jobs = [search.next() for _ in range(3)]
    assert None not in jobs
    stopped, failed, diverged = (job for job in jobs if job is not None)
    search.train(stopped, 2)
    search.end(stopped)
    search.train(failed, 1)
    search.end(failed, "ValueError: boom")
    search.bridge.take(make_report(diverged, 1))
    search.bridge.take(replace(make_report(diverged, 2), row=None, ended="diverged", reason="loss=nan"))
    search.end(diverged)
    assert [trial.status for trial in search.told] == ["stopped", "failed", "diverged"]
    value = getattr(search.told[0], metric)
    scores = [score for _, score in observed(search, "plain_cnn")]
    assert scores == [sign * value, None, None] and value is not None


def test_values_that_do_not_go_together_are_passed_over_and_not_counted(album: Album, tmp_path: Path) -> None:
    domains: dict[str, Domain] = {"image_size": Choices((16, 32)), "eval_resize": Choices((20, 40))}
    search = Search(album, tmp_path, domains=domains, backbones=("plain_cnn",), trials=9)
    sizes = [(job.recipe.image_size, job.recipe.eval_resize) for job in search.run() if job.role == "searcher"]
    assert sorted(sizes) == [(16, 40), (32, 40)]
    refused: Values = {"image_size": 32, "eval_resize": 20}
    assert (refused, None) in observed(search, "plain_cnn")


@pytest.mark.parametrize("searcher", ["random", "optuna", "hyperopt", "grid"])
@pytest.mark.parametrize("done", [1, 3, 6, 9])
def test_a_resumed_search_proposes_what_an_uninterrupted_one_does(
    album: Album, tmp_path: Path, searcher: str, done: int
) -> None:
    values: dict[str, Any] = {"trials": 6, "searcher": searcher}
    whole = Search(album, tmp_path / "whole", **values).run()
    first = Search(album, tmp_path / "parts", **values).run(done)
    again = Search(album, tmp_path / "parts", **values)
    rest = again.run()
    own = {job.trial_id: job.recipe for job in whole}
    assert len(whole) == 12 and len(first) == done
    assert {job.trial_id: job.recipe for job in (*first, *rest)} == own
    assert Counter(job.recipe.backbone for job in (*first, *rest)) == {"plain_cnn": 6, "tiny_resnet": 6}


def test_heads_are_told_before_trials_also_after_a_resume(album: Album, tmp_path: Path) -> None:
    """Models draw by the order of what they are told."""
    values: dict[str, Any] = {"trials": 8, "backbones": ("plain_cnn",)}
    part = make_plan((album,), tmp_path, **values).backbones[0]
    heads = [
        trial_row(
            trial_id=f"h{index}",
            status="completed",
            recipe=replace(part.probe, lr=0.01 * index),
            val_accuracy=index / 10,
        )
        for index in (3, 1, 2)
    ]
    ladder = {"plain_cnn": Rungs(part.starts, tuple(heads))}
    first = Search(album, tmp_path, ladder=ladder, **values)
    jobs = first.run(5)
    told = observed(first, "plain_cnn")
    assert [score for _, score in told[:3]] == [0.3, 0.1, 0.2] and len(told) == 3 + len(jobs)
    assert observed(Search(album, tmp_path, ladder=ladder, **values), "plain_cnn") == told


def test_ended_trials_are_told_in_the_order_in_which_they_ended(album: Album, tmp_path: Path) -> None:
    search = Search(album, tmp_path, backbones=("plain_cnn",))
    jobs = [job for job in (search.next() for _ in range(3)) if job is not None]
    for job in (jobs[2], jobs[0], jobs[1]):
        search.train(job, 1)
        search.end(job)
    told = observed(search, "plain_cnn")
    assert [values["lr"] for values, _ in told] == [jobs[index].recipe.lr for index in (2, 0, 1)]
    again = Search(album, tmp_path, backbones=("plain_cnn",))
    assert observed(again, "plain_cnn") == told
    assert {job.trial_id for job in again.run()}.isdisjoint(job.trial_id for job in jobs)


def test_a_running_trial_comes_first_under_its_own_name(album: Album, tmp_path: Path) -> None:
    search = Search(album, tmp_path)
    jobs = [job for job in (search.next() for _ in range(5)) if job is not None]
    for job, epochs in zip(jobs, (2, 1, 3, 0, 2), strict=True):
        search.train(job, epochs)
    for job in jobs[:2]:
        search.end(job)
    again = Search(album, tmp_path)
    resumed = [job for job in (again.next() for _ in range(3)) if job is not None]
    assert {job.trial_id: job.recorded_epochs for job in resumed} == {
        jobs[2].trial_id: 3,
        jobs[3].trial_id: 0,
        jobs[4].trial_id: 2,
    }
    again_begun = [replace(job, recorded_epochs=0) for job in resumed if job.trial_id == jobs[4].trial_id]
    assert again_begun == [replace(jobs[4], attempt=2)]
    later = again.run()
    known = {job.trial_id for job in jobs}
    assert known.isdisjoint(job.trial_id for job in later)
    assert Counter(job.recipe.backbone for job in (*jobs, *later)) == {"plain_cnn": 4, "tiny_resnet": 4}


def test_final_models_are_no_trials_of_the_search(album: Album, tmp_path: Path) -> None:
    search = Search(album, tmp_path)
    job = search.run(1)[0]
    final = Job("final", "confirm", "best", job.recipe)
    search.bridge.start(final, "tune")
    assert len(Search(album, tmp_path).run()) == 7


def test_a_deadline_ends_the_search(album: Album, tmp_path: Path) -> None:
    assert Search(album, tmp_path, Deadline(0.0)).run() == []


def test_it_is_told_which_trials_are_left_out_and_why(album: Album, tmp_path: Path) -> None:
    said: list[tuple[str, int, str]] = []

    def settled(backbone: str, left_out: int, reason: str) -> None:
        said.append((backbone, left_out, reason))

    late = Search(album, tmp_path / "late")
    assert Proposals(late.plan, late.recorder, Deadline(0.0), settled=settled).next() is None
    assert said == [(name, 4, "the time for the search is used up") for name in ("plain_cnn", "tiny_resnet")]
    small = Search(album, tmp_path / "small", domains=SMALL, trials=50)
    proposals = Proposals(small.plan, small.recorder, Deadline(None), settled=settled)
    jobs = list(iter(proposals.next, None))
    assert said[2:] == [(name, 50 - len(jobs) // 2, USED_UP) for name in ("plain_cnn", "tiny_resnet")]
    enough = Proposals(late.plan, late.recorder, Deadline(None), settled=settled)
    assert enough.left == 8 == len(list(iter(enough.next, None))) and enough.left == 0
    assert len(said) == 4, "nothing is left out where all trials were proposed"


def test_a_backbone_far_behind_gives_up_half_its_trials_and_that_is_told(album: Album, tmp_path: Path) -> None:
    said: list[tuple[str, int, str]] = []
    search = Search(album, tmp_path, policy="ladder", trials=4)
    search.proposals = Proposals(search.plan, search.recorder, Deadline(None), settled=lambda *told: said.append(told))
    while (job := search.next()) is not None:
        search.bridge.take(make_report(job, 1, 0.99 if job.backbone == "plain_cnn" else 0.01))
        search.end(job)
    assert said == [("tiny_resnet", 2, BEHIND)]


def test_a_backbone_behind_comes_again_when_a_trial_under_way_brings_it_back(album: Album, tmp_path: Path) -> None:
    said: list[tuple[str, int, str]] = []
    search = Search(album, tmp_path, policy="ladder", trials=4, backbones=("plain_cnn", "tiny_resnet"))
    search.proposals = Proposals(search.plan, search.recorder, Deadline(None), settled=lambda *told: said.append(told))
    jobs = [job for job in (search.next() for _ in range(4)) if job is not None]
    late = jobs[3]
    assert late.backbone == jobs[1].backbone == "tiny_resnet"
    for job, score in zip(jobs[:3], (0.99, 0.01, 0.99), strict=True):
        search.bridge.take(make_report(job, 1, score))
        search.end(job)
    rest = [job for job in (search.next() for _ in range(3)) if job is not None]
    assert [job.backbone for job in rest] == ["plain_cnn", "plain_cnn"], "the other one waits for its own"
    assert said == []
    search.bridge.take(make_report(late, 1, 0.98))
    search.end(late)
    again = search.next()
    assert again is not None and again.backbone == "tiny_resnet"


def left_under_way(album: Album, root: Path, **values: Any) -> tuple[list[Job], Search]:
    """Three trials that a killed search leaves, with two epochs, none and all; and the search that follows."""
    search = Search(album, root, backbones=("plain_cnn",), **values)
    jobs = [job for job in (search.next() for _ in range(3)) if job is not None]
    for job, count in zip(jobs, (2, 0, 9), strict=True):
        search.train(job, count)
    return jobs, Search(album, root, backbones=("plain_cnn",), **values)


def test_trials_under_way_end_where_the_deadline_has_passed(album: Album, tmp_path: Path) -> None:
    said: list[tuple[str, int, str]] = []
    jobs, again = left_under_way(album, tmp_path)
    given_up: list[TrialRow] = []
    late = Proposals(again.plan, again.recorder, Deadline(0.0), None, lambda *told: said.append(told), given_up.append)
    assert late.next() is None
    rows = [again.recorder.trials[job.trial_id] for job in jobs]
    assert [(row.status, row.reason) for row in rows] == [
        ("stopped", "the time was used up after epoch 2"),
        ("stopped", "the time was used up before its first epoch"),
        ("completed", None),
    ]
    assert given_up == rows and said == [("plain_cnn", 1, "the time for the search is used up")]
    with_time = Search(album, tmp_path, backbones=("plain_cnn",))
    assert with_time.proposals.left == 2, "one that got no epoch is begun again where there is time"
    job = with_time.next()
    assert job is not None and (job.trial_id, job.attempt) == (jobs[1].trial_id, 2)


def test_trials_under_way_go_on_also_where_their_backbone_lies_behind(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytl.on_ray.proposals.Shares.in_reach", lambda self, backbone: False)
    search = Search(album, tmp_path / "none", policy="ladder")
    assert search.next() is None
    monkeypatch.undo()
    jobs, again = left_under_way(album, tmp_path / "some")
    monkeypatch.setattr("raytl.on_ray.proposals.Shares.in_reach", lambda self, backbone: False)
    resumed = [again.next() for _ in jobs]
    assert [job.trial_id for job in resumed if job] == [job.trial_id for job in jobs]
    assert again.next() is None


def test_a_trial_that_goes_on_has_had_the_attempts_that_are_recorded(album: Album, tmp_path: Path) -> None:
    jobs, again = left_under_way(album, tmp_path)
    assert [job.attempt for job in (again.next() for _ in jobs) if job] == [2, 2, 2]
    row = make_report(jobs[0], 3).row
    assert row is not None
    again.recorder.epoch(replace(row, attempt=4))
    resumed = Search(album, tmp_path, backbones=("plain_cnn",)).next()
    assert resumed is not None and resumed.attempt == 5
    late = Search(album, tmp_path, Deadline(0.0), backbones=("plain_cnn",))
    assert late.next() is None and late.recorder.trials[jobs[0].trial_id].attempts == 4
