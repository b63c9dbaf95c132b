"""The token of a local Ray: made for this user alone, or closed to others where it was open."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from raytl.errors import MachineError
from raytl.on_ray.token import MODE, PATH, TOKEN, require_token, token_file


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (MODE, TOKEN, PATH):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(MODE, "disabled")  # what somebody set for another cluster does not count for ours
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_that_only_its_owner_can_read(home: Path) -> None:
    before = os.umask(0)
    try:
        require_token()
    finally:
        os.umask(before)
    assert MODE not in os.environ, "Ray's own default is to ask for a token"
    assert token_file() == home / ".ray" / "auth_token"
    assert mode(token_file()) == 0o600 and mode(token_file().parent) == 0o700
    made = token_file().read_text()
    assert len(made) == 64 and int(made, 16)
    require_token()
    assert token_file().read_text() == made, "a Ray that runs may ask for it"


def test_one_that_others_could_read_is_closed_to_them(home: Path) -> None:
    token_file().parent.mkdir()
    token_file().write_text("kept")
    token_file().chmod(0o644)
    require_token()
    assert mode(token_file()) == 0o600 and token_file().read_text() == "kept"


def test_a_named_file_or_a_given_token_is_taken(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATH, str(home / "mine"))
    require_token()
    assert mode(home / "mine") == 0o600
    monkeypatch.setenv(PATH, str(home / "other"))
    monkeypatch.setenv(TOKEN, "given")
    require_token()
    assert not (home / "other").exists() and not (home / ".ray").exists()


def test_a_file_that_cannot_be_made_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("in the way")
    monkeypatch.setenv(PATH, str(home / "file" / "token"))
    with pytest.raises(MachineError, match=r"file/token.*RAY_AUTH_TOKEN_PATH"):
        require_token()
