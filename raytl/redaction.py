"""Keys, tokens and passwords, kept out of everything that is written down or printed.

Two ways: the value of every environment variable whose name says that it is a secret, wherever it appears; and shapes
that give a secret away, such as a password in an address. Neither knows a secret that only its owner would recognise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

MARK = "<redacted>"
SHORTEST = 8  # chosen: a shorter value appears in innocent text by chance
_SECRET_NAME = re.compile(r"(?i)token|secret|passw(or)?d|passphrase|credential|(?:api|access|private)_?key|key$")
_HARMLESS_NAME = re.compile(r"(?i)_(path|file|dir|mode|type)$")
_WORDS = "(?:token|secret|password|passwd|api[_-]?key)"
# Name and password of an address. SQLAlchemy takes all up to the `@` for the password, slashes included; in an address
# of the web a slash ends the host, so that `http://host:80/a@b` holds no password.
_SHAPES = (
    (re.compile(r"(://)[^/\s:]*:[^/\s]+(?=@)"), r"\g<1>" + MARK),
    (re.compile(r"(?i)(?<!http)(?<!https)(://)[^/\s:@]*:[^\s@]+(?=@)"), r"\g<1>" + MARK),
    (re.compile(r"(?i)(https?://)(?!\[)[^/\s:@]*:(?!\d{0,5}/)[^\s@]+(?=@)"), r"\g<1>" + MARK),
    (re.compile(rf"(?i)(--?[\w-]*{_WORDS}[\w-]*[= ]\s*)[^\s'\"]+"), r"\g<1>" + MARK),
    (re.compile(rf"(?i)(\b\w*{_WORDS}\w*['\"]?\s*[=:]\s*['\"]?)[^\s'\",&]{{4,}}"), r"\g<1>" + MARK),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), MARK),  # AWS access keys
    (re.compile(r"\bgh[pousr]_\w{36,}"), MARK),  # GitHub
    (re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"), MARK),  # Hugging Face
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"), MARK),
)


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` with every secret in it replaced; `environment` is this process's unless another is given."""
    for value in _secret_values(os.environ if environment is None else environment):
        text = text.replace(value, MARK)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def redacted_values(value: object) -> object:
    """A JSON value with every text in it redacted; names of fields stay."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {name: redacted_values(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_values(each) for each in value]
    return value


def _secret_values(environment: Mapping[str, str]) -> Iterable[str]:
    """Longer ones first, so that none is cut by one that it contains."""
    values = {
        value
        for name, value in environment.items()
        if len(value) >= SHORTEST and _SECRET_NAME.search(name) and not _HARMLESS_NAME.search(name)
    }
    return sorted(values, key=len, reverse=True)
