"""Checksums: as another program computes them, published before recorded, and what is said where they differ."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from raytl.data.checksum import check_sum, record_of, record_sum, removed_if_bad
from raytl.digest import sha256_of
from raytl.errors import DataError

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc": FIPS 180-2, appendix B.1


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.zip"
    path.write_bytes(b"abc")
    return path


def test_a_record_is_what_sha256sum_reads_and_stays_as_it_was_first(file: Path) -> None:
    record = record_of(file)
    record_sum(file, record)
    checked = subprocess.run(["sha256sum", "-c", record.name], cwd=file.parent, capture_output=True, check=False)
    assert checked.returncode == 0
    file.write_bytes(b"other")
    record_sum(file, record)
    assert record.read_text() == f"{ABC}  a.zip\n"


def test_what_was_recorded_is_compared(file: Path) -> None:
    record = record_of(file)
    check_sum(file, record, None)
    record_sum(file, record)
    check_sum(file, record, None)
    file.write_bytes(b"other")
    with pytest.raises(DataError, match=f"is {sha256_of(file)}, but was {ABC} the first time.*remove {record} first"):
        check_sum(file, record, None)


def test_what_was_published_goes_before_a_record(file: Path) -> None:
    record = record_of(file)
    record.write_text("0" * 64)
    check_sum(file, record, ABC)
    with pytest.raises(DataError, match=f"is {ABC}, but {'1' * 64} was published"):
        check_sum(file, record, "1" * 64)


def test_only_what_is_bad_is_removed(file: Path) -> None:
    with removed_if_bad(file):
        pass
    with pytest.raises(OSError), removed_if_bad(file):
        raise OSError("full")
    assert file.exists()
    with pytest.raises(DataError) as caught, removed_if_bad(file):
        raise DataError("bad")
    assert caught.value.problems[0] == "bad" and "removed, so that" in caught.value.problems[1]
    assert not file.exists()
