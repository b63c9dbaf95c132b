"""What each command prints, writes and returns."""

from __future__ import annotations

import json
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
from raytl.commands import make_view
from raytl.data import samples
from raytl.data.drawn import FLOWER_KINDS
from raytl.metric import METRICS
from raytl.options import EMBEDDED
from raytl.output import JSON, LINES, QUIET, Output
from raytl.results.event_lines import EventLines
from raytl.results.folder import StudyFolder
from raytl.results.leaderboard import leaderboard_lines
from raytl.results.live_view import LiveView
from raytl.results.log_lines import LogLines
from raytl.results.result_only import ResultOnly
from raytl.results.schemas import TABLES
from raytl.results.tables import load_tables
from raytl.study import Study
from tests.pictures import write_classes
from tests.rows import trial_row
from tests.studies import Plan, write_study
from tests.views import ESTIMATE, log, terminal

Captured = pytest.CaptureFixture[str]
SMALL = Plan(backbones=("tiny_vit", "tiny_resnet"), trials=3, epochs=2, seeds=2, test_pictures=12, train_pictures=30)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("studies") / "made", SMALL).root


@pytest.fixture
def study(written: Path, tmp_path: Path) -> StudyFolder:
    return StudyFolder(shutil.copytree(written, tmp_path / "made"))


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


def test_a_data_check_takes_sources_together_and_groups_classes(tmp_path: Path, capsys: Captured) -> None:
    first = write_classes(tmp_path / "first", {"ant": 12, "bee": 13})
    more = write_classes(tmp_path / "more", {"bee": 10, "fly": 11})
    assert main(["data", "check", str(first), str(more)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("46 pictures in 3 classes")
    assert [line.partition(" (")[0] for line in lines[1:4]] == ["  ant: 12", "  bee: 23", "  fly: 11"]
    (tmp_path / "map.csv").write_text("class,group\nant,crawls\nbee,flies\nfly,flies\n")
    assert main(["data", "check", str(first), str(more), "--class-map", str(tmp_path / "map.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" (")[0] for line in lines[1:3]] == ["  crawls: 12", "  flies: 34"]
    (tmp_path / "map.csv").write_text("class,group\nant,crawls\n")
    assert main(["data", "check", str(first), "--class-map", str(tmp_path / "map.csv")]) == 4
    assert "class 'bee' has no group; add it" in capsys.readouterr().err


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
    assert main(["data", "sample", "drawn-flowers:2", str(tmp_path / "few")]) == 0
    assert {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "few").iterdir()} == dict.fromkeys(
        FLOWER_KINDS, 2
    )
    assert "already holds something" in capsys.readouterr().err


def test_the_doctor_says_what_there_is(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=50_000_000_000))
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert torch.__version__.partition("+")[0] in said and "ok   processors: " in said
    assert "ok   disk of the study: 50.0 GB free in results" in said and "FAIL" not in said
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_000_000_000))
    assert main(["doctor", "elsewhere"]) == 3
    captured = capsys.readouterr()
    assert "FAIL disk of the study: 1.0 GB free in elsewhere; 2.0 GB are needed: make room" in captured.out
    assert "disk of the study, disk of the cache: see above" in captured.err


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, study: StudyFolder) -> SimpleNamespace:
    """Stands for `raytl.on_ray.driver`: a study that has ended as told."""
    outcome = SimpleNamespace(folder=study, trials=8, without_figure=0, exit_code=0, estimate=ESTIMATE)

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


def test_a_dry_run_shows_an_estimate_and_no_leaderboard(
    driver: SimpleNamespace, study: StudyFolder, capsys: Captured
) -> None:
    assert commands.search(EMBEDDED, study.root, dry_run=True) == 0
    said = capsys.readouterr().out
    assert "TensorBoard" not in said and "time: roughly 2 min" in said


def test_with_json_standard_output_holds_events_alone(
    driver: SimpleNamespace, study: StudyFolder, capsys: Captured
) -> None:
    assert commands.search(EMBEDDED, study.root, output=Output(JSON)) == 0
    said = capsys.readouterr()
    events = [json.loads(line)["event"] for line in said.out.splitlines()]
    assert events == ["study", "started", "result"]
    assert f"into {study.root}, dry run: False" in said.err


def test_quietly_a_search_prints_its_result_alone(
    driver: SimpleNamespace, study: StudyFolder, capsys: Captured
) -> None:
    assert commands.search(EMBEDDED, study.root, output=Output(QUIET)) == 0
    said = capsys.readouterr()
    lines = leaderboard_lines(load_tables(study), METRICS["val_accuracy"])
    assert said.out.splitlines()[1 : 1 + len(lines)] == lines and said.err == ""
    assert said.out.splitlines()[-1] == f"of models:   tensorboard --logdir {study.tensorboard_finals}"


@pytest.mark.parametrize(("mode", "kind"), [(LINES, LogLines), (QUIET, ResultOnly), (JSON, EventLines)])
def test_who_shows_a_study_is_what_was_asked_for(mode: str, kind: type) -> None:
    metric = METRICS["val_accuracy"]
    assert type(make_view(Output(mode), metric, log()[0])) is kind
    assert type(make_view(Output(mode), metric, terminal()[0])) is (LiveView if mode == LINES else kind)
    assert type(make_view(Output(mode), metric, terminal(TERM="dumb")[0])) is kind


def test_an_address_without_its_password_is_asked_for_again(tmp_path: Path, capsys: Captured) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.create()
    study = Study(name="a", data="digits", backbones=("tiny_resnet",), address="ray://me:pass-word-1@host:1")
    folder.write_study({"spec": study.values()})
    assert "pass-word-1" not in folder.study_json.read_text()
    assert main(["resume", str(folder.root)]) == 2
    assert "secrets are not kept; give --address again" in capsys.readouterr().err


def test_further_sources_with_a_secret_are_asked_for_again_and_taken(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.create()
    secret = "/share/token=pass-word-1/more"
    study = Study(name="a", data="digits", more_data=(secret, "others"), backbones=("tiny_resnet",))
    folder.write_study({"spec": study.values()})
    assert "pass-word-1" not in folder.study_json.read_text()
    assert main(["resume", str(folder.root), "--data", "digits"]) == 2
    said = capsys.readouterr().err
    assert "more_data='/share/token=<redacted>" in said and "give all 3 sources again, --data for each" in said
    found: list[Study] = []

    def search(study: Study, _out: Path, **_: object) -> int:
        found.append(study)
        return 0

    monkeypatch.setattr(commands, "search", search)
    words = ["resume", str(folder.root), "--data", "digits", "--data", secret, "--data", "others"]
    assert main(words) == 0 and found == [study]


def test_a_repeated_trial_is_no_study_to_go_on_with(study: StudyFolder, capsys: Captured) -> None:
    study.write_study({**study.read_study(), "rerun_of": {"folder": "results/first", "trial_id": "abc"}})
    before = study.study_json.read_bytes()
    assert main(["resume", str(study.root)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == (
        f"raytl: {study.root}: holds the trial abc of results/first, which `raytl rerun` repeated; only a whole study "
        "can go on: type `raytl resume results/first` for that, or `raytl rerun results/first abc --out DIR` to repeat "
        "it once more"
    )
    assert said[-1].endswith("; mend it, then type the command again")
    assert study.study_json.read_bytes() == before


def test_a_study_that_is_in_no_storage_cannot_be_fetched(tmp_path: Path, capsys: Captured) -> None:
    assert main(["resume", str(tmp_path / "new"), "--storage", f"file://{tmp_path}/nothing"]) == 6
    assert "no study of raytl there" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
