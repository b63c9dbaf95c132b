"""`raytl ensemble` on a small finished study: what is said, recorded, saved and refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

import raytl
from raytl import ensemble_command
from raytl.cli import main
from raytl.errors import ConfigError
from raytl.results.conclusion import Conclusion
from raytl.results.folder import StudyFolder
from raytl.results.ledger import Ledger
from raytl.results.loaded import LoadedStudy, load_study
from raytl.results.schemas import ENSEMBLE
from raytl.results.tables import compact, confirmed_rows, trial_rows
from raytl.use.ensemble import LoadedEnsemble
from raytl.use.predict import predict
from tests.finished import TINTS, Wish, publish_again, write_finished
from tests.studies import Plan, write_study

Captured = pytest.CaptureFixture[str]
CLASSES = tuple(TINTS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finished(tmp_path_factory.mktemp("finished"), Wish(metric="val_loss", seeds=2)).root


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy; its pictures stay where they are."""
    return shutil.copytree(finished, tmp_path / "study")


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def ensemble_ids(loaded: LoadedStudy) -> list[str]:
    return [row.trial_id for row in confirmed_rows(loaded.confirmed) if row.role == ENSEMBLE]


def test_an_ensemble_is_made_recorded_and_told(study: Path, capsys: Captured) -> None:
    before = load_study(study)
    assert main(["ensemble", str(study), "--max-members", "3"]) == 0
    said = capsys.readouterr().out
    after = load_study(study)
    (found,) = after.ensembles
    assert said.startswith("6 of 6 final models can be used\nmembers, chosen on the validation pictures (val_loss):")
    assert "the figure that it was chosen on, so it flatters" in said
    assert "less the study's answer (plain_cnn, " in said and "less the model in models/plain_cnn (seed " in said
    assert sum(part.weight for part in found.parts) == pytest.approx(1) and len(found.parts) >= 2
    speeds = {row.trial_id: row.predict_images_per_second for row in confirmed_rows(after.confirmed)}
    milliseconds = sum(1000 / speeds[part.trial_id] for part in found.parts)
    assert found.model.milliseconds == pytest.approx(milliseconds) and f"cost: {milliseconds:.3g} ms" in said
    sizes = {row.trial_id: row.parameters or 0 for row in trial_rows(after.trials)}
    assert found.model.size_bytes == 4 * sum(sizes[part.trial_id] for part in found.parts)
    assert after.best().sentence == before.best().sentence, "the answer stays"
    assert after.leaderboard()["role"].to_pylist()[-1] == ENSEMBLE
    assert "The ensemble of" in (study / "report.html").read_text("utf-8")
    card = (study / "models" / ENSEMBLE / "README.md").read_text("utf-8")
    assert "`member-2`" in card and "what it was chosen on" in card
    values = Conclusion(after.folder, after.tables, after.metric).values()
    assert len(values["ensembles"]) == 1  # type: ignore[arg-type]


def test_its_test_figures_are_the_mean_of_what_members_recorded(study: Path) -> None:
    main(["ensemble", str(study)])
    loaded = load_study(study)
    (name,), (found,) = ensemble_ids(loaded), loaded.ensembles

    def recorded(trial_id: str) -> dict[str, np.ndarray]:
        rows = loaded.predictions.filter(pc.field("trial_id") == trial_id).to_pylist()
        return {row["path"]: np.array(row["probabilities"]) for row in rows}

    answers = {part.trial_id: recorded(part.trial_id) for part in found.parts}
    means: dict[str, np.ndarray] = {
        path: np.sum([part.weight * answers[part.trial_id][path] for part in found.parts], axis=0)
        for path in recorded(name)
    }
    for path, row in recorded(name).items():
        np.testing.assert_allclose(row, means[path], atol=1e-6)
    labels = dict(zip(*(loaded.data[column].to_pylist() for column in ("path", "class")), strict=True))
    right = [CLASSES[int(np.argmax(mean))] == labels[path] for path, mean in means.items()]
    assert found.model.test.value == pytest.approx(np.mean(right)) and len(right) == found.model.test_count
    losses = [-np.log(mean[CLASSES.index(labels[path])]) for path, mean in means.items()]
    assert found.model.test_loss == pytest.approx(np.mean(losses), abs=1e-5)


def test_the_saved_ensemble_predicts_as_it_was_tested(study: Path, finished: Path) -> None:
    main(["ensemble", str(study)])
    loaded, saved = load_study(study), raytl.load_model(study / "models" / ENSEMBLE)
    assert isinstance(saved, LoadedEnsemble) and len(saved.sides) >= 2
    rows = loaded.predictions.filter(pc.field("trial_id") == ensemble_ids(loaded)[0]).to_pylist()
    paths = [finished.parent / "pictures" / row["path"] for row in rows]
    for row, found in zip(rows, predict(saved, paths), strict=True):
        assert found.predicted == row["predicted"]
        assert list(found.probabilities.values()) == pytest.approx(row["probabilities"], abs=1e-4)


def test_the_same_command_again_changes_no_row(study: Path) -> None:
    main(["ensemble", str(study)])
    before, model = files(study / "ledger"), files(study / "models")
    main(["ensemble", str(study)])
    assert files(study / "ledger") == before and files(study / "models") == model


def test_another_ensemble_stands_beside_the_first_and_has_the_folder(study: Path) -> None:
    main(["ensemble", str(study), "--max-members", "3"])
    main(["ensemble", str(study), "--max-members", "2"])
    found = load_study(study).ensembles
    assert [len(each.parts) for each in found] == [3, 2]
    assert [each.model.model_path for each in found] == [None, "models/ensemble"]


