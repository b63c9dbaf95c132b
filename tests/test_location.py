"""Where pictures lie: folders, archives, and samples that are written once."""

from __future__ import annotations

import errno
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from raytl.data import location as module
from raytl.data.draft import WRITING, draft_of
from raytl.data.location import kept_in_cache, locate
from raytl.data.samples import sample_names
from raytl.errors import DataError, StorageError
from tests.pictures import write_classes


def test_a_path_is_its_own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    assert locate("digits", tmp_path / "cache") == tmp_path / "digits"  # a folder goes before a sample of its name
    assert not (tmp_path / "cache").exists()


def write_little(name: str, folder: Path, per_class: int | None = None) -> Path:
    return write_classes(folder, {name: 2})


def test_a_sample_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[str] = []

    def counted(name: str, folder: Path, per_class: int | None = None) -> Path:
        written.append(name)
        return write_little(name, folder)

    monkeypatch.setattr(module, "write_sample", counted)
    for _ in range(2):
        folder = locate("digits", tmp_path / "cache")
        assert sorted(path.name for path in (folder / "digits").iterdir()) == ["000.png", "001.png"]
    assert written == ["digits"]
    assert [path.name for path in folder.parent.iterdir()] == ["digits"]


def test_a_sample_that_was_cut_short_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def killed(name: str, folder: Path, per_class: int | None = None) -> Path:
        write_little(name, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_sample", killed)
    with pytest.raises(KeyboardInterrupt):
        locate("digits", tmp_path / "cache")
    monkeypatch.setattr(module, "write_sample", write_little)
    assert len(list(locate("digits", tmp_path / "cache").rglob("*.png"))) == 2


def test_what_a_killed_process_left_of_a_sample_goes_at_the_next_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "write_sample", write_little)
    folder = locate("digits", tmp_path / "cache")
    (folder.parent / ".writing-drawn-flowers-x" / "half").mkdir(parents=True)
    with draft_of(folder.with_name("drawn-fruit"), WRITING) as living:
        assert locate("digits", tmp_path / "cache") == folder
        assert set(folder.parent.iterdir()) == {folder, living}


def test_of_two_processes_that_write_a_sample_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "cache" / "samples" / "digits"

    def slow(name: str, folder: Path, per_class: int | None = None) -> Path:
        write_classes(target, {"first": 1})
        return write_little(name, folder)

    monkeypatch.setattr(module, "write_sample", slow)
    assert locate("digits", tmp_path / "cache") == target
    assert [path.name for path in target.iterdir()] == ["first"] and len(list(target.parent.iterdir())) == 1


def test_a_sample_with_fewer_pictures_has_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few, more = (locate(f"drawn-flowers:{count}", tmp_path / "cache") for count in (1, 2))
    assert [len(list(folder.rglob("*.png"))) for folder in (few, more)] == [5, 10]
    for wrong in ("drawn-flowers:", "drawn-flowers:few", "drawn-flowers:-1"):
        with pytest.raises(DataError, match="no such folder"):
            locate(wrong, tmp_path / "cache")
    with pytest.raises(DataError, match="per_class is 0"):
        locate("drawn-flowers:0", tmp_path / "cache")


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image.Image, "save", save)
    said = r"pictures: No space left on device; make room on that disk.*; samples are written into the cache, which RAY"
    with pytest.raises(StorageError, match=said):
        locate("drawn-flowers:1", tmp_path / "cache")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"/file/samples: Not a directory; .*which RAYTL_CACHE names$"):
        locate("drawn-flowers:1", tmp_path / "file")


def test_a_misspelt_sample_offers_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        locate("drawn-flower", tmp_path)
    text = str(caught.value)
    assert "'drawn-flower'" in text and "did you mean 'drawn-flowers'" in text
    assert all(name in text for name in sample_names()) and "CSV" in text


def test_an_archive_is_unpacked_into_the_cache(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "flowers.zip", "w") as file:
        for name in ("flowers/rose/1.jpg", "flowers/tulip/2.jpg"):
            file.writestr(name, b"x")
    folder = locate(str(tmp_path / "flowers.zip"), tmp_path / "cache")
    assert sorted(path.name for path in folder.iterdir()) == ["rose", "tulip"]
    assert folder.is_relative_to(tmp_path / "cache" / "archives")


@pytest.mark.parametrize("name", ["hymenoptera", "torchvision:CIFAR10"])
def test_a_public_set_is_to_be_fetched_first(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"not fetched yet; type `raytl data fetch {name}`"):
        locate(name, tmp_path / "cache")


def test_what_each_machine_makes_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives by their whole path, since a worker starts elsewhere; folders and tables are as shared as they are."""
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "own", {"a": 1, "b": 1})
    Path("table.csv").write_text("path,label\n")
    Path("more.zip").write_bytes(b"")
    kept = kept_in_cache(("own", "table.csv", "more.zip", "drawn-flowers:20"))
    assert kept == (str(tmp_path / "more.zip"), "drawn-flowers:20")
