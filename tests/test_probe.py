"""The probe stage: which heads are tried, and how they are recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from raytl.data.album import Album
from raytl.errors import RaytlError
from raytl.family import VIEWS
from raytl.metric import Figures, find_metric
from raytl.models.cost import facts_of
from raytl.on_ray import probe as probe_module
from raytl.on_ray.chores import CompareSizes, StoreViews, TrainHeads
from raytl.on_ray.deadline import Deadline
from raytl.on_ray.job import Chore, Done, Workplace
from raytl.on_ray.plan import Plan
from raytl.on_ray.probe import HEADS, Probe, head_jobs, ranked_heads
from raytl.on_ray.work import open_pictures
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Ending, Recorder
from raytl.results.schemas import PROBE
from raytl.results.tables import load_tables
from raytl.space import Choices, Space
from raytl.train.cache import PrefixCache
from raytl.train.loop import fit
from raytl.train.world import World
from tests.plans import make_album, make_plan, make_recorder, make_workplace
from tests.rows import epoch_row, trial_row

RESNET = "tiny_resnet"

SECONDS: dict[type, float] = {StoreViews: 3.0, CompareSizes: 40.0, TrainHeads: 500.0}


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def few_heads(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(probe_module, "HEADS", 6)
    yield 6


def one_backbone(album: Album, root: Path) -> Plan:
    """A carried backbone with its weights; there is nothing to try over random ones."""
    plan = make_plan((album,), root, backbones=(RESNET,), epochs=2)
    part = plan.backbones[0]
    default = replace(part.default, weights="pretrained", image_size=32, eval_resize=32)
    facts = facts_of(default, 2)
    probe = replace(default, freeze_depth=len(facts.stage_names), lr=0.001, augment="none")
    return replace(plan, backbones=(replace(part, facts=facts, default=default, probe=probe),))


def test_heads_differ_and_begin_with_the_linear_probe(album: Album, tmp_path: Path) -> None:
    plan = one_backbone(album, tmp_path)
    jobs = head_jobs(plan.backbones[0], plan, 32)
    assert len(jobs) == HEADS == len({job.trial_id for job in jobs})
    assert jobs[0].role == "probe" and jobs[0].recipe == plan.backbones[0].probe
    assert jobs[1].role == "head" and jobs[1].recipe.augment == plan.backbones[0].default.augment
    assert {job.stage for job in jobs} == {PROBE}
    assert {job.recipe.freeze_depth for job in jobs} == {plan.backbones[0].stage_count}
    assert {job.recipe.ema_decay for job in jobs if job.role == "searcher"} == {0.0, 0.9}
    assert jobs == head_jobs(plan.backbones[0], plan, 32)


def test_heads_on_augmented_pictures_share_stored_views(album: Album, tmp_path: Path) -> None:
    plan = one_backbone(album, tmp_path)
    part = replace(plan.backbones[0], probe=replace(plan.backbones[0].probe, augment="light"))
    assert {job.recipe.views for job in head_jobs(part, plan, 32) if job.role == "searcher"} == {VIEWS}


def test_random_weights_have_no_heads_worth_trying(album: Album, tmp_path: Path) -> None:
    plan = one_backbone(album, tmp_path)
    part = replace(plan.backbones[0], default=replace(plan.backbones[0].default, weights="none"))
    assert head_jobs(part, plan, 32) == []


def perform(
    plan: Plan, recorder: Recorder, workplace: Workplace, workers: int = 1, deadline: Deadline | None = None
) -> tuple[list[str], list[list[Chore]]]:
    """Does the stage's chores, all that can be done at the same time together, the last first; what it said."""
    said, batches = list[str](), list[list[Chore]]()
    stage = Probe(plan, recorder, workers, deadline or Deadline(None), said.append)
    while batch := [chore for chore in iter(stage.next, None) if chore is not None]:
        batches.append(batch)
        for chore in reversed(batch):
            stage.chore_ended(attempted(chore, workplace))
    return said, batches


def attempted(chore: Chore, workplace: Workplace) -> Done:
    try:
        return Done(chore, chore.do(workplace), seconds=SECONDS[type(chore)])
    except (OSError, RaytlError) as error:
        return Done(chore, reason=str(error))


def workplace_of(album: Album, root: Path) -> Workplace:
    return replace(make_workplace((album,), root), prefixes=PrefixCache(root / "prefixes", 50_000_000))


