"""`study.json` says where results come from, and a folder holds one study only."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from raytl.data.album import Album
from raytl.errors import ConfigError, DataError
from raytl.limits import Limits
from raytl.metric import find_metric
from raytl.on_ray import provenance
from raytl.on_ray.cluster import Node, Resources
from raytl.on_ray.plan import Plan
from raytl.on_ray.provenance import PACKAGES, known_precisions, write_provenance
from raytl.results.facts import study_limits
from raytl.results.folder import StudyFolder
from raytl.results.recorder import Recorder
from raytl.space import Choices
from tests.plans import make_album, make_plan

RESOURCES = Resources((Node(2, 0), Node(8, 1)), 10**9)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    made = StudyFolder(tmp_path / "study")
    made.create()
    return made


def planned(album: Album, **values: Any) -> Plan:
    settings = {"lr": 0.01, "dropout": Choices((0.0, 0.1))}
    return make_plan((album, album.resplit(1)), Path("unused"), splits=2, settings=settings, seed=3, **values)


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["/x/raytl/cli.py", "search", "a"], "raytl search a"),
        (
            ["experiments/search_all.py", "--data", "my pictures"],
            "python experiments/search_all.py --data 'my pictures'",
        ),
    ],
)
def test_the_command_is_one_that_can_be_typed_again(
    words: list[str], command: str, album: Album, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", words)
    write_provenance(planned(album), folder, RESOURCES)
    assert folder.read_study()["command"] == command


def test_a_study_says_where_it_comes_from(album: Album, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/raytl", "search", "my pictures", "--trials", "4"])
    plan = planned(album)
    write_provenance(plan, folder, RESOURCES)
    known = folder.read_study()
    assert known["spec"] == json.loads(json.dumps(plan.study.values()))
    assert known["command"] == "raytl search 'my pictures' --trials 4"
    assert known["data_fingerprint"] == album.fingerprint and known["classes"] == ["a", "b"]
    assert known["splits"] == [each.fingerprint for each in plan.albums]
    assert known["confirm_seeds"] == [3, 4]
    versions = known["versions"]
    assert isinstance(versions, dict) and versions["python"] == platform.python_version()
    assert {name: versions[name] for name in PACKAGES if name != "raytl"} == {
        name: version(name) for name in PACKAGES if name != "raytl"
    }
    machine = known["machine"]
    assert isinstance(machine, dict) and machine["node"] == platform.node()
    assert (machine["cpus"], machine["gpus"], machine["memory_bytes"]) == (10, 1, 10**9)
    backbones = known["backbones"]
    assert isinstance(backbones, dict) and list(backbones) == ["plain_cnn", "tiny_resnet"]
    part = plan.backbones[1]
    assert backbones["tiny_resnet"] == {
        "stages": ["one", "two", "three"],
        "frozen_fractions": [0.0, 0.3, 0.6, 0.9],
        "default": part.default.values(),
        "probe": part.probe.values(),
        "space": {"lr": "0.0001..0.1", "freeze_depth": "0|3"},
        "weights_sha256": "",
    }


def test_the_commit_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parents[1]
    if not (here / ".git").exists():
        pytest.skip("not a git checkout")
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, check=True, capture_output=True, text=True)
    commit = provenance._git_commit()
    assert commit == found.stdout.strip() and commit and re.fullmatch("[0-9a-f]{40}", commit)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError("git")))
    assert provenance._git_commit() is None


@pytest.mark.parametrize(("place", "is_own"), [("raytl", True), (".venv/lib/site-packages/raytl", False)])
def test_the_commit_of_another_project_around_is_not_taken(place: str, is_own: bool, tmp_path: Path) -> None:
    package = tmp_path / place
    package.mkdir(parents=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert provenance._git_commit(package) == (head.stdout.strip() if is_own else None)


def test_without_a_commit_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "raytl").mkdir()
    assert provenance._git_commit(tmp_path / "raytl") is None
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert provenance._git_commit(tmp_path / "raytl") is None


def test_a_package_that_is_not_installed_is_unknown() -> None:
    assert provenance._version("no-such-package-anywhere") == "unknown"


def test_the_same_study_goes_on_and_keeps_what_was_written(album: Album, folder: StudyFolder) -> None:
    write_provenance(planned(album), folder, RESOURCES)
    before = folder.study_json.read_bytes()
    write_provenance(planned(album), folder, Resources((Node(1, 0),), 1))
    assert folder.study_json.read_bytes() == before


def test_another_study_is_refused_and_all_that_differs_is_named(album: Album, folder: StudyFolder) -> None:
    write_provenance(planned(album), folder, RESOURCES)
    before = folder.study_json.read_bytes()
    changed = make_plan((album,), Path("unused"), splits=1, seed=3, searcher="grid", settings={"lr": 0.02})
    with pytest.raises(ConfigError) as caught:
        write_provenance(changed, folder, RESOURCES, changed_data=True)
    *differing, remedy = caught.value.problems
    assert [part for part in ("splits=2", "searcher='random'", "lr") if part not in "\n".join(differing)] == []
    assert len(differing) == 3 and "--out" in remedy and f"raytl resume {folder.root}" in remedy
    assert all(str(folder.root) in problem for problem in differing)
    assert folder.study_json.read_bytes() == before


def test_a_study_that_an_older_version_began_goes_on(album: Album, folder: StudyFolder) -> None:
    write_provenance(planned(album), folder, RESOURCES)
    values: dict[str, Any] = dict(folder.read_study())
    younger = ("design", "class_map", "more_data", "max_latency_ms", "max_size_mb")
    spec = {name: value for name, value in values["spec"].items() if name not in younger}
    folder.write_study({**values, "spec": spec})
    write_provenance(planned(album), folder, RESOURCES)
    with pytest.raises(ConfigError, match=r"class_map=\{\}, this one has \{'a': 'b'\}"):
        write_provenance(planned(album, class_map={"a": "b"}), folder, RESOURCES)


def test_pictures_that_moved_are_known_by_their_fingerprint(album: Album, folder: StudyFolder) -> None:
    write_provenance(planned(album, more_data=("/here/more",)), folder, RESOURCES)
    before = folder.study_json.read_bytes()
    write_provenance(planned(album, data="/there", more_data=("/there/more",)), folder, RESOURCES)
    assert folder.study_json.read_bytes() == before


@pytest.fixture
def recorded(album: Album, folder: StudyFolder) -> StudyFolder:
    """A study whose pictures are on record."""
    write_provenance(planned(album), folder, RESOURCES)
    recorder = Recorder(folder, find_metric("val_accuracy"))
    recorder.pictures(album.pictures)
    recorder.close()
    return folder


def other_pictures(album: Album) -> Album:
    first, second, *rest = album.pictures
    changed = (replace(first, sha256="0" * 64), replace(second, status="bad"), *rest)
    return replace(album, fingerprint="another", pictures=changed)


def test_d8_changed_pictures_are_refused_with_the_difference(album: Album, recorded: StudyFolder) -> None:
    before = recorded.study_json.read_bytes()
    with pytest.raises(DataError) as caught:
        write_provenance(planned(other_pictures(album)), recorded, RESOURCES)
    removed, content, remedy = caught.value.problems
    assert removed == f"1 picture removed or no longer usable: {album.pictures[1].path}"
    assert content == f"1 picture with other content: {album.pictures[0].path}"
    assert "--changed-data" in remedy
    assert recorded.study_json.read_bytes() == before


def test_d8_changed_pictures_are_accepted_where_that_is_said(album: Album, recorded: StudyFolder) -> None:
    plan = planned(other_pictures(album))
    write_provenance(plan, recorded, RESOURCES, changed_data=True)
    known = recorded.read_study()
    assert known["data_fingerprint"] == "another" and known["spec"] == json.loads(json.dumps(plan.study.values()))
    told = known["data_changes"]
    assert isinstance(told, list) and [len(change["changes"]) for change in told] == [2]
    write_provenance(plan, recorded, RESOURCES)


def test_d8_other_classes_are_another_study(album: Album, recorded: StudyFolder) -> None:
    other = replace(other_pictures(album), classes=("a", "c"))
    with pytest.raises(DataError, match="has other classes"):
        write_provenance(replace(planned(album), albums=(other,)), recorded, RESOURCES, changed_data=True)


def test_number_formats_of_an_earlier_run_are_known(album: Album, folder: StudyFolder) -> None:
    assert known_precisions(folder) == {}
    plan = planned(album)
    first, second = plan.backbones
    second = replace(second, default=replace(second.default, precision="bf16"))
    write_provenance(replace(plan, backbones=(first, second)), folder, RESOURCES)
    assert known_precisions(folder) == {"plain_cnn": "fp32", "tiny_resnet": "bf16"}


def test_limits_may_change_and_the_study_then_tells_the_new_ones(album: Album, folder: StudyFolder) -> None:
    write_provenance(planned(album), folder, RESOURCES)
    before = dict(folder.read_study())
    write_provenance(planned(album, max_latency_ms=20.0, time_limit_seconds=9.0), folder, RESOURCES)
    known = dict(folder.read_study())
    assert study_limits(known) == Limits(latency_ms=20.0)
    assert {**known["spec"], "max_latency_ms": None} == before["spec"]  # type: ignore[dict-item]
    assert {**known, "spec": 0} == {**before, "spec": 0}
    write_provenance(planned(album), folder, RESOURCES)
    assert folder.read_study() == before


def test_a_study_may_grow_and_tells_when_and_by_what(
    album: Album, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/raytl", "search", "p", "--trials", "6"])
    write_provenance(planned(album), folder, RESOURCES)
    before: dict[str, Any] = dict(folder.read_study())
    larger = replace(planned(album, trials=6, confirm_seeds=3), albums=(album, album.resplit(1), album.resplit(2)))
    larger = replace(larger, study=replace(larger.study, splits=3))
    write_provenance(larger, folder, RESOURCES)
    known: dict[str, Any] = dict(folder.read_study())
    assert known["spec"] == json.loads(json.dumps(larger.study.values()))
    assert known["confirm_seeds"] == [3, 4, 5] and known["splits"] == [each.fingerprint for each in larger.albums]
    (told,) = known["extended"]
    assert told["changes"] == {"trials": [4, 6], "confirm_seeds": [2, 3], "splits": [2, 3]}
    assert told["command"] == "raytl search p --trials 6" and told["at"].endswith("+00:00")
    written = folder.study_json.read_bytes()
    write_provenance(larger, folder, RESOURCES)
    assert folder.study_json.read_bytes() == written
    assert {name: known[name] for name in ("command", "versions", "backbones")} == {
        name: before[name] for name in ("command", "versions", "backbones")
    }


def test_a_study_does_not_shrink(album: Album, folder: StudyFolder) -> None:
    write_provenance(planned(album), folder, RESOURCES)
    with pytest.raises(ConfigError, match="holds a study with trials=4, this one has 3"):
        write_provenance(planned(album, trials=3), folder, RESOURCES)


def test_changed_pictures_are_refused_before_a_study_grows(album: Album, recorded: StudyFolder) -> None:
    before = recorded.study_json.read_bytes()
    plan = planned(other_pictures(album), trials=6)
    with pytest.raises(DataError, match="--changed-data"):
        write_provenance(plan, recorded, RESOURCES)
    assert recorded.study_json.read_bytes() == before
    write_provenance(plan, recorded, RESOURCES, changed_data=True)
    known = recorded.read_study()
    assert {"extended", "data_changes"} <= known.keys() and known["data_fingerprint"] == "another"


def test_a_budget_and_prices_that_were_given_last_count(album: Album, folder: StudyFolder) -> None:
    write_provenance(planned(album, budget_hours=1.0, prices={"gpu": 3.0}), folder, RESOURCES)
    write_provenance(planned(album, budget_hours=5.0, prices={"gpu": 2.0}), folder, RESOURCES)
    spec = folder.read_study()["spec"]
    assert isinstance(spec, dict) and (spec["budget_hours"], spec["prices"]) == (5.0, {"gpu": 2.0})
