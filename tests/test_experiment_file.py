"""Studies that files hold: which name, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytl.errors import ConfigError
from raytl.experiment_file import load_study, load_study_file, study_names

STUDY_FILE = "from raytl.study import Study\nSTUDY = Study(name='mine', data='d', backbones=('resnet18',), trials=7)\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("STUDY = 3", "STUDY is 3; it must be a raytl.study.Study"),
        ("x = 1", "STUDY is None"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
        ("def f(:", "SyntaxError"),
        (
            "from raytl.study import Study\nSTUDY = Study(name='a', data='b', backbones=('x',), trials=0)",
            "trials=0",
        ),
    ],
)
def test_a_file_without_a_study_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_study_file(path)


def test_a_file_may_hold_several_studies(tmp_path: Path) -> None:
    path = tmp_path / "many.py"
    path.write_text(f"{STUDY_FILE}\nfrom dataclasses import replace\nQUICK = replace(STUDY, trials=1)\nother = 3\n")
    assert study_names(path) == ("STUDY", "QUICK")
    assert load_study(f"{path}:QUICK").trials == 1 != load_study(str(path)).trials
    with pytest.raises(ConfigError, match=r"QUIK is None; it must be a raytl.study.Study, did you mean 'QUICK'\?"):
        load_study_file(path, "QUIK")
    path.write_text("def f(:")
    assert study_names(path) == ()


@pytest.mark.parametrize("name", ["missing.py", "notes.txt"])
def test_a_study_file_must_be_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "notes.txt").write_text(STUDY_FILE)
    with pytest.raises(ConfigError, match=r"no such Python file; give one that says STUDY = Study\(\.\.\.\)"):
        load_study_file(tmp_path / name)
