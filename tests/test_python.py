"""What Python code calls: as typed as the study's own fields, and nothing heavy is loaded for a look."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import torch

import raytl
from raytl import commands
from raytl.errors import ConfigError
from raytl.models.classifier import build_classifier
from raytl.options import OWN_PICTURES
from raytl.output import QUIET, Output
from raytl.study import Study
from raytl.use.card import ModelCard
from raytl.use.export import LoadedModel, save_model
from tests.studies import Plan, write_study
from tests.tiny import tiny_recipe

HEAVY = {"torch", "torchvision", "timm", "ray", "matplotlib"}
LOADED = "import sys, raytl; {}; print(*sorted({} & set(sys.modules)))"


def loaded_after(code: str) -> list[str]:
    """Heavy packages that a fresh process has imported after some code."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(code, HEAVY)], check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def test_importing_raytl_loads_nothing_heavy() -> None:
    assert loaded_after("pass") == []
    assert loaded_after("raytl.Study, raytl.load_study") == []
    assert "torch" in loaded_after("import torch"), "the look would have seen it"


def test_a_study_is_looked_at_without_torch_and_ray(tmp_path: Path) -> None:
    root = write_study(tmp_path / "made", Plan(seeds=1, trials=2)).root
    assert loaded_after(f"raytl.load_study({str(root)!r}).best()") == []


def test_public_names_are_there_and_others_are_not() -> None:
    assert {"Study", "load_model", "load_study", "search"} <= set(dir(raytl))
    assert raytl.Study is Study
    with pytest.raises(AttributeError, match="has no attribute 'serch'"):
        raytl.serch  # noqa: B018  # type: ignore[attr-defined]


def test_every_field_of_a_study_is_an_argument_with_its_default() -> None:
    arguments = inspect.signature(raytl.search).parameters
    for item in fields(Study):
        argument = arguments[item.name]
        if item.name in ("name", "data"):
            continue
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        assert argument.annotation == item.type, item.name
        assert argument.default == (OWN_PICTURES.backbones if default is MISSING else default), item.name
    assert not any(argument.kind == argument.VAR_KEYWORD for argument in arguments.values())
    assert set(arguments) - {item.name for item in fields(Study)} == {"out", "changed_data", "quiet"}


def test_a_search_runs_the_study_of_its_arguments_and_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Study, Path, bool, Output]] = []

    def run(study: Study, out: Path, changed_data: bool, output: Output) -> int:
        calls.append((study, out, changed_data, output))
        write_study(out, Plan(seeds=1, trials=2))
        return 5

    monkeypatch.setattr(commands, "search", run)
    monkeypatch.chdir(tmp_path)
    studied = raytl.search(Path("my pictures"), backbones=("tiny_vit",), trials=3, settings={"lr": 0.1}, quiet=True)
    study, out, changed, output = calls[0]
    assert study == Study(
        name="my-pictures", data="my pictures", backbones=("tiny_vit",), trials=3, settings={"lr": 0.1}
    )
    assert (out, changed, output.mode) == (Path("results/my-pictures"), False, QUIET)
    assert studied.folder.root == out and studied.best().backbone == "tiny_vit"
    raytl.search("a", out="there", name="b", changed_data=True)
    assert calls[1][0].name == "b" and calls[1][1:3] == (Path("there"), True)


def test_what_cannot_be_run_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "search", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(ConfigError, match="trials=0: must be at least 1"):
        raytl.search("pictures", trials=0)
    with pytest.raises(ConfigError, match="did you mean 'tiny_resnet'"):
        raytl.search("pictures", backbones=("tiny_resnot",))


def test_a_model_is_loaded_by_its_name_as_text(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, recipe = build_classifier(tiny_recipe(), 3).eval(), tiny_recipe()
    save_model(tmp_path / "m", model, recipe, ("a", "b", "c"), ModelCard("generated pictures"))
    loaded = raytl.load_model(str(tmp_path / "m"))
    assert isinstance(loaded, LoadedModel)
    pictures = torch.rand(2, 3, recipe.image_size or 32, recipe.image_size or 32)
    assert loaded.classes == ("a", "b", "c") and torch.equal(loaded.model(pictures), model(pictures))
