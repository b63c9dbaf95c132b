"""Each study of `experiments/` in its smallest form, from its command to its report, on one Ray."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from raytl.design import cells_of
from raytl.experiment_file import load_study_file, study_names
from raytl.results.folder import StudyFolder
from raytl.results.tables import load_tables

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
STUDIES = (
    "flowers_backbones",
    "potato_imbalance",
    "potato_googlenet_grid",
    "fruit_attention",
    "inline_or_two_stage",
    "expressions",
)
QUICK_SECONDS = 45


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_runs_quickly_and_answers(
    one_ray: None, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    from search_all import run

    import raytl.on_ray.driver  # noqa: F401 - what takes ten seconds once, not once for each study

    begin = time.monotonic()
    assert run(str(EXPERIMENTS / f"{name}.py"), ["--quick", "--out", str(tmp_path / "study")]) == 0
    assert time.monotonic() - begin < QUICK_SECONDS
    study = load_study_file(EXPERIMENTS / f"{name}.py", "QUICK")
    folder = StudyFolder(tmp_path / "study")
    confirmed = load_tables(folder).confirmed.to_pylist()
    roles = {cell.name for cell in cells_of(study.design)} or {"probe"}
    assert {row["role"] for row in confirmed} >= roles
    assert {row["seed"] for row in confirmed} == {study.seed, study.seed + 1}
    page = folder.report.read_text()
    assert "Final models" in page and ('id="effects"' in page) == bool(study.design)
    assert str(folder.report) in capsys.readouterr().out


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_what_it_runs_on_and_what_it_takes(name: str) -> None:
    text = (EXPERIMENTS / f"{name}.py").read_text()
    for part in ("Command: ", f"python experiments/{name}.py --data DIR", "Data: ", "Hardware: ", "Expected: "):
        assert part in text
    assert {"STUDY", "STAND_IN", "QUICK"} <= set(study_names(EXPERIMENTS / f"{name}.py"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "FILE:STAND_IN"),
        (["--data", "DIR"], "FILE"),
        (["--quick"], "FILE:QUICK"),
        (["--data", "DIR", "--as-published", "--trials", "3"], "FILE:AS_PUBLISHED"),
    ],
)
def test_words_choose_one_of_a_files_studies(words: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    from search_all import arguments

    file = str(EXPERIMENTS / "flowers_backbones.py")
    made = arguments([file, *words])
    assert made[:3] == ["search", "--study", said.replace("FILE", file)]
    left = [word for word in words if word not in ("--quick", "--as-published", "--data")]
    assert made[3:] == left


def test_a_file_without_a_stand_in_runs_its_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    from search_all import arguments

    file = tmp_path / "own.py"
    file.write_text("from raytl.study import Study\nSTUDY = Study(name='own', data='d', backbones=('resnet18',))\n")
    assert arguments([str(file)]) == ["search", "--study", str(file)]
    assert arguments(["--data", "a", "--data", "b"]) == ["search", "a", "b"]
