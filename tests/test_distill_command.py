"""`raytl distill` on a small finished study: what is said, recorded, saved, gone on with and refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
from PIL import Image

import raytl
from raytl import distill_command, ensemble_command
from raytl.cli import main
from raytl.finished_study import finals_of
from raytl.metric import METRICS
from raytl.on_ray.driver import _outcome
from raytl.recipe import Recipe
from raytl.results.conclusion import Conclusion
from raytl.results.folder import StudyFolder
from raytl.results.loaded import LoadedStudy, load_study
from raytl.results.lock import locked
from raytl.results.outcomes import compare
from raytl.results.recorder import Recorder
from raytl.results.schemas import DISTILL, DISTILLED, ConfirmedRow, TrialRow
from raytl.results.selection import Selection, figures_of
from raytl.results.tables import confirmed_rows, epoch_rows, learning_curve, trial_rows
from raytl.results.usage import used_seconds
from raytl.train.checkpoint import save_snapshot
from raytl.train.device import resolve_precision
from raytl.use import student
from raytl.use.ensemble import LoadedEnsemble, open_model
from raytl.use.export import LoadedModel
from raytl.use.predict import logits_of, predict
from raytl.use.teacher import Teacher, ask
from raytl.wish import Wish as Asked
from tests.finished import TINTS, Wish, publish_again, write_finished
from tests.studies import Plan, write_study
from tests.tiny import figures, tiny_data

Captured = pytest.CaptureFixture[str]
SELF = ("--into", "plain_cnn", "--seeds", "2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finished(tmp_path_factory.mktemp("finished"), Wish(roles=("best", "head"), metric="val_loss")).root


@pytest.fixture(scope="module")
def taught(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study with two students of its answer."""
    root = shutil.copytree(finished, tmp_path_factory.mktemp("taught") / "study")
    assert main(["distill", str(root), *SELF]) == 0
    return root


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy; its pictures stay where they are."""
    return shutil.copytree(finished, tmp_path / "study")


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def students(loaded: LoadedStudy) -> list[ConfirmedRow]:
    return [row for row in confirmed_rows(loaded.confirmed) if row.role == DISTILLED]


def lessons(loaded: LoadedStudy) -> list[TrialRow]:
    return [row for row in trial_rows(loaded.trials) if row.stage == DISTILL]


def curve(loaded: LoadedStudy, trial_id: str) -> list[dict[str, Any]]:
    return figures(epoch_rows(learning_curve(loaded.tables, trial_id)))


def test_students_are_taught_recorded_and_told(taught: Path, finished: Path) -> None:
    before, after = load_study(finished), load_study(taught)
    (found,), rows = after.distillates, students(after)
    answer = before.final_models[0]
    assert [row.seed for row in rows] == [0, 1] and len({row.recipe_hash for row in rows}) == 1
    assert {row.members for row in rows} == {json.dumps({answer.trial_ids[0]: 1.0})}
    assert [trial.status for trial in lessons(after)] == ["completed"] * 2
    assert [len(curve(after, row.trial_id)) for row in rows] == [4, 4]
    assert found.teacher is not None and found.peer is not None
    ids = [row.trial_id for row in rows]
    assert found.teacher.difference == compare(after.predictions, ids, answer.trial_ids)
    assert found.peer.difference == compare(after.predictions, ids, found.peer.model.trial_ids)
    assert found.model.test.value == pytest.approx(sum(row.test_accuracy for row in rows) / 2)
    assert after.final_models == before.final_models and after.best().sentence == before.best().sentence
    assert after.leaderboard()["role"].to_pylist()[-1] == DISTILLED
    assert "plain_cnn distilled from plain_cnn" in (taught / "report.html").read_text("utf-8")
    assert len(Conclusion(after.folder, after.tables, after.metric).values()["distillates"]) == 1  # type: ignore[arg-type]
    best = min(rows, key=lambda row: row.val_loss)
    assert {row.trial_id: row.model_path for row in rows if row.model_path} == {
        best.trial_id: "models/plain_cnn-distilled"
    }
    assert "distilled from plain_cnn (best, seed 0)" in (taught / best.model_path / "README.md").read_text("utf-8")  # type: ignore[operator]


def test_it_is_said_on_the_way(study: Path, capsys: Captured) -> None:
    assert main(["distill", str(study), "--into", "plain_cnn", "--seeds", "1"]) == 0
    said = capsys.readouterr().out
    (found,) = load_study(study).distillates
    assert said.startswith(
        "student: plain_cnn, recipe of its best final model; 4 epochs, lr 0.1\nteacher: plain_cnn, best"
    )
    assert "asked about 84 training pictures" in said and "  less its teacher, plain_cnn (best, seed 0): " in said
    assert (
        "  less plain_cnn without a teacher: " in said and f"cost: {found.model.milliseconds:.3g} ms a picture" in said
    )


def test_the_saved_student_predicts_as_it_was_tested(taught: Path, finished: Path) -> None:
    loaded, saved = load_study(taught), raytl.load_model(taught / "models" / "plain_cnn-distilled")
    assert isinstance(saved, LoadedModel) and saved.classes == tuple(TINTS)
    (chosen,) = [row for row in students(loaded) if row.model_path]
    rows = loaded.predictions.filter(pc.field("trial_id") == chosen.trial_id).to_pylist()
    paths = [finished.parent / "pictures" / row["path"] for row in rows]
    for row, found in zip(rows, predict(saved, paths), strict=True):
        assert list(found.probabilities.values()) == pytest.approx(row["probabilities"], abs=1e-4)


def test_the_same_command_again_changes_no_row(taught: Path, tmp_path: Path) -> None:
    root = shutil.copytree(taught, tmp_path / "study")
    before, model = files(root / "ledger"), files(root / "models")
    assert main(["distill", str(root), *SELF]) == 0
    assert files(root / "models") == model
    assert files(root / "ledger") == before


def test_killed_in_an_epoch_it_goes_on_to_the_same_figures(
    study: Path, taught: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    calls: list[Path] = []

    def cut(folder: Path, snapshot: Any) -> str:
        calls.append(folder)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return save(folder, snapshot)

    save, before = save_snapshot, load_study(study)
    with monkeypatch.context() as patch:
        patch.setattr(student, "save_snapshot", cut)
        assert main(["distill", str(study), *SELF]) == 130
    assert f"all that was recorded is kept in {study}" in capsys.readouterr().err
    between = load_study(study)
    assert [row.status for row in lessons(between)] == ["running"] and students(between) == []
    assert between.final_models == before.final_models and len(finals_of(between, "")) == 2
    assert main(["distill", str(study), *SELF]) == 0
    after, whole = load_study(study), load_study(taught)
    for row, expected in zip(students(after), students(whole), strict=True):
        assert curve(after, row.trial_id) == curve(whole, expected.trial_id)
        assert (row.trial_id, row.test_loss, row.model_path) == (
            expected.trial_id, expected.test_loss, expected.model_path,
        )  # fmt: skip


def test_a_study_that_goes_on_leaves_its_students_alone(taught: Path, finished: Path, tmp_path: Path) -> None:
    root = shutil.copytree(taught, tmp_path / "study")
    publish_again(StudyFolder(root), tmp_path / "cache")
    after, before = load_study(root), load_study(taught)
    assert after.distillates == before.distillates and after.final_models == before.final_models
    assert isinstance(raytl.load_model(root / "models" / "plain_cnn-distilled"), LoadedModel)
    counted: list[tuple[int, float]] = []
    for each in (finished, root):
        folder = StudyFolder(shutil.copytree(each, tmp_path / f"counted-{len(counted)}"))
        recorder = Recorder(folder, METRICS["val_loss"])
        outcome = _outcome(recorder, folder)
        counted.append((outcome.trials, used_seconds(recorder.trials.values(), recorder.epochs)))
        recorder.close()
    assert counted[0] == counted[1], "neither the budget nor the exit code knows of them"


def test_an_ensemble_teaches_and_another_teacher_makes_another_student(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def both(probabilities: np.ndarray, labels: np.ndarray, *_: object) -> Selection:
        return Selection((1, 1), figures_of(probabilities.mean(axis=0), labels))

    monkeypatch.setattr(ensemble_command, "select", both)
    assert main(["distill", str(study), "--teacher", "ensemble"]) == 2
    assert "`raytl ensemble" in capsys.readouterr().err
    assert main(["ensemble", str(study)]) == 0
    mean = load_study(study).ensembles[0]
    assert main(["distill", str(study), "--teacher", "ensemble", "--seeds", "1"]) == 0
    assert f"less its teacher, the ensemble of {len(mean.parts)} final models" in capsys.readouterr().out
    assert main(["distill", str(study), "--into", "plain_cnn", "--seeds", "1"]) == 0
    loaded = load_study(study)
    first, second = loaded.distillates
    assert first.teacher is not None and first.teacher.model == mean.model
    assert [first.model.model_path, second.model.model_path] == [None, "models/plain_cnn-distilled"]
    config = study / "models" / "ensemble" / "config.json"
    config.write_text(config.read_text("utf-8").replace('"a"', '"z"'), "utf-8")
    for member in (study / "models" / "ensemble").glob("member-*/config.json"):
        member.write_text(member.read_text("utf-8").replace('"a"', '"z"'), "utf-8")
    assert main(["distill", str(study), "--teacher", "ensemble"]) == 2
    assert "tells z, b, c apart, and the pictures show a, b, c" in capsys.readouterr().err


def test_a_backbone_that_was_not_searched_has_its_default_recipe(study: Path, capsys: Captured) -> None:
    folder = StudyFolder(study)
    values = folder.read_study()
    spec = {**cast(dict[str, Any], values["spec"]), "epochs": 1, "image_size": 32}
    folder.write_study({**values, "spec": spec})
    assert main(["distill", str(study), "--into", "tiny_resnet", "--seeds", "1"]) == 0
    assert "tiny_resnet, recipe its default: the study has no final model of it; 1 epochs" in capsys.readouterr().out
    (found,) = load_study(study).distillates
    assert found.peer is None and found.model.model_path == "models/tiny_resnet-distilled"


def test_what_a_teacher_says_is_what_it_was_tested_on_to_say(taught: Path, tmp_path: Path) -> None:
    """Asked about other pictures it gives a hand-made softmax of its logits; an ensemble of it twice says the same."""
    model = open_model(taught / "models" / "plain_cnn")
    assert isinstance(model, LoadedModel) and resolve_precision(model.recipe.precision, torch.device("cpu"))
    pictures = tiny_data(tmp_path).train
    by_hand = logits_of(model, [pictures.picture(i) for i in range(len(pictures))]).softmax(-1).double()
    for opened in (model, LoadedEnsemble((model, model), (0.25, 0.75))):
        said = ask(Teacher("t", opened), lambda _: pictures, torch.device("cpu"))
        torch.testing.assert_close(said, by_hand, atol=1e-6, rtol=0)


def test_a_student_that_diverges_is_no_model(study: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    known = distill_command._recipes

    def wild(*arguments: Any) -> list[Recipe]:
        return [replace(recipe, lr=100.0) for recipe in known(*arguments)]

    monkeypatch.setattr(distill_command, "_recipes", wild)
    assert main(["distill", str(study), "--into", "plain_cnn", "--seeds", "1"]) == 5
    assert "no student of 1 has a figure" in capsys.readouterr().out
    loaded = load_study(study)
    assert [row.status for row in lessons(loaded)] == ["diverged"] and loaded.distillates == ()
    assert not (study / "models" / "plain_cnn-distilled").exists()


def refused(words: Sequence[str], code: int, text: str, root: Path, capsys: Captured) -> None:
    before = files(root / "ledger")
    assert main(["distill", str(root), *words]) == code
    said = capsys.readouterr().err
    assert text in said, said
    assert files(root / "ledger") == before


def test_what_cannot_be_is_refused_before_anything_is_trained(
    study: Path, finished: Path, tmp_path: Path, capsys: Captured
) -> None:
    refused((), 2, "is of the study's smallest backbone already; name another one with --into", study, capsys)
    refused(("--seeds", "0"), 2, "--seeds 0: at least one student", study, capsys)
    refused(("--into", "plain_cn"), 2, "backbone 'plain_cn' does not exist; did you mean 'plain_cnn'", study, capsys)
    with locked(StudyFolder(study)):
        refused(SELF, 6, "writes to this study", study, capsys)
    moved = shutil.copytree(finished.parent / "pictures", tmp_path / "moved")
    Image.new("RGB", (40, 40), (9, 80, 7)).save(next(moved.rglob("*.png")))
    refused((*SELF, "--data", str(moved)), 4, "1 picture with other content", study, capsys)
    for name in ("models", "checkpoints"):
        shutil.rmtree(study / name)
    refused(SELF, 2, "no run of its answer can teach: its weights were removed", study, capsys)


def test_an_unfinished_study_is_refused(tmp_path: Path, capsys: Captured) -> None:
    spec = {"name": "x", "data": "drawn-flowers", "backbones": ["tiny_vit"], "metric": "val_accuracy"}
    small = Plan(backbones=("tiny_vit",), trials=2, epochs=1, seeds=1, test_pictures=6, confirmed=False)
    folder = write_study(tmp_path / "study", small)
    folder.write_study({**folder.read_study(), "spec": spec})
    refused((), 2, "it has saved no final model yet, and a finished study's model is what teaches", folder.root, capsys)


def test_the_smallest_backbone_is_taught(study: Path) -> None:
    model = load_study(study).final_models[0]
    sizes = {"large": 900, "small": 20, "unknown": None}
    models = [replace(model, backbone=name, parameters=size) for name, size in sizes.items()]
    loaded = cast(LoadedStudy, SimpleNamespace(final_models=models, folder=StudyFolder(study)))
    assert distill_command._student_backbone(loaded, Asked()) == "small"
    assert distill_command._student_backbone(loaded, Asked(into="resnet18")) == "resnet18"


def test_a_student_cannot_be_repeated_alone(taught: Path, tmp_path: Path, capsys: Captured) -> None:
    name = students(load_study(taught))[0].trial_id
    assert main(["rerun", str(taught), name, "--out", str(tmp_path / "again")]) == 2
    assert "a student of `raytl distill`" in capsys.readouterr().err
