"""Public sets, from a server of our own: fetched whole or not at all, compared, and given up with words that help."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from raytl.cli import main
from raytl.data import download as download_module
from raytl.data import public
from raytl.data.draft import held
from raytl.data.fetch import fetch
from raytl.data.sources import find
from raytl.errors import ConfigError, DataError, StorageError
from raytl.steps import listening
from tests.faults import Killed, largest_file
from tests.files_server import Site, serving
from tests.pictures import write_classes
from tests.test_archive import UP, content, zipped
from tests.test_web import closed_port

Captured = pytest.CaptureFixture[str]
WANTED = {"ants": 4, "bees": 3}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A zip of a folder of class folders, with a readme and a class that nobody wants."""
    root = tmp_path_factory.mktemp("packed")
    write_classes(root / "insects", {**WANTED, "wasps": 3})
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}
    return zipped(root / "a.zip", {**files, "insects/readme.txt": b"read me"}).read_bytes()


@pytest.fixture
def site(archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download_module, "PAUSES_SECONDS", (0.0, 0.0, 0.0))
    with serving({"/insects.zip": archive}) as site:
        use(monkeypatch, address=f"{site.address}/insects.zip")
        yield site


def use(monkeypatch: pytest.MonkeyPatch, address: str | None, sha256: str | None = None, classes: str = "") -> None:
    """Makes `flowers` another set, which lies elsewhere."""
    flowers = replace(public.PUBLIC[0], file="insects.zip", classes=tuple(classes.split()))
    changed = replace(flowers, address=address, sha256=sha256)
    monkeypatch.setattr(public, "PUBLIC", (changed, *public.PUBLIC[1:]))


def fetched(tmp_path: Path, archive: Path | None = None) -> Path:
    return fetch("flowers", tmp_path / "set", archive, tmp_path / "cache", lambda _line: None)


def store(tmp_path: Path) -> dict[str, bytes]:
    return {name: data for name, data in content(tmp_path / "cache/downloads/flowers").items() if name != ".lock"}


def left(tmp_path: Path) -> set[str]:
    """What lies beside the cache."""
    return {path.name for path in tmp_path.iterdir()} - {"cache"}


def test_a_set_is_fetched_and_can_be_searched(site: Site, tmp_path: Path, archive: bytes, capsys: Captured) -> None:
    assert main(["data", "fetch", "flowers"]) == 0
    target = Path("data/flowers")
    counts = {label: sum(item.label == label for item in find(target)) for label in ("ants", "bees", "wasps")}
    assert counts == {**WANTED, "wasps": 3} and (target / "readme.txt").read_bytes() == b"read me"
    said = capsys.readouterr().out
    assert said.startswith("flowers: 3,670 photographs of five flowers; address and checksum are taken from TensorFlow")
    assert said.splitlines()[-1] == (
        "data/flowers: there; type `raytl search data/flowers`, or `raytl data check data/flowers` first"
    )
    digest = hashlib.sha256(archive).hexdigest()
    assert store(tmp_path) == {"insects.zip": archive, "insects.zip.sha256": f"{digest}  insects.zip\n".encode()}
    assert [path.name for path in Path("data").iterdir()] == ["flowers"], "no draft is left"
    assert main(["data", "check", "data/flowers"]) == 0


