"""What `raytl compare` and `raytl rerun` print and return."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from raytl.cli import main
from raytl.on_ray.rerun import Wanted
from raytl.results.loaded import load_study
from tests.studies import Plan, write_study

Captured = pytest.CaptureFixture[str]
SMALL = Plan(backbones=("tiny_vit", "tiny_resnet"), trials=2, epochs=2, seeds=2, test_pictures=12, train_pictures=20)


def test_two_studies_are_compared_and_whatever_comes_out_is_no_error(tmp_path: Path, capsys: Captured) -> None:
    a = write_study(tmp_path / "a", SMALL).root
    b = write_study(tmp_path / "b", replace(SMALL, seed=3, gap=0.3)).root
    assert main(["compare", str(a), str(b)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"A: {a}: tiny_vit, best, ") and lines[1].startswith(f"B: {b}: tiny_vit, best, ")
    assert "A less B is" in lines[2]
    assert main(["compare", str(a), str(b), "--backbone", "tiny_resnet"]) == 0
    assert capsys.readouterr().out.startswith(f"A: {a}: tiny_resnet, best, ")


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys: Captured) -> None:
    a = write_study(tmp_path / "a", SMALL).root
    assert main(["compare", str(a), str(tmp_path / "absent")]) == 2
    assert main(["compare", str(a), str(tmp_path)]) == 6
    assert main(["compare", str(a), str(a), "--backbone", "tiny_vat"]) == 2
    assert "did you mean 'tiny_vit'" in capsys.readouterr().err


def test_an_unknown_trial_is_told_its_neighbour(tmp_path: Path, capsys: Captured) -> None:
    folder = write_study(tmp_path / "a", SMALL)
    name = load_study(folder.root).trials["trial_id"][0].as_py()
    assert main(["rerun", str(folder.root), name[:-1] + "z"]) == 2
    said = capsys.readouterr().err
    assert f"did you mean '{name}'" in said and "such as" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_repeated_trial_needs_a_folder_of_its_own(tmp_path: Path, capsys: Captured) -> None:
    folder = write_study(tmp_path / "a", SMALL)
    name = load_study(folder.root).trials["trial_id"][0].as_py()
    assert main(["rerun", str(folder.root), name, "--out", str(folder.root)]) == 2
    said = capsys.readouterr().err
    assert "a repeated trial needs a folder of its own" in said and "studies are as they were" in said


def test_what_came_of_it_is_said(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training is left out: a copy of the first study stands for the second."""
    folder = write_study(tmp_path / "a", SMALL)
    values = folder.read_study()
    folder.write_study({**values, "spec": {"name": "a", "data": "x", "backbones": ["tiny_vit"], "metric": "val_loss"}})
    trial = load_study(folder.root).final_models[0].trial_ids[0]
    calls = []

    def rerun_trial(wanted: Wanted, out: Path, *_: object) -> SimpleNamespace:
        calls.append((wanted.trial.trial_id, wanted.study.data, wanted.changed_data, out))
        write_study(out, replace(SMALL, seed=4))
        return SimpleNamespace(trial_id=trial)

    monkeypatch.setattr("raytl.on_ray.rerun.rerun_trial", rerun_trial)
    monkeypatch.setattr("raytl.study_commands.check_start", lambda *_: None)
    assert main(["rerun", str(folder.root), trial, "--changed-data"]) == 0
    target = tmp_path / f"a-rerun-{trial}"
    assert calls == [(trial, "x", True, target)]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["epoch 1: equal", "epoch 2: equal"] and lines[2].startswith("test pictures: ")
    assert lines[-1] == f"completed; its rows are in {target}"
