"""Addresses of storages, where a path of this machine could stand as well."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


def is_storage(text: str) -> bool:
    """Whether a text is the address of a storage, not a path."""
    return "://" in text


def folder_or_address(text: str) -> Path | str:
    """A path, or an address as it was written: a path would lose one of its slashes."""
    return text if is_storage(text) else Path(text)


def name_at(address: str) -> str:
    """What the place at an address is called: the last part of its path."""
    path = address.partition("://")[2].partition("?")[0]
    return PurePosixPath(path.rstrip("/")).name or "study"
