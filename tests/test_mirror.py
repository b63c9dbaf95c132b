"""The copy of a study in object storage: whole at every moment, and a study again when it is fetched."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs
import pytest
import torch

from raytl.errors import ConfigError, StorageError
from raytl.metric import Figures
from raytl.results import mirror as module
from raytl.results.folder import TEMPORARY, StudyFolder
from raytl.results.ledger import Ledger, read
from raytl.results.mirror import Mirror, fetch, list_storage, mirrored, open_storage
from raytl.train.checkpoint import COMMIT, Snapshot, latest_snapshot, save_snapshot
from tests.rows import epoch_row
from tests.studies import Plan, write_study

SMALL = Plan(backbones=("tiny_vit",), trials=2, epochs=2, seeds=1, test_pictures=6, train_pictures=12)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket of a server that runs in this process."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_REGION", "us-east-1")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        options = f"?endpoint_override=http://{host}:{port}&allow_bucket_creation=true"
        files, _ = pa.fs.FileSystem.from_uri(f"s3://studies{options}")
        files.create_dir("studies")
        yield f"s3://studies/{{}}{options}"
        server.stop()


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place in each kind of storage."""
    if request.param == "file":
        return f"file://{tmp_path}/copy"
    bucket: str = request.getfixturevalue("s3")
    return bucket.format(tmp_path.name)


def stored(url: str) -> dict[str, bytes]:
    files, base = open_storage(url)
    content = {}
    for name in list_storage(files, base):
        with files.open_input_stream(f"{base}/{name}") as stream:
            content[name] = stream.read()
    return content