@pytest.mark.slow
def test_heads_are_recorded_as_if_each_had_been_trained_alone(album: Album, tmp_path: Path, few_heads: int) -> None:
    plan, recorder = one_backbone(album, tmp_path), make_recorder(tmp_path / "study")
    workplace = workplace_of(album, tmp_path)
    said, batches = perform(plan, recorder, workplace, workers=2)
    recorder.close()
    assert [[type(chore) for chore in batch] for batch in batches] == [[StoreViews], [StoreViews] * 2, [TrainHeads]]
    jobs = {job.trial_id: job for job in head_jobs(plan.backbones[0], plan, 32)}
    assert recorder.trials.keys() == jobs.keys() and len(jobs) == few_heads
    data = open_pictures(workplace.cache, album, plan.backbones[0].default.eval_resize)
    for name, job in jobs.items():
        row = recorder.trials[name]
        assert (row.status, row.stage, row.origin, row.epochs_run) == ("completed", PROBE, job.role, 2)
        alone = list(fit(job.recipe, data, World(), trial_id=name))
        losses = [each.val_loss for each in recorder.epochs[name]]
        assert losses == pytest.approx([each.val_loss for each in alone], rel=1e-4)
    assert said == [f"{RESNET}: 6 heads over its frozen stages, the best with val_accuracy {best(recorder):.3f}"]
    tables = load_tables(StudyFolder(tmp_path / "study"))
    assert tables.trials.num_rows == 6 and tables.epochs.num_rows == 12
    spent = sum(SECONDS[type(chore)] for batch in batches for chore in batch)
    assert tables.trials["worker_seconds"].to_pylist() == pytest.approx([spent / 6] * 6)
    assert len(set(tables.epochs["commit_number"].to_pylist())) == 1  # what arrives together is committed together


@pytest.mark.slow
def test_a_task_that_fails_leaves_a_study_that_goes_on(album: Album, tmp_path: Path, few_heads: int) -> None:
    plan, recorder = one_backbone(album, tmp_path), make_recorder(tmp_path / "study")
    blocked = tmp_path / "file"
    blocked.write_text("where the decoded pictures should lie")
    said, _ = perform(plan, recorder, replace(workplace_of(album, tmp_path), cache=blocked))
    assert not recorder.trials
    assert len(said) == 1 and said[0].startswith(f"{RESNET}: no heads, the search begins without them: ")
    assert str(blocked) in said[0]


def best(recorder: Recorder) -> float:
    return max(row.val_accuracy or 0.0 for row in recorder.trials.values())


@pytest.mark.slow
def test_a_study_that_goes_on_trains_no_head_again(album: Album, tmp_path: Path, few_heads: int) -> None:
    plan, recorder = one_backbone(album, tmp_path), make_recorder(tmp_path / "study")
    perform(plan, recorder, workplace_of(album, tmp_path))
    recorder.close()
    again = make_recorder(tmp_path / "study")
    assert perform(plan, again, workplace_of(album, tmp_path)) == ([], [])
    assert len(again.trials) == few_heads


def test_heads_rank_by_the_metric_and_failures_not_at_all(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path / "study")
    for name, accuracy, status in (("a", 0.7, "completed"), ("b", 0.9, "completed"), ("c", 0.99, "diverged")):
        recorder.start(trial_row(trial_id=name, backbone=RESNET, stage=PROBE))
        recorder.epoch(epoch_row(trial_id=name, val_accuracy=accuracy))
        recorder.end(name, Ending(status))
    assert find_metric("val_accuracy").maximize
    assert [row.trial_id for row in ranked_heads(recorder, RESNET)] == ["b", "a"]


def test_nothing_begins_after_the_deadline(album: Album, tmp_path: Path) -> None:
    plan, recorder = one_backbone(album, tmp_path), make_recorder(tmp_path / "study")
    assert perform(plan, recorder, workplace_of(album, tmp_path), deadline=Deadline(0.0)) == ([], [])
    assert not recorder.trials


class Watched(Deadline):
    """Passed when a test says so."""

    def __init__(self) -> None:
        super().__init__(None)
        self.over = False

    @property
    def passed(self) -> bool:
        return self.over


def test_chores_that_have_not_begun_at_the_deadline_are_left_out_once_there_are_heads(
    album: Album, tmp_path: Path
) -> None:
    plan, recorder = one_backbone(album, tmp_path), make_recorder(tmp_path / "study")
    parts = [replace(plan.backbones[0], probe=replace(plan.backbones[0].probe, seed=seed)) for seed in (0, 1, 2)]
    deadline, said = Watched(), list[str]()
    stage = Probe(replace(plan, backbones=tuple(parts)), recorder, 1, deadline, said.append)
    begun = stage.next()
    deadline.over = True
    assert begun is not None and stage.next() is not None, "without heads there would be nothing to confirm"
    recorder.start(trial_row(trial_id="h", stage=PROBE, backbone="another"))
    recorder.epoch(epoch_row(trial_id="h"))
    recorder.end("h", Ending("completed"))
    assert stage.next() is None
    assert said == [f"{RESNET}: the heads are left out: the time for the search is used up"]
    stage.chore_ended(Done(begun))
    assert stage.next() is None, "nor what would follow"


