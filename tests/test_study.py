"""Studies: what they refuse, all at once, and how they are written to study.json."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from raytl.errors import ConfigError
from raytl.space import Choices, Domain, IntRange, LogUniform, Uniform, Value
from raytl.study import Study, parse_seconds, study_of_values

STUDY = Study(name="ants", data="ants", backbones=("resnet18", "tiny_vit"))


def problems(**values: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        replace(STUDY, **values)  # type: ignore[arg-type]
    return caught.value.problems


def test_all_that_is_wrong_is_said_at_once() -> None:
    said = problems(
        name="a/b",
        backbones=("x", "y", "x"),
        settings={"lrr": 1e-3, "epochs": 3},
        searcher="optunna",
        scheduler="fifo",
        metric="accuracy",
        trials=0,
        epochs=0,
        splits=-1,
        time_limit_seconds=0.0,
        policy="laddder",
        cache_gb=-1.0,
        store_gb=-2.0,
        max_latency_ms=0.0,
        max_size_mb=-2.0,
        budget_hours=0.0,
    )
    starts = ["name='a/b'", "backbones: 'x'", "settings: epochs", "recipe field 'lrr'", "searcher='optunna'"]
    starts += ["scheduler='fifo'", "policy='laddder'", "metric='accuracy'", "trials=0", "epochs=0", "splits=-1"]
    starts += ["time_limit_seconds=0", "cache_gb=-1", "store_gb=-2", "max_latency_ms=0", "max_size_mb=-2"]
    starts += ["budget_hours=0"]
    assert len(said) == len(starts)
    assert all(line.startswith(start) for line, start in zip(said, starts, strict=True))
    assert said[3].endswith("did you mean 'lr'?")
    assert "did you mean 'optuna'?" in said[4]


def test_no_backbone_is_no_study() -> None:
    assert problems(backbones=()) == ("backbones: none given; name at least one with --backbones",)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"backbones": "resnet18"}, "backbones='resnet18': must be tuple[str, ...], not str"),
        ({"backbones": ("resnet18", 7)}, "backbones=7: must be str, not int"),
        ({"trials": "8"}, "trials='8': must be int, not str"),
        ({"trials": 2.5}, "trials=2.5: must be int, not float"),
        ({"trials": True}, "trials=True: must be int, not bool"),
        ({"drop_suspect": 1}, "drop_suspect=1: must be bool, not int"),
        ({"seed": None}, "seed=None: must be int, not NoneType"),
    ],
)
def test_values_of_another_type_are_refused(values: dict[str, object], said: str) -> None:
    assert problems(**values) == (said,)


def test_a_seed_must_be_one_that_recipes_take() -> None:
    assert problems(seed=-1) == ("seed=-1: must be at least 0",)


def test_a_study_is_json() -> None:
    settings: dict[str, Domain | Value] = {
        "lr": LogUniform(1e-5, 1e-2),
        "batch_size": Choices((16, 32)),
        "head": "mlp:8",
        "clip_norm": None,
    }
    values = json.loads(json.dumps(replace(STUDY, settings=settings, time_limit_seconds=60).values()))
    assert values["settings"] == {"lr": "1e-05..0.01", "batch_size": "16|32", "head": "mlp:8", "clip_norm": None}
    assert values["backbones"] == ["resnet18", "tiny_vit"]
    assert values.keys() == vars(STUDY).keys()


def test_settings_come_back_as_they_were_given() -> None:
    settings: dict[str, Domain | Value] = {
        "lr": Uniform(1e-5, 1e-2),
        "dropout": LogUniform(0.1, 0.5),
        "warmup_epochs": IntRange(1, 3),
        "batch_size": Choices((16,)),
        "clip_norm": None,
    }
    study = replace(STUDY, settings=settings, backbone_settings={"tiny_vit": {"lr": Uniform(1e-5, 1e-2)}})
    assert study_of_values(json.loads(json.dumps(study.values()))) == study


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400)])
def test_times_have_units(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5", "1d", "m", "1e3", "nan", "3 hours"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write seconds, minutes or hours above 0, such as 90s, 30m or 2h"):
        parse_seconds(text)


def test_settings_of_one_backbone_are_checked_like_those_of_all() -> None:
    with pytest.raises(ConfigError) as caught:
        Study(
            name="s",
            data="d",
            backbones=("resnet18",),
            backbone_settings={"resnet81": {"lr": 0.1}, "resnet18": {"lrr": 0.1, "epochs": 3}},
        )
    assert caught.value.problems == (
        "settings: epochs cannot be set here; the study's own 'epochs' says it (--epochs)",
        "backbone_settings: 'resnet81' is no backbone of this study, did you mean 'resnet18'?",
        "recipe field 'lrr' does not exist, did you mean 'lr'?",
    )


def test_prices_are_checked_and_a_design_has_no_budget() -> None:
    assert problems(prices={"gpu": -1.0})[0].startswith("prices={'gpu': -1.0}: must be")
    design = {"loss": {"plain": {}, "focal": {"loss": "focal"}}}
    assert problems(design=design, budget_hours=2.0) == (
        "budget_hours=2: a design is run whole; leave --budget-hours out",
    )


def test_what_a_search_may_use_is_a_share_of_the_budget() -> None:
    assert STUDY.search_worker_seconds is None
    assert replace(STUDY, budget_hours=10).search_worker_seconds == pytest.approx(6 * 3600)
