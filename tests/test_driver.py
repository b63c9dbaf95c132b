"""A whole study with a real Ray: what is searched, confirmed, recorded and left in the folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import timm
import torch
from ray.util.placement_group import placement_group_table
from rich.console import Console

from raytl.cli import main
from raytl.data.album import open_album
from raytl.data.samples import write_sample
from raytl.data.store import build_store, open_data
from raytl.data.views import eval_batch
from raytl.errors import ConfigError
from raytl.machine import cache_folder
from raytl.metric import METRICS
from raytl.models.carried import carried_weights_path
from raytl.on_ray import driver
from raytl.on_ray.driver import Outcome, run_study
from raytl.on_ray.job import Workplace
from raytl.on_ray.probe import HEADS
from raytl.results.designed import design_effects
from raytl.results.facts import final_models
from raytl.results.folder import HEAT_FILE, TEMPORARY, StudyFolder
from raytl.results.loaded import load_study
from raytl.results.log_lines import LogLines
from raytl.results.schemas import TABLES, schema
from raytl.results.tables import best_trial_per_backbone, load_tables, recipe_of
from raytl.study import Study
from raytl.train.fronts import make_view
from raytl.train.loop import fit
from raytl.train.world import World
from raytl.use.export import load_model
from raytl.use.onnx_file import batches, run_session, session_of, write_onnx
from raytl.use.predict import predict, read_pictures
from raytl.use.timm_folder import write_timm
from tests.board import serve
from tests.fake_tune import in_this_process

pytestmark = [pytest.mark.ray, pytest.mark.slow]

BACKBONES = ("tiny_resnet", "tiny_mobilenet")


CACHE_BYTES = 400_000  # less than the two backbones' heads and depths would like to keep


@dataclass(frozen=True)
class Done:
    """A study that has run, what it printed, how many placement groups Ray gave it, and the most bytes that lay
    in the cache of activations meanwhile.
    """

    study: Study
    outcome: Outcome
    said: list[str]
    groups: int
    most_bytes: int = 0

    @property
    def folder(self) -> StudyFolder:
        return self.outcome.folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy drawn flowers."""
    return write_sample("drawn-flowers", tmp_path_factory.mktemp("data") / "flowers", per_class=14)


def silent(study: Study) -> LogLines:
    """Counts, and says nothing."""
    return LogLines(METRICS[study.metric], Console(quiet=True))


def run(study: Study, out: Path) -> Done:
    """Runs a study and keeps its lines."""
    said: list[str] = []
    before = places()
    outcome = run_study(study, out, said.append, silent(study))
    return Done(study, outcome, said, places() - before)


def places() -> int:
    """How many placement groups ever had their place, so that an actor began; Tune withdraws others while they wait."""
    return sum(group["stats"]["end_to_end_creation_latency_ms"] > 0 for group in placement_group_table().values())


@pytest.fixture(autouse=True, scope="module")
def empty_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What other tests have stored is not counted here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYTL_CACHE", str(tmp_path_factory.mktemp("empty_cache")))
        yield


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
            self.most_bytes = max(self.most_bytes, bytes_under(self._folder))


