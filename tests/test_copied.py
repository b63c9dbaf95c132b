"""A study seen from its copy: the same as in its folder, while the copy changes, and without what is not to be read."""

from __future__ import annotations

import shlex
import shutil
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raytl.cli import main
from raytl.errors import ConfigError, StorageError
from raytl.results import copied as module
from raytl.results.copied import seen
from raytl.results.folder import HEAT_FILE, StudyFolder
from raytl.results.ledger import Ledger
from raytl.results.mirror import Mirror
from raytl.results.tables import load_tables
from tests.rows import epoch_row
from tests.studies import Plan, write_study
from tests.test_mirror import s3 as s3

SMALL = Plan(backbones=("tiny_vit",), trials=2, epochs=2, seeds=1, test_pictures=6, train_pictures=12)
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    made = write_study(tmp_path / "flowers", SMALL)
    (made.checkpoints / "t0").mkdir(parents=True)
    (made.checkpoints / "t0" / "tensors").write_bytes(b"large")
    (made.models / "tiny_vit" / "model.safetensors").parent.mkdir(parents=True, exist_ok=True)
    (made.models / "tiny_vit" / "model.safetensors").write_bytes(b"large")
    return made


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, folder: StudyFolder) -> str:
    """A copy of the folder in each kind of storage."""
    address = f"file://{tmp_path}/copy/flowers"
    if request.param == "s3":
        address = request.getfixturevalue("s3").format(f"{tmp_path.name}/flowers")
    Mirror(folder, address).copy()
    return address


def test_the_list_and_the_report_of_a_copy_are_those_of_the_folder(
    url: str, folder: StudyFolder, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["list", str(folder.root)]) == main(["list", url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3 and lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    assert main(["report", str(folder.root)]) == main(["report", url]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder.report), "flowers-report.html"]
    page = (tmp_path / "flowers-report.html").read_text()
    assert page.replace(escape(shlex.quote(url)), str(folder.root)) == folder.report.read_text()


def test_only_what_is_read_is_fetched_and_nothing_stays(url: str) -> None:
    with seen(url) as folder:
        names = {path.relative_to(folder.root).parts[0] for path in folder.root.rglob("*") if path.is_file()}
        assert names - {"models"} == {"study.json", "ledger"}
        assert {path.name for path in folder.models.rglob("*") if path.is_file()} <= {HEAT_FILE}
    assert not folder.root.exists()


def test_a_copy_of_tables_alone_is_read_from_them(tmp_path: Path, folder: StudyFolder) -> None:
    expected = load_tables(folder)
    assert main(["report", str(folder.root)]) == 0
    shutil.rmtree(folder.ledger)
    with seen(f"file://{folder.root}") as found:
        assert load_tables(found).trials.equals(expected.trials)


def test_files_that_go_while_they_are_read_are_looked_for_again(
    folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the study commits, rolls its commits up, and the copy follows."""
    monkeypatch.setattr("raytl.results.ledger.LOOSE_LIMIT", 3)
    url, bring = f"file://{tmp_path}/copy", module._bring_file
    mirror, ledger, read = Mirror(folder, url), Ledger.open(folder.ledger), list[Path]()
    mirror.copy()

    def while_it_goes_on(files: Any, source: str, target: Path) -> None:
        if len(read) == 2:
            for epoch in range(10):
                ledger.commit("epochs", [epoch_row(epoch=100 + epoch)])
            mirror.copy()
        read.append(target)
        bring(files, source, target)

    monkeypatch.setattr(module, "_bring_file", while_it_goes_on)
    with seen(url) as found:
        tables, expected = load_tables(found), load_tables(folder)
        assert tables.problems == () and tables.epochs.equals(expected.epochs)
        assert {path.name for path in found.ledger.iterdir()} == {path.name for path in folder.ledger.iterdir()}
    assert len(read) > len(set(read)), "it has begun again"


def test_what_cannot_be_seen_is_said(tmp_path: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="no study of raytl there"), seen(f"file://{tmp_path}/absent"):
        pass
    with pytest.raises(ConfigError, match="s3://bucket/folder"), seen("nonsense://x"):
        pass

    def gone(*_: object) -> None:
        raise FileNotFoundError("gone")

    monkeypatch.setattr(module, "_bring_file", gone)
    with pytest.raises(StorageError, match=r"cannot be read .gone."), seen(f"file://{folder.root}"):
        pass
    monkeypatch.setattr(module, "list_storage", lambda *_: (_ for _ in ()).throw(pa.ArrowInvalid("refused")))
    with pytest.raises(StorageError, match="refused"), seen(f"file://{folder.root}"):
        pass
