"""Storage that every machine of a cluster shares: asked of each of them, and said of each that does not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from raytl.errors import StorageError
from raytl.on_ray import nodes as module
from raytl.on_ray.nodes import check_nodes, given_paths
from raytl.options import EMBEDDED
from raytl.results.folder import TEMPORARY, StudyFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    made = StudyFolder(tmp_path / "study")
    made.create()
    return made


@pytest.fixture
def twice(one_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine counts as two."""
    nodes: list[dict[str, Any]] = ray.nodes() * 2
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    yield


def test_machines_that_share_the_folder_are_let_through(twice: None, folder: StudyFolder) -> None:
    check_nodes(folder)
    assert list(folder.checkpoints.iterdir()) == []


def test_a_machine_that_does_not_see_the_folder_is_named(
    twice: None, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = module._asked
    monkeypatch.setattr(module, "_asked", lambda node, seen, given: asked(node, seen.with_name("elsewhere"), given))
    with pytest.raises(StorageError) as caught:
        check_nodes(folder)
    assert len(caught.value.problems) == 2
    assert "does not hold what another machine wrote there" in caught.value.problems[0]
    assert "storage that all machines share" in caught.value.problems[0]
    assert [path for path in folder.root.rglob("*") if path.name.startswith(TEMPORARY)] == []


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_machine_that_has_just_gone_is_no_problem(
    one_ray: None, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch, is_gone: bool
) -> None:
    (here,) = ray.nodes()
    gone = {**here, "NodeID": "12" * (len(here["NodeID"]) // 2), "NodeManagerHostname": "lost"}
    said = iter([[here, gone], [here] if is_gone else [here, gone]])
    monkeypatch.setattr(ray, "nodes", lambda: next(said))
    if is_gone:
        check_nodes(folder)
        return
    with pytest.raises(StorageError) as caught:
        check_nodes(folder)
    assert [problem.split(" (")[0] for problem in caught.value.problems] == ["the study folder on lost"]


def test_a_machine_that_does_not_see_the_pictures_is_named(twice: None, folder: StudyFolder, tmp_path: Path) -> None:
    there, elsewhere = tmp_path / "pictures", tmp_path / "local" / "pictures"
    there.mkdir()
    check_nodes(folder, (there,))
    with pytest.raises(StorageError) as caught:
        check_nodes(folder, (there, elsewhere))
    assert len(caught.value.problems) == 2
    assert f"is there, but not {elsewhere}; put it on storage that all" in caught.value.problems[0]


def test_what_a_study_was_given_is_asked_for_and_what_raytl_makes_is_not(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures.zip"
    pictures.write_bytes(b"")
    study = replace(EMBEDDED, data=str(pictures), more_data=("drawn-flowers:20",), weights="none")
    assert given_paths(study) == (pictures,)
    assert given_paths(replace(study, weights=str(tmp_path))) == (pictures, tmp_path)


def test_machines_that_write_at_the_same_moment_do_not_meet(folder: StudyFolder) -> None:
    """As processes of two machines do that have the same number: here they are threads of one."""
    seen = folder.checkpoints / "seen"
    seen.touch()
    with ThreadPoolExecutor(8) as machines:
        assert set(machines.map(lambda _: module._problem(seen, ()), range(800))) == {""}
    assert list(folder.checkpoints.iterdir()) == [seen]


def test_one_machine_has_nothing_to_share(one_ray: None, folder: StudyFolder) -> None:
    check_nodes(folder)
    assert list(folder.checkpoints.iterdir()) == []


@pytest.mark.parametrize("name", ["mkdir", "write_text"])
def test_a_folder_that_this_machine_cannot_write_is_said(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}, {"Alive": True}])
    monkeypatch.setattr(Path, name, refuses)
    with pytest.raises(StorageError, match=r"checkpoints: cannot be written \(Read-only file system\); make room"):
        check_nodes(folder)
