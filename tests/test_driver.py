"""A whole study with a real Ray: what is searched, confirmed, recorded and left in the folder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
import torch
from ray.util.placement_group import placement_group_table
from rich.console import Console

from raytl.data.album import open_album
from raytl.data.samples import write_sample
from raytl.data.store import build_store, open_data
from raytl.data.views import eval_batch
from raytl.metric import METRICS
from raytl.on_ray.driver import Outcome, run_study
from raytl.on_ray.plan import cache_folder
from raytl.on_ray.probe import HEADS
from raytl.results.folder import StudyFolder
from raytl.results.progress import Progress
from raytl.results.schemas import TABLES, schema
from raytl.results.tables import best_trial_per_backbone, load_tables, recipe_of
from raytl.study import Study
from raytl.train.fronts import make_view
from raytl.train.loop import fit
from raytl.train.world import World
from raytl.use.export import load_model
from tests.board import serve

pytestmark = [pytest.mark.ray, pytest.mark.slow]

BACKBONES = ("tiny_resnet", "tiny_mobilenet")


CACHE_BYTES = 400_000  # less than the two backbones' heads and depths would like to keep


@dataclass(frozen=True)
class Done:
    """A study that has run, what it printed, and the most bytes that lay in the cache of activations meanwhile."""

    study: Study
    outcome: Outcome
    said: list[str]
    most_bytes: int = 0

    @property
    def folder(self) -> StudyFolder:
        return self.outcome.folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy drawn flowers."""
    return write_sample("drawn-flowers", tmp_path_factory.mktemp("data") / "flowers", per_class=14)


def run(study: Study, out: Path) -> Done:
    """Runs a study and keeps its lines."""
    said: list[str] = []
    progress = Progress(METRICS[study.metric], Console(quiet=True))
    progress.expect(study.backbones, study.trials)
    return Done(study, run_study(study, out, said.append, progress), said)


@pytest.fixture(scope="module")
def done(one_ray: None, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Two backbones, four trials each, two seeds."""
    study = Study(
        name="small",
        data=str(pictures),
        backbones=BACKBONES,
        trials=4,
        epochs=3,
        confirm_seeds=2,
        settings={"precision": "fp32"},  # whatever is faster here: figures are compared with those of other code
        cache_gb=CACHE_BYTES / 1e9,
    )
    with Measured(cache_folder() / "prefixes") as measured:
        finished = run(study, tmp_path_factory.mktemp("studies") / "small")
    return replace(finished, most_bytes=measured.most_bytes)


class Measured(Thread):
    """Looks at a folder every few milliseconds and keeps the most bytes that its files had together."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder, self._over = folder, Event()
        self.most_bytes = 0

    def __enter__(self) -> Measured:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.005):
            self.most_bytes = max(self.most_bytes, sum(map(bytes_of, self._folder.rglob("*"))))