def test_a_study_that_goes_on_leaves_its_ensemble_alone(study: Path, tmp_path: Path) -> None:
    main(["ensemble", str(study)])
    before = load_study(study)
    publish_again(before.folder, tmp_path / "cache")
    after = load_study(study)
    assert after.final_models == before.final_models and after.ensembles == before.ensembles
    assert isinstance(raytl.load_model(study / "models" / ENSEMBLE), LoadedEnsemble)


def test_killed_before_the_folder_it_is_ended_by_the_same_command(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    before = load_study(study)

    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ensemble_command, "_save", interrupted)
        assert main(["ensemble", str(study)]) == 130
    assert f"all that was recorded is kept in {study}" in capsys.readouterr().err
    between = load_study(study)
    assert between.final_models == before.final_models and between.ensembles[0].model.model_path is None
    assert main(["ensemble", str(study)]) == 0
    after = load_study(study)
    assert after.ensembles[0].model.model_path == "models/ensemble"
    assert after.predictions.num_rows == between.predictions.num_rows


def test_what_has_lost_its_weights_is_counted_with_the_reason(study: Path, capsys: Captured) -> None:
    loaded = load_study(study)
    lost = next(row for row in confirmed_rows(loaded.confirmed) if row.model_path is None)
    shutil.rmtree(loaded.folder.checkpoints / lost.trial_id)
    assert main(["ensemble", str(study)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "5 of 6 final models can be used"
    assert lines[1].startswith("  1 cannot: its weights were removed") and "--keep-finals" in lines[1]


def test_the_weights_of_one_alone_are_refused(tmp_path: Path, capsys: Captured) -> None:
    root = write_finished(tmp_path, Wish(roles=("best", "probe"), keep=False)).root
    before = files(root)
    assert main(["ensemble", str(root)]) == 2
    assert "1 of 2 final models can be used, and an ensemble needs 2" in capsys.readouterr().err
    assert files(root) == before


def test_other_weights_than_those_tested_are_not_used(study: Path, capsys: Captured) -> None:
    loaded = load_study(study)
    row = next(row for row in confirmed_rows(loaded.confirmed) if row.model_path is None)
    ledger = Ledger.open(loaded.folder.ledger)
    ledger.commit("confirmed", [replace(row, val_accuracy=(row.val_accuracy + 0.5) % 1)])
    compact(loaded.folder)
    main(["ensemble", str(study)])
    assert "these are not the weights that were tested" in capsys.readouterr().out


def test_changed_pictures_are_refused(tmp_path: Path, study: Path, finished: Path, capsys: Captured) -> None:
    moved = shutil.copytree(finished.parent / "pictures", tmp_path / "moved")
    assert main(["ensemble", str(study), "--data", str(moved)]) == 0
    Image.new("RGB", (40, 40), (9, 80, 7)).save(next(moved.rglob("*.png")))
    assert main(["ensemble", str(study), "--data", str(moved)]) == 4
    said = capsys.readouterr().err
    assert "1 picture with other content" in said and "--data" in said


def test_an_unfinished_study_and_one_final_alone_are_refused(tmp_path: Path, capsys: Captured) -> None:
    spec = {"name": "x", "data": "drawn-flowers", "backbones": ["tiny_vit"], "metric": "val_accuracy"}

    def made(name: str, plan: Plan) -> StudyFolder:
        folder = write_study(tmp_path / name, plan)
        folder.write_study({**folder.read_study(), "spec": spec})
        return folder

    small = Plan(backbones=("tiny_vit",), trials=2, epochs=1, seeds=1, test_pictures=6, train_pictures=9)
    for name, plan, text in (
        ("unconfirmed", replace(small, confirmed=False), "has saved no final model yet"),
        ("unsaved", replace(small, roles=("default", "probe")), "has saved no final model yet"),
        ("one", replace(small, roles=("best",)), "has 1 final model, and an ensemble needs 2"),
    ):
        assert main(["ensemble", str(made(name, plan).root)]) == 2
        assert text in capsys.readouterr().err
    running = made("running", small)
    trial = replace(trial_rows(load_study(running.root).trials)[0], status="running")
    Ledger.open(running.ledger).commit("trials", [trial])
    assert main(["ensemble", str(running.root)]) == 2
    said = capsys.readouterr().err
    assert "1 of its trials have not ended" in said and f"`raytl resume {running.root}` goes on" in said
    with pytest.raises(ConfigError, match="an ensemble has at least 2; give 2 or more"):
        ensemble_command.ensemble(tmp_path / "one", most_members=1)


@pytest.mark.parametrize("count", ["0", "1", "-2", "two"])
def test_fewer_than_two_members_are_refused_by_the_command_line(count: str, tmp_path: Path, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        main(["ensemble", str(tmp_path), f"--max-members={count}"])
    assert end.value.code == 2 and "give a whole number from 2 on" in capsys.readouterr().err


def test_members_are_named_by_their_runs_in_the_table(study: Path) -> None:
    main(["ensemble", str(study)])
    (row,) = [row for row in confirmed_rows(load_study(study).confirmed) if row.role == ENSEMBLE]
    saved = json.loads((study / "models" / ENSEMBLE / "config.json").read_text("utf-8"))["raytl"]["members"]
    assert json.loads(row.members or "") == {each["trial_id"]: each["weight"] for each in saved}