def bytes_under(folder: Path) -> int:
    """Of the files that are still there when they are looked at: others write and remove them meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(parent) / name).stat().st_size
    return total


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
        for name in ("model.safetensors", "config.json", "README.md", HEAT_FILE):
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
    assert 0 < recorded.num_rows <= len(rows)  # a scheduler may have stopped it
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


def test_exported_models_predict_what_was_recorded(done: Done, pictures: Path, tmp_path: Path) -> None:
    """ONNX Runtime, timm alone and `predict`, on every test picture's file."""
    pytest.importorskip("onnxruntime")
    test = open_data(album := open_album(pictures), build_store(album, 64, tmp_path)).test
    predictions = load_tables(done.folder).predictions.to_pandas()
    for row in load_tables(done.folder).confirmed.to_pylist():
        if row["model_path"]:
            folder = done.folder.root / row["model_path"]
            loaded = load_model(folder)
            session = session_of(write_onnx(loaded, tmp_path / f"{folder.name}.onnx").path)
            given = write_timm(folder, loaded, tmp_path / folder.name).path
            theirs = timm.create_model(f"local-dir:{given}", pretrained=True).eval()
            own = predictions[predictions.trial_id == row["trial_id"]].set_index("path").loc[list(test.paths)]
            files = [pictures / path for path in test.paths]
            seen = list(predict(loaded, files))
            batch = torch.cat(list(batches(loaded, read_pictures(files, loaded.eval_resize))))
            with torch.inference_mode():
                by_timm = theirs(batch).softmax(-1).numpy()
            by_onnx = run_session(session, batch)[0]
            by_predict = [list(each.probabilities.values()) for each in seen]
            for found in (by_onnx, by_timm, by_predict):
                assert np.allclose(found, np.stack(own.probabilities), atol=1e-4)
                assert [loaded.classes[place] for place in np.argmax(found, 1)] == own.predicted.tolist()
            card = (folder / "README.md").read_text()
            assert f"| test accuracy [95%] | {row['test_accuracy']:.1%} [" in card and "## Limits" in card


