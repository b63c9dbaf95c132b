"""What each command prints, writes and returns."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from raytl import commands
from raytl.cli import main
from raytl.data import samples
from raytl.metric import METRICS
from raytl.models.classifier import build_classifier
from raytl.options import EMBEDDED
from raytl.results.folder import StudyFolder
from raytl.results.leaderboard import leaderboard_lines
from raytl.results.schemas import TABLES
from raytl.results.tables import load_tables
from raytl.use.card import ModelCard
from raytl.use.export import save_model
from tests.pictures import noise, write_classes
from tests.rows import trial_row
from tests.studies import Plan, write_study
from tests.tiny import tiny_recipe

Captured = pytest.CaptureFixture[str]
SMALL = Plan(backbones=("tiny_vit", "tiny_resnet"), trials=3, epochs=2, seeds=2, test_pictures=12, train_pictures=30)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("studies") / "made", SMALL).root


@pytest.fixture
def study(written: Path, tmp_path: Path) -> StudyFolder:
    return StudyFolder(shutil.copytree(written, tmp_path / "made"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "m"
    torch.manual_seed(0)
    recipe = tiny_recipe()
    save_model(folder, build_classifier(recipe, 3), recipe, ("a", "b", "c"), ModelCard("generated pictures"))
    return folder


def test_a_report_writes_page_and_tables_and_says_where(study: StudyFolder, capsys: Captured) -> None:
    assert main(["report", str(study.root)]) == 0
    assert capsys.readouterr().out == f"{study.report}\n"
    assert study.report.read_text().startswith("<!DOCTYPE html>")
    for table in TABLES:
        assert pq.read_table(study.tables / f"{table}.parquet").num_rows == getattr(load_tables(study), table).num_rows


def test_a_report_needs_only_the_tables(study: StudyFolder) -> None:
    assert commands.report(study.root) == 0
    page = study.report.read_text()
    shutil.rmtree(study.ledger)
    study.report.unlink()
    assert commands.report(study.root) == 0
    assert study.report.read_text() == page


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_the_list_is_the_leaderboard_by_the_studys_metric(tmp_path: Path, metric: str, capsys: Captured) -> None:
    folder = write_study(tmp_path / "made", Plan(**{**vars(SMALL), "metric": metric}))
    assert main(["list", str(folder.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == leaderboard_lines(load_tables(folder), METRICS[metric])
    assert metric in lines[0] and any("tiny_vit" in line for line in lines)


@pytest.mark.parametrize("command", ["report", "list"])
def test_a_study_that_is_not_there(command: str, tmp_path: Path, capsys: Captured) -> None:
    assert main([command, str(tmp_path / "absent")]) == 2
    assert f"{tmp_path / 'absent'}: no such folder; give the folder of a study" in capsys.readouterr().err
    assert main([command, str(tmp_path)]) == 6
    assert "no study of raytl" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_predictions_are_a_table(model: Path, tmp_path: Path, capsys: Captured) -> None:
    write_classes(tmp_path / "new", {"x": 3})
    assert main(["predict", str(model), str(tmp_path / "new")]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines(), delimiter="\t"))
    assert [Path(row[0]).name for row in rows] == ["000.png", "001.png", "002.png"]
    assert all(row[1] in "abc" and 1 / 3 <= float(row[2]) <= 1 for row in rows)


def test_an_unreadable_picture_is_said_and_the_others_are_classified(
    model: Path, tmp_path: Path, capsys: Captured
) -> None:
    noise(1).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert main(["predict", str(model), str(tmp_path / "bad.png"), str(tmp_path / "good.png")]) == 4
    said = capsys.readouterr()
    bad, good = (line.split("\t") for line in said.out.splitlines())
    assert (Path(bad[0]).name, bad[1]) == ("bad.png", "-") and bad[2].startswith("not a picture of a known kind")
    assert good[1] in "abc"
    assert said.err == (
        "raytl: 1 of 2 pictures could not be read; the others are classified above; "
        "mend or remove these files, then type the command again\n"
    )


def test_predictions_need_a_model_and_pictures(model: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["predict", str(tmp_path), str(tmp_path)]) == 6
    assert main(["predict", str(model), str(tmp_path / "absent")]) == 4
    assert "no such file or folder" in capsys.readouterr().err


def test_a_data_check_prints_what_was_found(tmp_path: Path, capsys: Captured) -> None:
    root = write_classes(tmp_path / "data", {"a": 12, "b": 14})
    shutil.copy(root / "a" / "000.png", root / "b" / "copy.png")
    assert main(["data", "check", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("27 pictures in 2 classes, split 0, data ")
    assert [line.partition(" (")[0] for line in lines[1:3]] == ["  a: 12", "  b: 15"]
    assert any("label conflict" in line and "a/000.png" in line and "b/copy.png" in line for line in lines)


def test_a_data_check_names_every_bad_file_and_what_a_search_would_say(tmp_path: Path, capsys: Captured) -> None:
    root = write_classes(tmp_path / "data", {"a": 12, "b": 12})
    for index in range(7):
        (root / "a" / f"bad{index}.png").write_bytes(b"no picture")
    assert main(["data", "check", str(root)]) == 4
    said = capsys.readouterr()
    assert "7 cannot be used:" in said.out.splitlines()
    assert all(f"  a/bad{index}.png: " in said.out for index in range(7))
    assert said.err.splitlines()[-1].startswith("raytl: more than 1% of the files of a cannot be used; ")


def test_a_data_check_needs_data(tmp_path: Path, capsys: Captured) -> None:
    assert main(["data", "check", "drawn-flower"]) == 4
    assert "did you mean 'drawn-flowers'?" in capsys.readouterr().err


def test_a_sample_is_written_once(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_FLOWERS_PER_CLASS", 3)
    target = tmp_path / "flowers"
    assert main(["data", "sample", "drawn-flowers", str(target)]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    pictures = sorted(target.rglob("*.png"))
    assert len(pictures) == 15 and len({path.parent for path in pictures}) == 5
    with Image.open(pictures[0]) as picture:
        assert picture.size == (64, 64)
    assert main(["data", "sample", "drawn-flowers", str(target)]) == 4
    assert main(["data", "sample", "letters", str(tmp_path / "x")]) == 4
    assert "already holds something" in capsys.readouterr().err


def test_the_doctor_says_what_there_is(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=50_000_000_000))
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert torch.__version__.partition("+")[0] in said and "processors: " in said and "50.0 GB here" in said
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_000_000_000))
    assert main(["doctor"]) == 3
    assert "free disk is 1.0 GB; a study needs about 5 GB" in capsys.readouterr().err


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, study: StudyFolder) -> SimpleNamespace:
    """Stands for `raytl.on_ray.driver`: a study that has ended as told."""
    outcome = SimpleNamespace(folder=study, trials=8, without_figure=0, exit_code=0)

    def run_study(
        study_: object, out: Path, say: Callable[[str], None], watcher: object, dry_run: bool, changed_data: bool
    ) -> object:
        say(f"into {out}, dry run: {dry_run}")
        watcher.started(trial_row(backbone="tiny_vit"))  # type: ignore[attr-defined]
        return outcome

    module = ModuleType("raytl.on_ray.driver")
    module.run_study = run_study  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "raytl.on_ray.driver", module)
    return outcome


def test_a_search_ends_on_its_leaderboard(driver: SimpleNamespace, study: StudyFolder, capsys: Captured) -> None:
    assert commands.search(EMBEDDED, study.root, dry_run=False) == 0
    said = capsys.readouterr()
    assert f"into {study.root}, dry run: False" in said.out.replace("\n", "")
    for line in leaderboard_lines(load_tables(study), METRICS["val_accuracy"]):
        assert line in said.out
    assert f"tensorboard --logdir {study.tensorboard}" in said.out and said.err == ""


def test_failed_trials_are_said_on_the_last_line(driver: SimpleNamespace, study: StudyFolder, capsys: Captured) -> None:
    driver.without_figure, driver.exit_code = 3, 5
    assert commands.search(EMBEDDED, study.root, dry_run=False) == 5
    assert capsys.readouterr().err.splitlines() == [
        f"raytl: 3 of 8 trials failed or diverged (see {study.report}); all that was recorded is kept in {study.root}; "
        f"type `raytl list {study.root}` to see it"
    ]


def test_a_dry_run_shows_no_leaderboard(driver: SimpleNamespace, study: StudyFolder, capsys: Captured) -> None:
    assert commands.search(EMBEDDED, study.root, dry_run=True) == 0
    assert "TensorBoard" not in capsys.readouterr().out