def crossed(recorder: Recorder, name: str, accuracy: float, loss: float, val: float = 0.9) -> None:
    recorder.start(trial_row(trial_id=name, backbone=RESNET, stage=PROBE))
    recorder.epoch(epoch_row(trial_id=name, val_accuracy=val))
    ending = Ending("completed", cross_validated=Figures(accuracy, accuracy, loss), cross_validated_count=100)
    recorder.end(name, ending)


def test_heads_within_a_standard_error_rank_by_loss(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path / "study")
    crossed(recorder, "lucky", 0.90, 0.9, val=1.0)
    crossed(recorder, "calm", 0.88, 0.2)
    crossed(recorder, "poor", 0.86, 0.1)  # one standard error is sqrt(0.9 * 0.1 / 100) = 0.03
    recorder.start(trial_row(trial_id="plain", backbone=RESNET, stage=PROBE))
    recorder.epoch(epoch_row(trial_id="plain", val_accuracy=1.0))
    recorder.end("plain", Ending("completed"))
    assert [row.trial_id for row in ranked_heads(recorder, RESNET)] == ["calm", "lucky", "poor", "plain"]


def two_sizes(album: Album, root: Path) -> Plan:
    plan = one_backbone(album, root)
    heads = Space({**plan.backbones[0].heads.domains, "image_size": Choices((32, 40))})
    return replace(plan, backbones=(replace(plan.backbones[0], heads=heads),))


@pytest.mark.parametrize(("losses", "size"), [([0.5, 0.4], 40), ([0.4, 0.4], 32), (None, 32)])
def test_heads_are_trained_at_the_size_that_the_comparison_found(
    album: Album, tmp_path: Path, losses: list[float] | None, size: int
) -> None:
    plan, recorder, said = two_sizes(album, tmp_path), make_recorder(tmp_path / "study"), list[str]()
    stage = Probe(plan, recorder, 2, Deadline(None), said.append)
    first = [stage.next() for _ in range(3)]
    assert [chore.recipe.image_size for chore in first if isinstance(chore, StoreViews)] == [32, 40]
    assert first[2] is None
    for chore in first[:2]:
        assert chore is not None
        stage.chore_ended(Done(chore))
    compare = stage.next()
    assert isinstance(compare, CompareSizes) and stage.next() is None
    stage.chore_ended(Done(compare, losses, None if losses else "no"))
    views = [chore for chore in iter(stage.next, None) if isinstance(chore, StoreViews)]
    assert {chore.recipe.image_size for chore in views} == {size}
    assert sorted(view for chore in views for view in chore.views) == list(range(1, VIEWS + 1))
    assert bool(said) == (losses is not None)


def test_a_chore_that_is_told_twice_counts_once(album: Album, tmp_path: Path) -> None:
    """Tune has a chore done again whose worker dies between telling and the end of its task."""
    plan, recorder = two_sizes(album, tmp_path), make_recorder(tmp_path / "study")
    stage = Probe(plan, recorder, 2, Deadline(None), lambda _: None)
    one, other = stage.next(), stage.next()
    assert one is not None and other is not None
    stage.chore_ended(Done(one))
    stage.chore_ended(Done(one))
    assert stage.next() is None, "the other size is still to come"
    stage.chore_ended(Done(other))
    stage.chore_ended(Done(other))
    assert isinstance(stage.next(), CompareSizes) and stage.next() is None


def test_backbones_do_not_wait_for_each_other(album: Album, tmp_path: Path) -> None:
    plan = one_backbone(album, tmp_path)
    parts = [replace(plan.backbones[0], probe=replace(plan.backbones[0].probe, seed=seed)) for seed in (0, 1)]
    plan = replace(plan, backbones=tuple(parts))
    stage = Probe(plan, make_recorder(tmp_path / "study"), 1, Deadline(None), lambda _: None)
    one, other = stage.next(), stage.next()
    assert one is not None and other is not None and stage.next() is None
    stage.chore_ended(Done(one))
    following = stage.next()
    assert isinstance(following, StoreViews) and following.recipe.seed == 0 and stage.next() is None