def test_duckdb_answers_best_trial_per_backbone_without_raytl(done: Done) -> None:
    code = (
        'import duckdb, sys; rows = duckdb.sql("select backbone, trial_id from '
        f"'{done.folder.tables}/trials.parquet' where stage in ('probe', 'search') "
        "and status in ('completed', 'stopped') "
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
    for tag in ("test/confusion", "test/worst_mistakes", "test/grad_cam"):
        assert {name for name in drawn if tag in drawn[name]} == finals


def test_published_models_are_also_served_alone(done: Done) -> None:
    tables = load_tables(done.folder)
    finals = {row["backbone"]: row["trial_id"] for row in tables.confirmed.to_pylist() if row["model_path"]}
    with serve(done.folder.tensorboard) as board:
        pictures, curves, scalars = board.pictures(), board.pr_curves(), board.scalars()
    with serve(done.folder.tensorboard_finals) as board:
        assert board.pictures() == {name: pictures[trial_id] for name, trial_id in finals.items()}
        assert board.pr_curves() == {name: curves[trial_id] for name, trial_id in finals.items()}
        assert board.scalars() == {name: scalars[trial_id] for name, trial_id in finals.items()}
    for by_class in curves.values():
        for tag, points in by_class.items():
            label = tag.removeprefix("test/precision_recall/")
            assert points["recall"][0] == 1.0, f"everything is called {label} at a probability of 0"


def test_the_workers_of_the_first_stage_serve_the_last(done: Done) -> None:
    stages = set(load_tables(done.folder).trials["stage"].to_pylist())
    assert stages == {"probe", "search", "confirm"}
    assert 1 <= done.groups <= ray.cluster_resources()["CPU"], "an actor of Tune's has a placement group of its own"


def test_the_same_command_again_trains_nothing(done: Done) -> None:
    before = load_tables(done.folder)
    again = run(done.study, done.folder.root)
    after = load_tables(done.folder)
    assert again.outcome.exit_code == 0
    assert after.trials["trial_id"].to_pylist() == before.trials["trial_id"].to_pylist()
    assert after.epochs.drop_columns("commit_number").equals(before.epochs.drop_columns("commit_number"))


def test_f16_trials_of_two_workers_leave_no_placement_group(
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
    assert done.groups == 2, "one actor and one group of workers for heads, three trials and final models"


def test_a_design_is_run_whole_and_its_effects_are_told(one_ray: None, pictures: Path, tmp_path: Path) -> None:
    study = Study(
        name="design",
        data=str(pictures),
        backbones=("tiny_resnet",),
        epochs=2,
        confirm_seeds=2,
        design={
            "depth": {"all": {"freeze_depth": 0}, "head": {"freeze_depth": "all"}},
            "rate": {"low": {"lr": 1e-6}, "own": {}},
        },
    )
    done = run(study, tmp_path / "design")
    tables = load_tables(done.folder)
    assert done.outcome.exit_code == 0
    trials = tables.trials.to_pylist()
    assert {row["stage"] for row in trials} == {"confirm"} and len(trials) == 8
    cells = {(row["role"], row["seed"], row["freeze_depth"]) for row in tables.confirmed.to_pylist()}
    levels = [("all + low", 0), ("all + own", 0), ("head + low", 5), ("head + own", 5)]
    assert cells == {(name, seed, depth) for name, depth in levels for seed in (0, 1)}
    (found,) = design_effects(study.design, tables, METRICS[study.metric])
    assert found.table is not None and len(found.table.effects) == 8
    assert tables.predictions.num_rows == 8 * 10, "probabilities of every test picture are kept"
    assert 'id="effects"' in done.folder.report.read_text()
    assert any(line.startswith("design: 4 combinations of depth and rate") for line in done.said)


def test_f13_a_study_of_diverging_trials_ends_with_5_and_reasons(one_ray: None, pictures: Path, tmp_path: Path) -> None:
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


def test_weights_in_a_folder_named_from_here_are_found_by_workers(
    one_ray: None, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune gives each trial a working folder of its own."""
    (tmp_path / "my_weights").mkdir()
    shutil.copy(carried_weights_path("tiny_mobilenet"), tmp_path / "my_weights")
    monkeypatch.chdir(tmp_path)
    study = Study(
        name="given",
        data=str(pictures),
        backbones=("tiny_mobilenet",),
        weights="my_weights",
        trials=1,
        epochs=1,
        confirm_seeds=1,
        policy="flat",
    )
    done = run(study, tmp_path / "study")
    trials = load_tables(done.folder).trials.to_pylist()
    assert done.outcome.exit_code == 0 and {row["status"] for row in trials} == {"completed"}
    assert {row["recipe_weights"] for row in trials} == {str(tmp_path / "my_weights")}


def test_a_dry_run_says_which_pictures_will_not_be_stored(one_ray: None, pictures: Path, tmp_path: Path) -> None:
    study = Study(name="dry", data=str(pictures), backbones=("tiny_resnet",), trials=2, image_size=72, store_gb=0.0)
    said: list[str] = []
    estimate = run_study(study, tmp_path / "dry", said.append, silent(study), dry_run=True).estimate
    (line,) = (line for line in said if "decoded as they are read" in line)
    assert line.startswith("pictures of 72 pixels: 1 MB would be needed, ") and "of at most 0 MB taken" in line
    assert estimate is not None and estimate.decoded_bytes == 0


def test_a_freeze_depth_that_no_backbone_has_is_refused_before_pictures_are_looked_for(tmp_path: Path) -> None:
    study = Study(name="deep", data="nowhere", backbones=("tiny_resnet",), settings={"freeze_depth": 99})
    with pytest.raises(ConfigError, match="freeze_depth=99: tiny_resnet has 5 stages"):
        run_study(study, tmp_path / "study", print, silent(study))


def test_a_dry_run_writes_nothing(one_ray: None, pictures: Path, tmp_path: Path) -> None:
    study = Study(name="dry", data=str(pictures), backbones=("tiny_resnet",), trials=2, epochs=1)
    said: list[str] = []
    outcome = run_study(replace(study), tmp_path / "dry", said.append, silent(study), dry_run=True)
    assert not (tmp_path / "dry").exists()
    assert any("2 trials" in line for line in said)
    estimate = outcome.estimate
    assert estimate is not None and estimate.low_seconds is not None and estimate.high_seconds is not None
    assert 5 < estimate.low_seconds <= (estimate.seconds or 0) <= estimate.high_seconds < 600


def test_f5_an_interrupted_study_keeps_nothing_that_its_workers_were_writing(
    one_ray: None, pictures: Path, tmp_path: Path
) -> None:
    study = Study(name="interrupted", data=str(pictures), backbones=("tiny_resnet",), trials=2, epochs=1)
    half = tmp_path / "study" / "checkpoints" / f"{TEMPORARY}1-model.safetensors"

    def interrupt(line: str) -> None:
        if line.startswith("probing"):
            half.parent.mkdir(exist_ok=True)
            half.touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "study", interrupt, silent(study))
    assert not half.exists() and (tmp_path / "study" / "study.json").is_file()


@pytest.mark.parametrize("sample", [True, False])
def test_every_worker_knows_what_its_machine_has_to_draw(
    one_ray: None, sample: bool, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplaces: list[Workplace] = []
    monkeypatch.setattr(driver, "run_stages", lambda *given: workplaces.append(given[4]))
    monkeypatch.setattr(driver, "publish", lambda *_: None)
    data = "drawn-flowers:14" if sample else str(pictures)
    with in_this_process():
        run(Study(name="drawn", data=data, backbones=("tiny_resnet",)), tmp_path / "study")
    assert [workplace.sources for workplace in workplaces] == [("drawn-flowers:14",) if sample else ()]


def test_a_finished_study_is_extended_and_nothing_is_trained_twice(done: Done, tmp_path: Path) -> None:
    copy = StudyFolder(shutil.copytree(done.folder.root, tmp_path / "larger"))
    before = load_tables(copy)
    larger = run(replace(done.study, trials=5, confirm_seeds=3), copy.root)
    after = load_tables(copy)
    assert larger.outcome.exit_code == 0
    known = {row["trial_id"]: row for row in after.trials.to_pylist()}
    assert all(known[row["trial_id"]] == row for row in before.trials.to_pylist())
    assert after.predictions.slice(0, len(before.predictions)).equals(before.predictions)
    counts = {
        name: sum(row["stage"] == "search" and row["backbone"] == name for row in known.values()) for name in BACKBONES
    }
    assert max(counts.values()) == 5
    for model in final_models(after, METRICS["val_accuracy"]):
        earlier = {row["recipe_hash"] for row in before.confirmed.to_pylist()}
        own = {row["recipe_hash"] for row in after.confirmed.to_pylist() if row["trial_id"] in model.trial_ids}
        assert model.seeds == (0, 1, 2) or own <= earlier, "an earlier best that is none any more keeps its two seeds"
    paths = [row["model_path"] for row in after.confirmed.to_pylist() if row["model_path"]]
    assert sorted(paths) == sorted(f"models/{name}" for name in BACKBONES)
    assert copy.read_study()["extended"][0]["changes"] == {"trials": [4, 5], "confirm_seeds": [2, 3]}  # type: ignore[index]


def test_a_study_that_taught_a_student_goes_on_as_if_it_had_not(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = StudyFolder(shutil.copytree(done.folder.root, tmp_path / "taught"))
    answer = load_study(copy.root).final_models[0].backbone
    other = next(name for name in BACKBONES if name != answer)
    assert main(["distill", str(copy.root), "--into", other, "--seeds", "1"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr("raytl.use.student.read_test_set", lambda _: sys.exit(9))
        with suppress(SystemExit):
            main(["distill", str(copy.root), "--into", other, "--seeds", "2"])
    taught = load_study(copy.root)
    assert taught.trials["status"].to_pylist().count("running") == 1
    again = run(done.study, copy.root)
    assert again.outcome.exit_code == 0 and again.outcome.trials == done.outcome.trials
    assert (
        f"going on: {done.outcome.trials} trials kept, 0 continued from their checkpoints, 0 begun again" in again.said
    )
    after = load_study(copy.root)
    assert after.distillates == taught.distillates and after.final_models == load_study(done.folder.root).final_models
    assert main(["distill", str(copy.root), "--into", other, "--seeds", "2"]) == 0
    assert load_study(copy.root).distillates[0].model.seeds == (0, 1)