def bytes_of(path: Path) -> int:
    """Of a file that may be gone by now; 0 for a folder."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def test_the_disk_that_a_study_uses_for_activations_stays_under_its_limit(done: Done) -> None:
    assert 0 < done.most_bytes <= CACHE_BYTES
    reasons = [row["reason"] for row in load_tables(done.folder).trials.to_pylist() if row["reason"]]
    assert any("do not fit into the cache's 400,000" in reason for reason in reasons), "the limit was never felt"


def test_the_folder_holds_all_that_the_contract_names(done: Done) -> None:
    root = done.folder.root
    assert done.outcome.exit_code == 0
    assert all((root / name).exists() for name in ("study.json", "ledger", "report.html", "tensorboard"))
    for table in TABLES:
        found = pq.read_schema(root / "tables" / f"{table}.parquet")
        assert found.names == schema(table).names
    confirmed = load_tables(done.folder).confirmed.to_pylist()
    assert {str(Path(row["model_path"]).name) for row in confirmed if row["model_path"]} == set(BACKBONES)
    for backbone in BACKBONES:
        for name in ("model.safetensors", "config.json", "README.md"):
            assert (root / "models" / backbone / name).is_file()
    assert not (root / ".ray").exists()


def test_every_backbone_has_its_heads_and_its_trials_with_probe_and_default_among_them(done: Done) -> None:
    rows = load_tables(done.folder).trials.to_pylist()
    heads = [row for row in rows if row["stage"] == "probe"]
    assert {(row["backbone"], row["origin"]) for row in heads} >= {(name, "probe") for name in BACKBONES}
    assert len(heads) == HEADS * len(BACKBONES) and {row["status"] for row in heads} == {"completed"}
    trials = [row for row in rows if row["stage"] == "search"]
    for backbone in BACKBONES:
        own = [row for row in trials if row["backbone"] == backbone]
        assert len(own) in (2, 4)  # one that lies far behind gives half of its trials up
        assert "default" in {row["origin"] for row in own}
    assert {row["status"] for row in trials} <= {"completed", "stopped"}
    assert len({row["trial_id"] for row in trials}) == len(trials) >= 6


def test_each_epoch_is_recorded_once_and_sums_up_to_its_trial(done: Done) -> None:
    tables = load_tables(done.folder)
    epochs = tables.epochs.to_pandas()
    assert not epochs.duplicated(["trial_id", "epoch"]).any()
    for row in tables.trials.to_pylist():
        own = epochs[epochs.trial_id == row["trial_id"]].sort_values("epoch")
        assert list(own.epoch) == list(range(1, row["epochs_run"] + 1))
        best = own.sort_values(["val_accuracy", "val_loss"], ascending=[False, True]).iloc[0]
        assert row["best_epoch"] == best.epoch
        assert row["val_loss"] == best.val_loss


def test_final_figures_follow_from_the_predictions(done: Done) -> None:
    tables = load_tables(done.folder)
    predictions = tables.predictions.to_pandas()
    confirmed = tables.confirmed.to_pylist()
    assert len(confirmed) in (4, 6, 8)  # one or two recipes of two backbones with two seeds
    for row in confirmed:
        own = predictions[predictions.trial_id == row["trial_id"]]
        assert len(own) == own.path.nunique() == row["test_count"]
        assert row["correct"] == (own.label == own.predicted).sum()
        assert row["test_accuracy"] == row["correct"] / row["test_count"]
        true = [
            dict(zip(sorted(set(predictions.label)), p, strict=True))[y]
            for p, y in zip(own.probabilities, own.label, strict=True)
        ]
        assert row["test_loss"] == pytest.approx(-np.log(true).mean(), rel=1e-4)


def test_a_trial_in_a_warm_actor_equals_the_same_trial_here(done: Done, pictures: Path, tmp_path: Path) -> None:
    tables = load_tables(done.folder)
    trial = [row for row in tables.trials.to_pylist() if row["stage"] == "search"][-1]
    data = open_data(album := open_album(pictures), build_store(album, 64, tmp_path))
    torch.set_num_threads(1)
    rows = list(fit(recipe_of(trial), data, World()))
    recorded = tables.epochs.filter(
        np.array([name == trial["trial_id"] for name in tables.epochs["trial_id"].to_pylist()])
    )
    for mine, theirs in zip(rows, recorded.sort_by("epoch").to_pylist(), strict=False):
        assert mine.train_loss == pytest.approx(theirs["train_loss"], rel=1e-5)
        assert mine.val_loss == pytest.approx(theirs["val_loss"], rel=1e-5)


def test_saved_models_predict_what_was_recorded(done: Done, pictures: Path, tmp_path: Path) -> None:
    data = open_data(album := open_album(pictures), build_store(album, 64, tmp_path))
    predictions = load_tables(done.folder).predictions.to_pandas()
    for row in load_tables(done.folder).confirmed.to_pylist():
        if row["model_path"]:
            folder = done.folder.root / row["model_path"]
            loaded = load_model(folder)
            view = make_view(loaded.recipe, loaded.model.input, augmented=False)
            batch = eval_batch(data.test, range(len(data.test)), view)
            theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
            own = predictions[predictions.trial_id == row["trial_id"]].set_index("path").loc[list(data.test.paths)]
            for model in (loaded.model, theirs):
                with torch.inference_mode():
                    found = model(batch).softmax(-1).numpy()
                assert np.allclose(found, np.stack(own.probabilities), atol=1e-4)


def test_duckdb_answers_best_trial_per_backbone_without_raytl(done: Done) -> None:
    code = (
        'import duckdb, sys; rows = duckdb.sql("select backbone, trial_id from '
        f"'{done.folder.tables}/trials.parquet' where stage <> 'confirm' and status in ('completed', 'stopped') "
        'qualify row_number() over (partition by backbone order by val_accuracy desc, val_loss, started_at) = 1")'
        ".fetchall(); assert 'raytl' not in sys.modules; print(sorted(rows))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True).stdout
    best = best_trial_per_backbone(load_tables(done.folder), METRICS["val_accuracy"]).to_pylist()
    assert found.strip() == str(sorted((row["backbone"], row["trial_id"]) for row in best))


def test_tensorboard_serves_scalars_and_hyperparameters_of_all_trials(done: Done) -> None:
    tables = load_tables(done.folder)
    names = set(tables.trials["trial_id"].to_pylist())
    finals = {row["trial_id"] for row in tables.confirmed.to_pylist() if row["model_path"]}
    with serve(done.folder.tensorboard) as board:
        scalars, groups, drawn = board.scalars(), board.session_groups(), board.pictures()
    assert set(scalars) == names
    for row in tables.epochs.to_pylist():
        served = dict(scalars[row["trial_id"]]["val/loss"])
        assert served[row["epoch"]] == pytest.approx(row["val_loss"])
    assert {session["name"] for group in groups for session in group["sessions"]} == names
    assert {"STATUS_SUCCESS"} == {session["status"] for group in groups for session in group["sessions"]}
    assert {name for name in drawn if "test/confusion" in drawn[name]} == finals


def test_the_same_command_again_trains_nothing(done: Done) -> None:
    before = load_tables(done.folder)
    again = run(done.study, done.folder.root)
    after = load_tables(done.folder)
    assert again.outcome.exit_code == 0
    assert after.trials["trial_id"].to_pylist() == before.trials["trial_id"].to_pylist()
    assert after.epochs.drop_columns("commit_number").equals(before.epochs.drop_columns("commit_number"))


def test_trials_of_two_workers_leave_no_placement_group(
    one_ray: None, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(
        name="groups",
        data=str(pictures),
        backbones=("tiny_resnet",),
        workers_per_trial=2,
        trials=3,
        epochs=3,
        confirm_seeds=1,
    )
    monkeypatch.chdir(tmp_path)
    done = run(study, Path("groups"))  # as the command line gives it
    trials = load_tables(done.folder).trials.to_pylist()
    assert done.outcome.exit_code == 0
    assert {(row["stage"], row["worker_count"]) for row in trials} == {("probe", 1), ("search", 2), ("confirm", 2)}
    assert {row["status"] for row in trials} <= {"completed", "stopped"}
    assert len([row for row in trials if row["stage"] == "search"]) == 3
    states = [group["state"] for group in placement_group_table().values()]
    assert states and set(states) == {"REMOVED"}


def test_a_study_of_diverging_trials_ends_with_5_and_reasons(one_ray: None, pictures: Path, tmp_path: Path) -> None:
    study = Study(
        name="diverging",
        data=str(pictures),
        backbones=("tiny_resnet",),
        trials=2,
        epochs=2,
        confirm_seeds=1,
        settings={"lr": 100.0, "optimizer": "sgd", "weight_decay": 10.0, "freeze_depth": 0},
    )
    done = run(study, tmp_path / "diverging")
    tables = load_tables(done.folder)
    searched = [row for row in tables.trials.to_pylist() if row["origin"] == "default"]
    assert [row["status"] for row in searched] == ["diverged"]
    assert "loss" in searched[0]["reason"]
    assert searched[0]["val_accuracy"] is None
    assert done.outcome.exit_code == 5


def test_a_dry_run_writes_nothing(one_ray: None, pictures: Path, tmp_path: Path) -> None:
    study = Study(name="dry", data=str(pictures), backbones=("tiny_resnet",), trials=2, epochs=1)
    said: list[str] = []
    progress = Progress(METRICS["val_accuracy"], Console(quiet=True))
    run_study(replace(study), tmp_path / "dry", said.append, progress, dry_run=True)
    assert not (tmp_path / "dry").exists()
    assert any("2 trials" in line for line in said)
