"""Packages that only some commands need, and how to get them."""

from __future__ import annotations


def install_hint(extra: str) -> str:
    """What to type for the packages of an extra of pyproject.toml; raytl is installed from its source."""
    return f"type pip install '.[{extra}]' in the folder of raytl's source"
