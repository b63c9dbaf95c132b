"""The carried list of names against the installed libraries."""

from __future__ import annotations

from pathlib import Path

import timm

import raytl
from raytl.catalog import backbone_sources
from raytl.models.names import LEFT_TO_TIMM, available, write


def test_the_list_is_what_the_installed_libraries_offer() -> None:
    """Equal where the list was written by this timm; else no name of the list may have vanished."""
    offered = available()
    assert {name for name in backbone_sources() if name not in offered} == set()
    if timm.__version__ == "1.0.31":
        assert backbone_sources() == offered


def test_the_file_is_what_the_command_writes(tmp_path: Path) -> None:
    write(tmp_path / "names.txt")
    if timm.__version__ == "1.0.31":
        assert (tmp_path / "names.txt").read_text() == (Path(raytl.__file__).parent / "backbone_names.txt").read_text()
    assert len((tmp_path / "names.txt").read_text().splitlines()) == len(available()) + 1


def test_what_timm_has_under_other_names_is_left_to_it() -> None:
    assert not [
        name for name, source in backbone_sources().items() if source == "torchvision" and name.startswith(LEFT_TO_TIMM)
    ]
