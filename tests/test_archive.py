"""Archives: unpacked as another program does, once; nothing is believed, and nothing lands outside."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytl.data.archive import ARCHIVE_SUFFIXES, Limits, is_archive, unpacked
from raytl.errors import DataError, StorageError
from tests.faults import largest_file

UP = ".."  # the folder above
FILES = {"rose/1.jpg": b"one", "rose/deep/2.jpg": b"two", "tulip/3.jpg": bytes(3000), "read me.txt": b"!"}


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: Mapping[str, bytes]) -> Path:
    mode = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "tbz2": "w:bz2", "xz": "w:xz", "txz": "w:xz", "tar": "w"}
    with tarfile.open(path, mode[path.name.rsplit(".", 1)[1]]) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def packed(path: Path, files: Mapping[str, bytes]) -> Path:
    return zipped(path, files) if path.suffix == ".zip" else tarred(path, files)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def outside(root: Path, archive: Path) -> list[Path]:
    """Everything below `root` but the archive."""
    return [path for path in root.rglob("*") if path.is_file() and path != archive]


@pytest.mark.parametrize("suffix", ARCHIVE_SUFFIXES)
def test_what_was_packed_is_unpacked_once(suffix: str, tmp_path: Path) -> None:
    archive = packed(tmp_path / f"pictures{suffix}", FILES)
    assert is_archive(archive) and not is_archive(tmp_path / "pictures.csv")
    folder = unpacked(archive, tmp_path / "cache")
    assert content(folder) == FILES
    (folder / "rose" / "1.jpg").write_bytes(b"kept")
    again = packed(tmp_path / f"again{suffix}", {})
    again.write_bytes(archive.read_bytes())
    assert unpacked(again, tmp_path / "cache") == folder, "the same bytes under another name"
    assert content(folder)["rose/1.jpg"] == b"kept", "not written a second time"


def test_folders_around_the_classes_are_gone_into(tmp_path: Path) -> None:
    files = {f"data/flowers/{name}": data for name, data in FILES.items()} | {"LICENSE": b"", "__MACOSX/x": b""}
    assert content(unpacked(zipped(tmp_path / "a.zip", files), tmp_path / "cache")) == FILES
    splits = {"set/train/rose/1.jpg": b"1", "set/train/tulip/2.jpg": b"2"}
    assert content(unpacked(zipped(tmp_path / "b.zip", splits), tmp_path / "cache")) == {
        "train/rose/1.jpg": b"1",
        "train/tulip/2.jpg": b"2",
    }


def test_litter_is_left_out_and_windows_names_are_understood(tmp_path: Path) -> None:
    litter = dict.fromkeys(("tulip/.DS_Store", "tulip/Thumbs.db", ".git/config"), b"")
    files = {"rose\\1.jpg": b"1", "tulip/2.jpg": b"2", **litter}
    folder = unpacked(zipped(tmp_path / "a.zip", files), tmp_path / "cache")
    assert content(folder) == {"rose/1.jpg": b"1", "tulip/2.jpg": b"2"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (f"{UP}/evil.jpg", "leads out of the archive"),
        (f"rose/{UP}/{UP}/evil.jpg", "leads out of the archive"),
        ("rose/..\\..\\evil.jpg", "leads out of the archive"),
        ("/evil.jpg", "an absolute name"),
        ("C:/evil.jpg", "an absolute name"),
        ("rose/1.jpg", "written alike"),
    ],
)
@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_d7_names_that_lead_elsewhere_are_refused(suffix: str, name: str, sentence: str, tmp_path: Path) -> None:
    archive = tmp_path / f"a{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("rose/1.jpg", b"good")
            file.writestr(name, b"evil")
    else:
        with tarfile.open(archive, "w:gz") as file_:
            for each in ("rose/1.jpg", name):
                file_.addfile(tarfile.TarInfo(each))
    refused(archive, sentence, tmp_path)


def refused(archive: Path, sentence: str, root: Path, limits: Limits | None = None) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        unpacked(archive, root / "cache", limits)
    assert caught.value.exit_code == 4
    assert outside(root, archive) == [] and not Path("/evil.jpg").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_d7_links_and_devices_are_refused(kind: bytes, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        entry = tarfile.TarInfo("rose/odd.jpg")
        entry.type, entry.linkname = kind, "/etc/passwd"
        file.addfile(entry)
    refused(archive, "member 'rose/odd.jpg' is (a link|neither a file nor a folder); nothing was unpacked", tmp_path)


def test_d7_a_link_in_a_zip_and_an_encrypted_member_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as file:
        entry = zipfile.ZipInfo("rose/odd.jpg")
        entry.external_attr = 0o120777 << 16
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match="is a link"):
        unpacked(tmp_path / "link.zip", tmp_path / "cache")
    locked = zipped(tmp_path / "locked.zip", {"rose/1.jpg": b"x"})
    data = bytearray(locked.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption in the central directory
    locked.write_bytes(bytes(data))
    with pytest.raises(DataError, match="an encrypted file"):
        unpacked(locked, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar.xz"])
def test_d7_bombs_are_refused(suffix: str, tmp_path: Path) -> None:
    archive = packed(tmp_path / f"bomb{suffix}", {"rose/1.jpg": bytes(20_000_000), "rose/2.jpg": b""})
    refused(archive, r"more than 10,000,000 bytes unpacked by member 'rose/1.jpg'", tmp_path)
    many = packed(tmp_path / f"many{suffix}", {f"rose/{number}.jpg": b"" for number in range(20)})
    archive.unlink()
    refused(many, "more than 19 members", tmp_path, Limits(files=19))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
@pytest.mark.parametrize("size", [20_000_000, -512])
def test_d7_a_header_that_would_fill_the_memory_is_refused_unread(kind: bytes, size: int, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    entry = tarfile.TarInfo("rose/1.jpg")
    entry.type, entry.size = kind, size
    archive.write_bytes(gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(max(0, size))))
    tracemalloc.start()
    refused(archive, rf"a header of {size:,} bytes .* at most 1,000,000 .* unpack it yourself", tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["old", "posix"])
def test_d7_sparse_files_are_refused_before_their_maps_are_read(kind: str, tmp_path: Path) -> None:
    entry = tarfile.TarInfo("rose/1.jpg")
    if kind == "old":
        entry.type = tarfile.GNUTYPE_SPARSE
        data = entry.tobuf(tarfile.GNU_FORMAT)
    else:
        entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        data = entry.tobuf(tarfile.PAX_FORMAT)
    archive = tmp_path / "a.tar"
    archive.write_bytes(data + b"9" * 512 * 40)
    refused(archive, "is a sparse file; nothing was unpacked", tmp_path)


def test_long_names_are_unpacked(tmp_path: Path) -> None:
    for number, kind in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        archive, entry = tmp_path / f"{number}.tar", tarfile.TarInfo(f"rose/{'é' * 100}/{'x' * 200}.jpg")
        with tarfile.open(archive, "w", format=kind) as file:
            file.addfile(entry)
        assert list(content(unpacked(archive, tmp_path / "cache"))) == [entry.name.removeprefix("rose/")]


def test_d7_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    """The header says three bytes, the deflated stream holds twenty million."""
    archive = zipped(tmp_path / "a.zip", {"rose/1.jpg": bytes(20_000_000)})
    data = archive.read_bytes().replace((20_000_000).to_bytes(4, "little"), (3).to_bytes(4, "little"))
    archive.write_bytes(data)
    with pytest.raises(DataError):
        unpacked(archive, tmp_path / "cache")
    assert outside(tmp_path, archive) == []


@pytest.mark.parametrize("change", [lambda data: data[: len(data) // 2], lambda _: b"<html>no</html>", lambda _: b""])
@pytest.mark.parametrize("suffix", ARCHIVE_SUFFIXES)
def test_damaged_archives_are_named(suffix: str, change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    archive = packed(tmp_path / f"a{suffix}", FILES)
    archive.write_bytes(change(archive.read_bytes()))
    refused(archive, "damaged or no archive", tmp_path)


def test_a_file_that_is_a_folder_too(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "a.zip", {"rose": b"1", "rose/1.jpg": b"2"}), "a file and a folder", tmp_path)


def test_all_problems_are_said_at_once_up_to_some(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", {f"../{number}.jpg": b"" for number in range(9)})
    with pytest.raises(DataError) as caught:
        unpacked(archive, tmp_path / "cache")
    assert len(caught.value.problems) == 6 and "and 4 more" in caught.value.problems[-1]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", FILES)
    with largest_file(1000), pytest.raises(StorageError, match="make room"):
        unpacked(archive, tmp_path / "cache")
    assert outside(tmp_path, archive) == []


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.lists(names, min_size=1, max_size=4))
def test_whatever_a_member_is_called_nothing_lands_outside(
    tmp_path_factory: pytest.TempPathFactory, given_names: list[str]
) -> None:
    root = tmp_path_factory.mktemp("any")
    archive = tarred(root / "a.tar", dict.fromkeys(given_names, b"x"))
    try:
        folder = unpacked(archive, root / "cache")
    except (DataError, StorageError):
        assert outside(root, archive) == []
    else:
        assert all(path.is_relative_to(root / "cache") for path in outside(root, archive))
        assert len(content(root / "cache")) <= len(given_names) and folder.is_dir()


KILLED = """
import os, signal, sys
from pathlib import Path
from raytl.data import archive
archive._copied = lambda source, file, most: os.kill(os.getpid(), signal.SIGKILL)
archive.unpacked(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_what_a_kill_left_by_half_is_removed_at_the_next_use(tmp_path: Path) -> None:
    archive, cache = zipped(tmp_path / "a.zip", FILES), tmp_path / "cache"
    folder = unpacked(archive, cache)
    other = zipped(tmp_path / "b.zip", {"lily/1.jpg": b"x"})
    subprocess.run([sys.executable, "-c", KILLED, str(other), str(cache)], check=False)
    (left,) = set(cache.iterdir()) - {folder}
    assert list(left.rglob("1.jpg")) != []
    assert unpacked(archive, cache) == folder and list(cache.iterdir()) == [folder]
