"""The token that a Ray of ours asks of whoever reaches its ports: without one, they could run code as this user."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from raytl.errors import MachineError

MODE, TOKEN, PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"  # the names are Ray's
OTHERS = 0o077  # the bits of a file's mode that let others than its owner in
TOKEN_BYTES = 32  # as many as Ray's own tokens have


def token_file() -> Path:
    """Where Ray reads the token that is not in the environment."""
    given = os.environ.get(PATH)
    return Path(given) if given else Path.home() / ".ray" / "auth_token"


def require_token() -> None:
    """Sees to it that a Ray that this process starts asks for a token, and that only this user can read it.

    Ray 2.60 asks for one unless `RAY_AUTH_MODE` says otherwise, which counts for clusters of others, not for ours. It
    makes a token itself where there is none, but in a file that everybody may read.

    Raises:
        MachineError: where the file cannot be made or closed to others.
    """
    os.environ.pop(MODE, None)  # Ray then asks for a token; it no longer looks at what is set after its import
    if os.environ.get(TOKEN):
        return
    path = token_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(path)
        if path.stat().st_mode & OTHERS:
            path.chmod(0o600)
    except OSError as error:
        raise MachineError(
            f"{path}: the token of a local Ray cannot be kept there for this user alone ({error}); name another file "
            f"in {PATH}, or give the token in {TOKEN}"
        ) from error


def _make(path: Path) -> None:
    """A new token; one that is there stays, since a Ray that runs may ask for it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(TOKEN_BYTES))
