"""A study as a file of JSON: written, read again, and refused where it is none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from raytl.cli import main
from raytl.errors import ConfigError
from raytl.experiment_file import load_study
from raytl.options import EMBEDDED
from raytl.space import parse_setting
from raytl.spec import read_spec, write_spec


def test_a_study_comes_back_as_it_was(tmp_path: Path) -> None:
    study = replace(
        EMBEDDED,
        settings=dict(map(parse_setting, ("lr=1e-4..1e-2", "freeze_depth=0|3", "dropout=0.2"))),
        class_map={"a": "b"},
        more_data=("digits",),
        storage="s3://key:secret@bucket/a",
    )
    write_spec(study, tmp_path / "study.json")
    assert read_spec(tmp_path / "study.json") == study == load_study(str(tmp_path / "study.json"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{", "give a study.json"),
        ("[1]", "no `spec` in it"),
        (json.dumps({"spec": {"trails": 3}}), "'trails' does not exist, did you mean 'trials'"),
    ],
)
def test_what_is_no_study_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_spec(path)
    assert said in str(caught.value)


def test_what_a_study_folder_leaves_out_has_to_be_given_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spec(replace(EMBEDDED, storage="s3://<redacted>@bucket/a"), tmp_path / "study.json")
    for more in ([], ["--detach", "--address", "http://127.0.0.1:1"]):
        words = ["search", "--study", str(tmp_path / "study.json"), "--out", str(tmp_path / "out"), *more]
        assert main(words) == 2
        assert "secrets are not kept; give --storage again" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