def local(folder: StudyFolder) -> dict[str, bytes]:
    return {
        path.relative_to(folder.root).as_posix(): path.read_bytes()
        for path in folder.root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def snapshot(epoch: int) -> Snapshot:
    tensors = {"model/a": torch.full((2,), float(epoch))}
    return Snapshot(epoch, epoch, Figures(0.5, 0.5, 1.0), tensors, {"a": torch.zeros(1)}, {}, {})


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    made = write_study(tmp_path / "study", SMALL)
    save_snapshot(made.checkpoints / "t0", snapshot(1))
    return made


def test_a_copy_holds_what_the_folder_does_and_comes_back_whole(folder: StudyFolder, url: str, tmp_path: Path) -> None:
    (folder.root / ".lock").write_text("mine")
    (folder.ledger / f"{TEMPORARY}1-x").write_text("half")
    mirror = Mirror(folder, url)
    assert mirror.copy() == len(stored(url)) > 5
    (folder.ledger / f"{TEMPORARY}1-x").unlink()
    assert stored(url) == local(folder)
    assert mirror.copy() == 0, "nothing is copied twice"
    back = StudyFolder(tmp_path / "back")
    assert fetch(url, back) == len(stored(url))
    assert local(back) == local(folder)
    assert latest_snapshot(back.checkpoints / "t0", 1)[0] is not None


def test_a_copy_follows_what_changes_and_what_goes(
    folder: StudyFolder, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytl.results.ledger.LOOSE_LIMIT", 3)
    mirror = Mirror(folder, url)
    mirror.copy()
    ledger = Ledger.open(folder.ledger)
    for epoch in range(10):
        ledger.commit("epochs", [epoch_row(epoch=epoch)])
        save_snapshot(folder.checkpoints / "t0", snapshot(2 + epoch))
        if epoch % 3 == 2:
            mirror.copy()
    mirror.copy()
    assert stored(url) == local(folder)
    Mirror(folder, url).copy()
    assert stored(url) == local(folder), "another process goes on with the same copy"


def test_a_damaged_commit_of_a_checkpoint_does_not_end_the_copying(folder: StudyFolder, tmp_path: Path) -> None:
    damaged = {"t6": b"[]", "t7": b"{}", "t8": b"no JSON", "t9": b"\xff\xfe"}
    for name, content in damaged.items():
        (folder.checkpoints / name).mkdir(parents=True)
        (folder.checkpoints / name / COMMIT).write_bytes(content)
    Mirror(folder, f"file://{tmp_path}/copy").copy()
    there = tmp_path / "copy" / "checkpoints"
    assert (tmp_path / "copy" / "study.json").exists()
    assert not [name for name in damaged if (there / name / COMMIT).exists()]


def test_an_error_of_the_storage_is_not_taken_for_a_damaged_commit(
    folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_snapshot(folder.checkpoints / "t9", snapshot(1))
    mirror = Mirror(folder, f"file://{tmp_path}/copy")

    def refuse(name: str, content: bytes) -> None:
        raise pa.ArrowInvalid("no such bucket")  # a ValueError

    monkeypatch.setattr(mirror, "_write", refuse)
    with pytest.raises(pa.ArrowInvalid):
        mirror._copy_commits(PurePosixPath("checkpoints/t9"))


def test_a_checkpoint_replaced_while_it_is_copied_stays_whole_in_the_copy(
    folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each file that is written, the run has got another epoch further."""
    url, epochs = f"file://{tmp_path}/copy", iter(range(2, 1000))
    mirror = Mirror(folder, url)
    write = mirror._write

    def meanwhile(name: str, content: bytes) -> None:
        write(name, content)
        if name.startswith("checkpoints/"):
            save_snapshot(folder.checkpoints / "t0", snapshot(next(epochs)))
        else:
            return
        place = tmp_path / "copy" / "checkpoints" / "t0"
        if (place / COMMIT).exists():
            named = json.loads((place / COMMIT).read_bytes())["files"]
            assert all((place / each).exists() for each in named), "a commit names what is not there"

    monkeypatch.setattr(mirror, "_write", meanwhile)
    for _ in range(5):
        mirror.copy()
    monkeypatch.setattr(mirror, "_write", write)
    mirror.copy()
    assert stored(url) == local(folder)


def test_commits_rolled_up_while_they_are_copied_stay_in_the_copy(
    folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first file that is written, all commits become one segment, which was not in the list of what to copy."""
    url, ledger = f"file://{tmp_path}/copy", Ledger.open(folder.ledger)
    for epoch in (101, 102):
        ledger.commit("epochs", [epoch_row(epoch=epoch)])
    mirror = Mirror(folder, url)
    mirror.copy()
    monkeypatch.setattr("raytl.results.ledger.LOOSE_LIMIT", 3)
    write, todo = mirror._write, [103, 104, 105]

    def meanwhile(name: str, content: bytes) -> None:
        while todo:
            ledger.commit("epochs", [epoch_row(epoch=todo.pop(0))])
        write(name, content)

    monkeypatch.setattr(mirror, "_write", meanwhile)
    (folder.root / "report.html").write_text("news")
    held = read(tmp_path / "copy" / "ledger", "epochs")
    mirror.copy()
    assert todo == [] and len(read(tmp_path / "copy" / "ledger", "epochs")) >= len(held)
    mirror.copy()
    assert stored(url) == local(folder)


def test_a_study_is_copied_while_it_runs(folder: StudyFolder, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.02)
    said: list[str] = []
    with mirrored(folder, url, said.append):
        assert "study.json" in stored(url)
        Ledger.open(folder.ledger).commit("epochs", [epoch_row(epoch=77)])
        wanted = {path.name for path in folder.ledger.iterdir()}
        for _ in range(500):
            if wanted <= {Path(name).name for name in stored(url)}:
                break
        else:
            pytest.fail("the commit did not come")
        (folder.root / "report.html").write_text("last")
    assert stored(url)["report.html"] == b"last" and said == []
    with pytest.raises(ZeroDivisionError), mirrored(folder, url, said.append):
        (folder.root / "report.html").write_text("after an error, too")
        raise ZeroDivisionError
    assert stored(url)["report.html"] == b"after an error, too"


def test_without_an_address_nothing_is_copied(folder: StudyFolder) -> None:
    before = local(folder)
    with mirrored(folder, None, print):
        pass
    assert local(folder) == before


def test_a_folder_that_is_removed_while_it_is_listed_is_passed_over(
    folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_folder = os.scandir

    def scandir(path: str | int | Path) -> object:
        if str(path).endswith("checkpoints/t0"):
            Path(str(path)).rename(tmp_path / "gone")
        return list_folder(path)

    monkeypatch.setattr("os.scandir", scandir)
    url = f"file://{tmp_path}/copy"
    Mirror(folder, url).copy()
    assert (tmp_path / "gone").is_dir() and stored(url) == local(folder)


def test_a_storage_that_fails_is_said_and_the_study_goes_on(
    folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.01)
    said: list[str] = []
    copy, broken = Mirror.copy, False

    def failing(self: Mirror) -> int:
        if broken:
            raise StorageError("gone")
        return copy(self)

    monkeypatch.setattr(Mirror, "copy", failing)
    with pytest.raises(StorageError, match="gone"), mirrored(folder, f"file://{tmp_path}/copy", said.append):
        broken = True
        while len(said) < 2:
            pass
    assert set(said) == {"copy not up to date: gone"}
    (tmp_path / "file").write_text("in the way")
    broken = False
    with pytest.raises(StorageError, match=f"raytl resume {folder.root}"):
        Mirror(folder, f"file://{tmp_path}/file/copy").copy()


def test_what_cannot_be_fetched_is_said(folder: StudyFolder, url: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no study of raytl there"):
        fetch(url, StudyFolder(tmp_path / "back"))
    Mirror(folder, url).copy()
    with pytest.raises(StorageError, match="not empty"):
        fetch(url, folder)
    with pytest.raises(ConfigError, match="s3://bucket/folder"):
        open_storage("nonsense://x")


def test_a_place_that_holds_something_else_is_refused_and_not_touched(folder: StudyFolder, tmp_path: Path) -> None:
    place, url = tmp_path / "photos", f"file://{tmp_path}/photos"
    place.mkdir()
    (place / "holiday.jpg").write_text("mine")
    with pytest.raises(StorageError, match="1 files and no study of raytl; give another address"):
        Mirror(folder, url).copy()
    (place / "study.json").write_text('{"spec": {"name": "another"}}')
    with pytest.raises(StorageError, match="holds another study"):
        Mirror(folder, url).copy()
    assert sorted(path.name for path in place.iterdir()) == ["holiday.jpg", "study.json"]


@pytest.mark.parametrize("changed", [{"trials": 90}, {"budget_hours": 2.0, "prices": {"gpu": 3.0}}])
def test_the_copy_of_a_study_goes_on_when_it_is_extended_or_its_limits_change(
    folder: StudyFolder, tmp_path: Path, changed: dict[str, object]
) -> None:
    url = f"file://{tmp_path}/copy"
    Mirror(folder, url).copy()
    values = folder.read_study()
    spec = values["spec"]
    assert isinstance(spec, dict)
    folder.write_study({**values, "spec": {**spec, **changed}})
    Mirror(folder, url).copy()
    assert stored(url) == local(folder)
    folder.write_study({**values, "spec": {**spec, "seed": 99}})
    with pytest.raises(StorageError, match="holds another study"):
        Mirror(folder, url)


def test_a_copy_that_is_ahead_is_not_emptied_by_a_study_begun_anew(
    folder: StudyFolder, url: str, tmp_path: Path
) -> None:
    Mirror(folder, url).copy()
    before = stored(url)
    anew = StudyFolder(tmp_path / "anew")
    anew.create()
    anew.write_study(folder.read_study())
    with pytest.raises(StorageError, match=r"holds more of this study .* `raytl resume"):
        Mirror(anew, url).copy()
    assert stored(url) == before


def test_what_others_put_beside_a_copy_stays(folder: StudyFolder, tmp_path: Path) -> None:
    Mirror(folder, f"file://{tmp_path}/copy").copy()
    (tmp_path / "copy" / "notes.txt").write_text("mine")
    Mirror(folder, f"file://{tmp_path}/copy").copy()
    assert (tmp_path / "copy" / "notes.txt").read_text() == "mine"


def test_secrets_in_an_address_are_not_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_storage("nonsense://me:canary-secret@host/x")
    assert "canary-secret" not in str(caught.value)


def test_no_row_is_lost_on_the_way(folder: StudyFolder, url: str, tmp_path: Path) -> None:
    Mirror(folder, url).copy()
    back = StudyFolder(tmp_path / "back")
    fetch(url, back)
    assert read(back.ledger, "epochs").equals(read(folder.ledger, "epochs"))