def test_the_folder_has_the_rights_of_a_new_folder(site: Site, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert stat.S_IMODE(fetched(tmp_path).stat().st_mode) == 0o755
    finally:
        os.umask(before)


def test_only_the_wanted_classes_are_kept(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, f"{site.address}/insects.zip", classes="ants bees")
    assert sorted(path.name for path in fetched(tmp_path).iterdir()) == ["ants", "bees"]


def test_an_archive_without_a_wanted_class_is_refused(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, f"{site.address}/insects.zip", classes="ants moths")
    with pytest.raises(DataError, match="has no folder moths; it must hold ants, moths"):
        fetched(tmp_path)
    assert left(tmp_path) == set() and store(tmp_path) == {}


def test_a_cut_download_is_gone_on_with(site: Site, tmp_path: Path, archive: bytes) -> None:
    site.cuts = [1000]
    fetched(tmp_path)
    assert [request.bytes for request in site.served] == [1000, len(archive) - 1000]


def test_a_download_is_used_again_for_another_folder(site: Site, tmp_path: Path) -> None:
    fetched(tmp_path)
    fetch("flowers", tmp_path / "other", None, tmp_path / "cache", lambda _line: None)
    assert content(tmp_path / "other") == content(tmp_path / "set") and len(site.served) == 1


def test_a_published_checksum_is_compared(
    site: Site, tmp_path: Path, archive: bytes, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    use(monkeypatch, f"{site.address}/insects.zip", "0" * 64)
    assert main(["data", "fetch", "flowers"]) == 4
    said = capsys.readouterr().err
    assert f"{'0' * 64} was published" in said and "removed, so that the same command downloads it again" in said
    assert store(tmp_path) == {} and list(Path("data").iterdir()) == []
    use(monkeypatch, f"{site.address}/insects.zip", hashlib.sha256(archive).hexdigest())
    assert main(["data", "fetch", "flowers"]) == 0


def test_a_recorded_checksum_is_compared_later(site: Site, tmp_path: Path, archive: bytes) -> None:
    fetched(tmp_path)
    (tmp_path / "cache/downloads/flowers/insects.zip").unlink()
    site.files["/insects.zip"] = zipped(tmp_path / "b.zip", {"ants/1.png": b"1", "bees/2.png": b"2"}).read_bytes()
    with pytest.raises(DataError, match=f"was {hashlib.sha256(archive).hexdigest()} the first time"):
        fetch("flowers", tmp_path / "other", None, tmp_path / "cache", lambda _line: None)
    assert not (tmp_path / "other").exists()
    assert list(store(tmp_path)) == ["insects.zip.sha256"], "the record stays, the other file goes"


def test_a_source_that_wants_an_account_says_what_to_do_by_hand(
    site: Site, tmp_path: Path, archive: bytes, capsys: Captured
) -> None:
    assert main(["data", "fetch", "fruit"]) == 2
    said = capsys.readouterr().err
    assert "get archive.zip by hand from https://www.kaggle.com/datasets/kritikseth/" in said
    assert "type `raytl data fetch fruit --archive archive.zip`" in said
    (tmp_path / "archive.zip").write_bytes(archive)
    assert main(["data", "fetch", "fruit", "--archive", "archive.zip"]) == 0
    assert len(find(Path("data/fruit"))) == 10 and Path("archive.zip").read_bytes() == archive
    assert site.served == []


def test_a_file_by_hand_is_compared_too_and_never_removed(site: Site, tmp_path: Path) -> None:
    fetched(tmp_path)
    other = zipped(tmp_path / "other.zip", {"ants/1.png": b"1", "bees/2.png": b"2"})
    with pytest.raises(DataError, match=r"other\.zip: its SHA-256 is .* the first time"):
        fetch("flowers", tmp_path / "b", other, tmp_path / "cache", lambda _line: None)
    assert other.exists() and not (tmp_path / "b").exists()


def test_no_network(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    address = f"http://127.0.0.1:{closed_port()}/insects.zip"
    use(monkeypatch, address)
    assert main(["data", "fetch", "flowers"]) == 3
    problem, last = capsys.readouterr().err.splitlines()
    assert "cannot be reached" in problem and "https_proxy, http_proxy, no_proxy are read" in problem
    assert problem.endswith(
        f"get insects.zip by hand from {address} and type `raytl data fetch flowers --archive insects.zip`"
    )
    assert last == (
        "raytl: this machine cannot do what was asked for; what came so far is kept unless said otherwise; "
        "mend it, then type the command again"
    )


def test_a_source_that_has_it_no_more(site: Site, tmp_path: Path, capsys: Captured) -> None:
    site.files.clear()
    assert main(["data", "fetch", "flowers"]) == 4
    assert "404" in capsys.readouterr().err and len(site.served) == 1


def test_a_source_that_is_ill_for_a_moment(site: Site, tmp_path: Path) -> None:
    site.statuses = [503]
    assert main(["data", "fetch", "flowers"]) == 0
    assert [request.status for request in site.served] == [503, 200]


@pytest.mark.parametrize("most", [1000, 6000])
def test_a_full_disk(most: int, site: Site, tmp_path: Path, archive: bytes, capsys: Captured) -> None:
    """While downloading, and while unpacking what is larger than its archive."""
    grown = zipped(tmp_path / "b.zip", {"ants/1.png": bytes(7000), "bees/2.png": b"2"}).read_bytes()
    site.files["/insects.zip"] = archive if most == 1000 else grown
    with largest_file(most):
        assert main(["data", "fetch", "flowers"]) == 6
    said = capsys.readouterr().err
    assert "bytes free" in said if most == 1000 else "make room" in said
    assert not Path("data/flowers").exists()
    assert main(["data", "fetch", "flowers"]) == 0


def test_an_archive_that_leads_elsewhere_is_refused(site: Site, tmp_path: Path, capsys: Captured) -> None:
    site.files["/insects.zip"] = zipped(
        tmp_path / "b.zip", {"ants/1.png": b"", f"{UP}/{UP}/evil.png": b""}
    ).read_bytes()
    assert main(["data", "fetch", "flowers"]) == 4
    assert "leads out of the archive" in capsys.readouterr().err
    assert list(Path("data").iterdir()) == [] and list(tmp_path.rglob("evil*")) == []
    assert store(tmp_path) == {}, "nor is its checksum taken for a good one"


def test_a_page_that_says_welcome_is_no_archive(site: Site, tmp_path: Path, archive: bytes) -> None:
    site.files["/insects.zip"] = b"<html>log in to this network first</html>"
    with pytest.raises(DataError, match="damaged or no archive"):
        fetched(tmp_path)
    site.files["/insects.zip"] = archive
    assert fetched(tmp_path).is_dir()


def test_what_cannot_be_is_said_before_anything_is_asked(site: Site, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").touch()
    with pytest.raises(ConfigError) as caught:
        fetch("flowers", tmp_path / "set", tmp_path / "none.zip", tmp_path / "cache", print)
    assert len(caught.value.problems) == 2
    assert "already holds something; use it (`raytl search" in caught.value.problems[0]
    assert "no such zip or tar archive" in caught.value.problems[1]
    with pytest.raises(ConfigError, match="leave --archive out"):
        fetch("torchvision:CIFAR10", tmp_path / "b", tmp_path / "none.zip", tmp_path / "cache", print)
    assert site.served == [] and not (tmp_path / "cache").exists()


def test_an_interrupted_fetch_goes_on_where_it_was(
    site: Site, tmp_path: Path, archive: bytes, capsys: Captured
) -> None:
    def interrupt(reached: str) -> None:
        if reached == "download written":
            raise KeyboardInterrupt

    with listening(interrupt):
        assert main(["data", "fetch", "flowers"]) == 130
    assert capsys.readouterr().err == (
        "raytl: interrupted; what came so far is kept unless said otherwise; "
        "type the command again to go on from there\n"
    )
    assert list(Path("data").iterdir()) == []
    assert main(["data", "fetch", "flowers"]) == 0 and len(site.served) == 1


def test_two_processes_do_not_fetch_the_same(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "cache/downloads/flowers"
    folder.mkdir(parents=True)
    with held(folder), pytest.raises(StorageError, match="another process writes there"):
        fetched(tmp_path)
    assert site.served == []


@pytest.mark.parametrize("step", ["download synced", "download renamed", "checksum written", "checksum renamed"])
def test_whatever_step_a_kill_falls_on_the_folder_is_whole_or_not_there(
    step: str, site: Site, tmp_path: Path, archive: bytes
) -> None:
    def killer(reached: str) -> None:
        if reached == step:
            raise Killed

    with listening(killer), pytest.raises(Killed):
        fetched(tmp_path)
    assert not (tmp_path / "set").exists()
    assert len(find(fetched(tmp_path))) == 10 and len(site.served) == 1
    assert {"insects.zip", "insects.zip.sha256"} <= set(store(tmp_path))
