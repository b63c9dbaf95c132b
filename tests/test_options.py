"""From options to a study: each option arrives, experiment files are read, and errors are said all at once."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raytl.errors import ConfigError
from raytl.experiment_file import load_study_file
from raytl.options import (
    EMBEDDED,
    output_of,
    study_of,
)
from raytl.output import SHOWN, Output
from raytl.space import Choices, IntRange, LogUniform
from raytl.study import Study, study_of_values
from raytl.study_words import add_resume_options, add_search_options

STUDY_FILE = """
from raytl.space import Choices
from raytl.study import Study

STUDY = Study(
    name="mine", data="photos", backbones=("resnet18",), trials=3, settings={"head": Choices(("linear", "mlp:8"))}
)
"""


def study(*words: str) -> Study:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="*")
    add_search_options(parser)
    return study_of(parser.parse_args(words))


def problems(*words: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        study(*words)
    return caught.value.problems


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.py"
    path.write_text(STUDY_FILE)
    return path


def test_no_option_is_the_embedded_study() -> None:
    assert study() == EMBEDDED


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("--backbones resnet18,vgg16", "backbones", ("resnet18", "vgg16")),
        ("--trials 5", "trials", 5),
        ("--epochs 7", "epochs", 7),
        ("--image-size 96", "image_size", 96),
        ("--time 30m", "time_limit_seconds", 1800.0),
        ("--searcher random", "searcher", "random"),
        ("--scheduler median", "scheduler", "median"),
        ("--metric val_loss", "metric", "val_loss"),
        ("--policy flat", "policy", "flat"),
        ("--cache-gb 0.5", "cache_gb", 0.5),
        ("--store-gb 0", "store_gb", 0.0),
        ("--max-latency-ms 12.5", "max_latency_ms", 12.5),
        ("--max-size-mb 100", "max_size_mb", 100.0),
        ("--cache-gb 0", "cache_gb", 0.0),
        ("--workers-per-trial 2", "workers_per_trial", 2),
        ("--confirm-seeds 4", "confirm_seeds", 4),
        ("--weights none", "weights", "none"),
        ("--splits 4", "splits", 4),
        ("--drop-suspect", "drop_suspect", True),
        ("--weight-histograms", "weight_histograms", True),
        ("--keep-finals", "keep_finals", True),
        ("--confirm-epochs 12", "confirm_epochs", 12),
        ("--address auto", "address", "auto"),
        ("--address local", "address", "local"),
        ("--budget-hours 1.5", "budget_hours", 1.5),
        ("--price gpu=3.06 --price 0.4", "prices", {"gpu": 3.06, "*": 0.4}),
        ("--seed 9", "seed", 9),
        ("--set lr=1e-5..1e-2", "settings", {"lr": LogUniform(1e-5, 1e-2)}),
        ("--set batch_size=16|32 --set freeze_depth=0..2", "settings",
         {"batch_size": Choices((16, 32)), "freeze_depth": IntRange(0, 2)}),
        ("--set clip_norm=none --set lr=0.001", "settings", {"clip_norm": None, "lr": 0.001}),
    ],
)  # fmt: skip
def test_each_option_reaches_the_study_and_changes_nothing_else(words: str, field: str, value: object) -> None:
    made = study(*words.split())
    assert getattr(made, field) == value != getattr(EMBEDDED, field)
    assert {name for name in vars(made) if getattr(made, name) != getattr(EMBEDDED, name)} == {field}


def test_several_folders_are_one_data_set_and_classes_may_be_grouped(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_text("class,group\nrose,flower\noak,tree\n")
    made = study("photos", "more/photos", "others", "--class-map", str(file))
    assert (made.data, made.more_data, made.name) == ("photos", ("more/photos", "others"), "photos")
    assert made.class_map == {"rose": "flower", "oak": "tree"}
    assert study_of_values(json.loads(json.dumps(made.values()))) == made
    file.write_text("class,group\nrose,\n")
    assert problems("photos", "--class-map", str(file)) == (f"class map {str(file)!r}: class 'rose' has no group",)


def test_a_folder_of_weights_may_be_named(tmp_path: Path) -> None:
    assert study("--weights", str(tmp_path)).weights == str(tmp_path)
    assert problems("--weights", str(tmp_path / "x")) == (
        f"weights={str(tmp_path / 'x')!r}: must be 'pretrained', 'none' or an existing folder",
    )


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("photos", "photos"),
        ("a/my photos/", "my-photos"),
        ("a/list.csv", "list"),
        ("a/_fleurs séchées", "fleurs-s-ch-es"),
        ("/", "study"),
        ("x" * 300, "x" * 100),
    ],
)
def test_a_study_is_named_after_its_data(data: str, name: str) -> None:
    assert (study(data).name, study(data).data) == (name, data)


def test_the_folder_one_stands_in_gives_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "birds").mkdir()
    monkeypatch.chdir(tmp_path / "birds")
    assert study(".").name == "birds"


def test_an_experiment_file_is_the_study_and_options_replace_parts_of_it(study_file: Path) -> None:
    file = load_study_file(study_file)
    assert study("--study", str(study_file)) == file
    made = study("elsewhere", "--study", str(study_file), "--trials", "9", "--set", "lr=0.01")
    assert (made.name, made.data, made.trials, made.backbones) == ("mine", "elsewhere", 9, ("resnet18",))
    assert made.settings == {"head": Choices(("linear", "mlp:8")), "lr": 0.01}


def test_settings_of_one_backbone_go_before_those_of_all_and_with_it(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "from raytl.study import Study, study_of_values\n"
        "STUDY = Study(name='own', data='d', backbones=('resnet18', 'vgg11'), settings={'augment': 'light', 'lr': 0.1},"
        " backbone_settings={'vgg11': {'augment': 'strong'}})"
    )
    whole = study("--study", str(path))
    assert whole.settings_of("resnet18") == {"augment": "light", "lr": 0.1}
    assert whole.settings_of("vgg11") == {"augment": "strong", "lr": 0.1}
    assert study_of_values(whole.values()) == whole
    assert study("--study", str(path), "--backbones", "resnet18").backbone_settings == {}


def test_all_that_is_wrong_is_said_at_once() -> None:
    words = "--study no.py --backbones resnet5O,resnet18 --trials many --epochs 0 --searcher optunna --time 0"
    said = problems(*words.split(), "--set", "lrr=1", "--set", "head=mlp")
    starts = ["study file 'no.py'", "--trials many", "time '0'", "--set lrr=1", "search space: head='mlp'"]
    starts += ["searcher='optunna'", "epochs=0", "backbone 'resnet5O'"]
    assert len(said) == len(starts)
    assert all(line.startswith(start) for line, start in zip(said, starts, strict=True))


def test_a_setting_that_contradicts_a_backbones_recipe_is_found() -> None:
    said = problems("--backbones", "resnet18,tiny_vit", "--set", "image_size=250", "--set", "eval_resize=128|384")
    assert any("resnet18: eval_resize must be at least image_size" in line for line in said)
    assert any("tiny_vit: eval_resize must be at least image_size" in line for line in said)


def test_what_has_an_option_of_its_own_is_no_setting() -> None:
    assert problems("--set", "backbone=vgg16") == (
        "settings: backbone cannot be set here; the study's own 'backbones' says it (--backbones)",
    )


def test_a_misspelt_backbone_is_refused_in_seconds_without_torch() -> None:
    code = (
        "import sys; from raytl.cli import main; code = main(['search', 'x', '--backbones', 'resnet5O']); "
        "assert not {'torch', 'ray', 'timm'} & sys.modules.keys(); sys.exit(code)"
    )
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    seconds = time.monotonic() - begin
    assert done.returncode == 2, done.stderr
    assert "backbone 'resnet5O' does not exist; did you mean 'resnet50'" in done.stderr
    assert seconds < 3


@pytest.mark.parametrize("text", ["much", "-1", "1e9", ""])
def test_gigabytes_must_be_a_plain_number(text: str) -> None:
    assert problems(f"--cache-gb={text}") == (f"--cache-gb {text}: must be a number of gigabytes, such as 20 or 0.5",)


@pytest.mark.parametrize("add", [add_search_options, add_resume_options])
def test_a_search_and_its_resumption_are_shown_as_was_asked_for(
    add: Callable[[argparse.ArgumentParser], None], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add(parser)
    assert output_of(parser.parse_args([])) == SHOWN == Output("lines", verbose=False)
    assert output_of(parser.parse_args(["--quiet"])) == Output("quiet")
    assert output_of(parser.parse_args(["--json", "--verbose"])) == Output("json", verbose=True)
    with pytest.raises(SystemExit):
        parser.parse_args(["--json", "--quiet"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_prices_of_a_study_file_are_kept_and_replaced_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "priced.py"
    path.write_text(
        "from raytl.study import Study\n"
        'STUDY = Study(name="a", data="digits", backbones=("tiny_resnet",), prices={"gpu": 3.0, "cpu": 0.5})\n'
    )
    assert study("--study", str(path), "--price", "gpu=2").prices == {"gpu": 2.0, "cpu": 0.5}
