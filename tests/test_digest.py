"""The SHA-256 of a file is that of the standard."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytl.digest import sha256_of

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc": FIPS 180-2, appendix B.1
MILLION = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"  # of a million "a": appendix B.3


@pytest.mark.parametrize(("data", "digits"), [(b"abc", ABC), (b"a" * 1_000_000, MILLION)])
def test_the_sum_is_the_standards(data: bytes, digits: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == digits
