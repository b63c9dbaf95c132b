"""Downloads: whole or not there, gone on with where they broke, and what is said where they cannot be."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from raytl.data import download as module
from raytl.data.download import PAUSES_SECONDS, Source, download
from raytl.errors import DataError, MachineError, StorageError
from raytl.steps import listening
from tests.faults import Killed, largest_file
from tests.files_server import Site, serving

DATA = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving({"/a.zip": DATA}) as site:
        yield site


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes any time."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def fetched(site: Site, target: Path, path: str = "/a.zip") -> list[str]:
    said: list[str] = []
    download(Source(f"{site.address}{path}", "get it by hand"), target, said.append)
    return said


def part_of(target: Path, data: bytes, site: Site, tag: str = '"one"', whole: int = len(DATA)) -> Path:
    """What a killed download leaves."""
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(data)
    note = {"address": f"{site.address}/a.zip", "tag": tag, "changed": "", "bytes": whole}
    part.with_name(f"{part.name}.json").write_text(json.dumps(note))
    return part


def test_a_file_comes_whole_and_once(site: Site, tmp_path: Path) -> None:
    said = fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    assert said == [f"a.zip: 300,000 bytes from {site.address.removeprefix('http://')}"]
    fetched(site, tmp_path / "a.zip")
    assert len(site.served) == 1


@pytest.mark.parametrize(("tag", "changed"), [('"one"', ""), ("", "Thu, 01 Jan 2026 00:00:00 GMT"), ("", "")])
def test_a_cut_connection_is_gone_on_with(
    tag: str, changed: str, site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.tag, site.changed, site.cuts = tag, changed, [100_000, 150_000]
    said = fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [request.bytes for request in site.served] == [100_000, 150_000, 50_000], "no byte is sent twice"
    assert [request.range for request in site.served] == [None, "bytes=100000-", "bytes=250000-"]
    assert {request.if_range for request in site.served[1:]} == {tag or changed or None}
    assert pauses == [PAUSES_SECONDS[0]] * 2, "from the first pause again, since more has come"
    assert "a.zip: the connection broke at 100,000 of 300,000 bytes; tries again in 1 s" in said
    assert any("from byte 100,000 on" in line for line in said)


def test_what_a_killed_process_left_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    part_of(tmp_path / "a.zip", DATA[:299_000], site)
    fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [request.bytes for request in site.served] == [1000]
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_part_that_is_the_whole_needs_no_server(site: Site, tmp_path: Path) -> None:
    part_of(tmp_path / "a.zip", DATA, site)
    fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA and site.served == []


@pytest.mark.parametrize("note", [None, "{", "[]", '{"address": "http://elsewhere/a.zip", "bytes": 300000}'])
def test_a_part_of_nothing_known_is_begun_again(note: str | None, site: Site, tmp_path: Path) -> None:
    part = part_of(tmp_path / "a.zip", OTHER[:1000], site)
    if note is None:
        part.with_name(f"{part.name}.json").unlink()
    else:
        part.with_name(f"{part.name}.json").write_text(note)
    fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [request.range for request in site.served] == [None]


def test_a_changed_file_is_begun_again(site: Site, tmp_path: Path) -> None:
    part_of(tmp_path / "a.zip", OTHER[:1000], site, tag='"older"')
    fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [(request.status, request.bytes) for request in site.served] == [(200, 300_000)], "If-Range asks once"


@pytest.mark.parametrize(("tag", "whole"), [('"older"', 300_000), ('W/"older"', 300_000), ("", 299_999)])
def test_a_server_that_does_not_mind_if_range_is_found_out(
    tag: str, whole: int, site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.minds_if_range = False
    part_of(tmp_path / "a.zip", OTHER[:1000], site, tag, whole)
    said = fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [request.status for request in site.served] == [206, 200]
    assert any("the file at the source has changed" in line for line in said)


def test_a_file_that_has_become_shorter_is_begun_again(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    part_of(tmp_path / "a.zip", bytes(300_500), site, whole=400_000)
    fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [request.status for request in site.served] == [416, 200]


def test_a_server_without_ranges_sends_all_again(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.takes_ranges, site.cuts = False, [100_000]
    fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [request.bytes for request in site.served] == [100_000, 300_000]


def test_a_server_that_always_breaks_off_at_the_same_byte_is_given_up(
    site: Site, tmp_path: Path, pauses: list[float]
) -> None:
    site.takes_ranges, site.cuts = False, [1000] * 99
    with pytest.raises(MachineError, match=r"1,000 bytes of http.* are kept and gone on with.*or get it by hand"):
        fetched(site, tmp_path / "a.zip")
    assert pauses == list(PAUSES_SECONDS), "the same bytes again are no step forward"
    assert not (tmp_path / "a.zip").exists()


def test_a_file_of_unknown_size(site: Site, tmp_path: Path) -> None:
    site.says_length = False
    assert "unknown size" in fetched(site, tmp_path / "a.zip")[0]
    assert (tmp_path / "a.zip").read_bytes() == DATA


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_bad_moment_passes(status: int, site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.statuses = [status, status]
    said = fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert pauses == list(PAUSES_SECONDS[:2]) and f"the server answers {status}" in said[0]


def test_a_server_that_stays_ill_is_given_up(site: Site, tmp_path: Path, pauses: list[float]) -> None:
    site.statuses = [503] * 99
    with pytest.raises(MachineError, match=r"the server answers 503 .*, 4 times; .*try again later, or get it by hand"):
        fetched(site, tmp_path / "a.zip")
    assert pauses == list(PAUSES_SECONDS) and len(site.served) == 4


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(404, "does not have http"), (410, "may have moved"), (401, "may want an account"), (403, "refuses http")],
)
def test_a_file_that_is_not_given_is_asked_for_once(status: int, sentence: str, site: Site, tmp_path: Path) -> None:
    site.statuses = [status]
    with pytest.raises(DataError, match=rf"{sentence}.*{status}|{status}.*{sentence}") as caught:
        fetched(site, tmp_path / "a.zip")
    assert "get it by hand" in str(caught.value) and len(site.served) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_known_before(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=299_999))
    with pytest.raises(StorageError, match="300,000 bytes needed, 299,999 bytes free; make room, or set RAYTL_CACHE"):
        fetched(site, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_a_disk_that_fills_up_keeps_what_has_come(site: Site, tmp_path: Path) -> None:
    with largest_file(200_000), pytest.raises(StorageError, match=r"100,000 bytes needed, [\d,]+ bytes free"):
        fetched(site, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    fetched(site, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert site.served[-1].range == "bytes=200000-"


STEPS = ["download noted written", "download noted renamed", "download written", "download synced", "download renamed"]


@pytest.mark.parametrize("step", STEPS)
def test_whatever_step_a_kill_falls_on_there_is_a_whole_file_or_none(step: str, site: Site, tmp_path: Path) -> None:
    def killer(reached: str) -> None:
        if reached == step:
            raise Killed

    target = tmp_path / "a.zip"
    with listening(killer), pytest.raises(Killed):
        fetched(site, target)
    assert not target.exists() or target.read_bytes() == DATA
    fetched(site, target)
    assert target.read_bytes() == DATA


def test_progress_is_a_line_now_and_then(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_SECONDS", 0.0)
    said = fetched(site, tmp_path / "a.zip")
    assert said[-1].startswith("a.zip: 300,000 bytes (100%), ") and said[-1].endswith(" MB/s")
    monkeypatch.undo()
    (tmp_path / "a.zip").unlink()
    assert len(fetched(site, tmp_path / "a.zip")) == 1
